"""Handlers that generate: chat, completions of OpenAI's form and of llama.cpp's own, infilling."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from mcp_server.contract import Delta, GenerationRequest
from shim.dialects import llama_chat, llama_completion, openai_completions
from shim.dialects.llama_chat import LlamaChatChunk, LlamaChatCompletion, LlamaChatRequest
from shim.dialects.llama_completion import (
    GenerationFields,
    InfillRequest,
    RawChunk,
    RawCompletion,
    RawCompletionRequest,
)
from shim.dialects.llama_errors import render_error
from shim.dialects.llama_timings import Pace
from shim.dialects.openai_chat import ChunkEncoder, encode_chunk
from shim.dialects.openai_completions import CompletionEncoder, CompletionRequest, TextCompletion, encode
from shim.doors.atlas.llama import running
from shim.doors.atlas.llama.prompts import biases_by_id, check_slot, token_ids, with_prompt
from shim.doors.atlas.llama.raw_stream import answer
from shim.doors.door import Call, Endpoint
from shim.streaming import DONE, Emit, EventStream, sse, sse_json


async def chat_completions(call: Call[LlamaChatRequest]) -> Response:
    """Answer a conversation with the local model.

    A `model` that is not here is answered by the default one; the response's `model` says which it was. With
    `stream: true` the answer comes as server-sent events, closed by `data: [DONE]`.
    """
    body = call.body
    await check_slot(call, body.id_slot, body.model)
    request = llama_chat.generation_request(body)
    if body.stream:
        return await _chat_stream(call, request)
    (result,) = await running.generate(call, [request])
    return JSONResponse(llama_chat.completion(result))


async def _chat_stream(call: Call[LlamaChatRequest], request: GenerationRequest) -> EventStream:
    options = call.body.stream_options
    encoder = ChunkEncoder(await call.services.names.answering(call.gateway, request.model))
    pace = Pace()

    async def produce(emit: Emit) -> None:
        async def on_deltas(_: int, deltas: tuple[Delta, ...]) -> None:
            events = []
            for chunk, delta in zip(encoder.deltas(deltas), deltas, strict=True):
                spent = pace.note(delta.index, delta.n_tokens)
                extra = {"timings": spent.model_dump()} if call.body.timings_per_token else None
                events.append(sse(encode_chunk(chunk, extra)))
            await emit(events)

        (result,) = await running.generate(call, [request], on_deltas)
        end = encoder.end(result, include_usage=options is not None and options.include_usage)
        closing = llama_chat.closing_chunks(end, result)
        await emit([*(sse(encode_chunk(chunk, extra)) for chunk, extra in closing), DONE])

    return EventStream(produce, lambda error: sse_json(render_error(error)) + DONE)


async def completions(call: Call[CompletionRequest]) -> Response:
    """Continue one or several prompts, in OpenAI's legacy form.

    `prompt` is a text, token ids, or a list of either; with `suffix` the model fills the gap between both. With
    `stream: true` the answer comes as server-sent events, closed by `data: [DONE]`.
    """
    body = call.body
    await check_slot(call, body.id_slot, body.model)
    base = openai_completions.generation_request(body, await biases_by_id(call, body))
    requests = [
        openai_completions.with_prompt(base, prompt, body.suffix)
        if isinstance(prompt, str)
        else replace(base, prompt_token_ids=await token_ids(call, prompt, body.model))
        for prompt in body.prompts()
    ]
    if body.stream:
        return await _completion_stream(call, requests)
    whole = openai_completions.completion(body, await running.generate(call, requests))
    return Response(encode(whole), media_type="application/json")


async def _completion_stream(call: Call[CompletionRequest], requests: Sequence[GenerationRequest]) -> EventStream:
    encoder = CompletionEncoder(call.body, await call.services.names.answering(call.gateway, call.body.model))
    streams_text = call.body.limit() != 0

    async def produce(emit: Emit) -> None:
        async def on_deltas(position: int, deltas: tuple[Delta, ...]) -> None:
            await emit(sse(encode(chunk)) for chunk in encoder.deltas(position, deltas))

        end = encoder.end(await running.generate(call, requests, on_deltas if streams_text else None))
        await emit([*(sse(encode(chunk)) for chunk in end), DONE])

    return EventStream(produce, lambda error: sse_json(render_error(error)) + DONE)


async def raw_completion(call: Call[RawCompletionRequest]) -> Response:
    """Continue one or several prompts, in llama.cpp's own form.

    Several prompts, or several completions of one, are answered by a list. With `stream: true` each event is new text
    of one of them, and the last event of each has `stop: true`.
    """
    base = await _base_request(call)
    requests = [await with_prompt(call, base, prompt) for prompt in call.body.prompts()]
    return await answer(call, requests)


async def infill(call: Call[InfillRequest]) -> Response:
    """Fill the gap between a prefix and a suffix, with a model that has tokens for it.

    Takes the options of `/completion` and answers as it does.
    """
    request = replace(await _base_request(call), infill=call.body.gap())
    return await answer(call, [request])


async def _base_request(call: Call[Any]) -> GenerationRequest:
    """Translate all of the body but its prompt."""
    body: GenerationFields = call.body
    await check_slot(call, body.id_slot, body.model)
    return llama_completion.generation_request(body, await biases_by_id(call, body))


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/chat/completions",
        chat_completions,
        "Chat completion",
        body=LlamaChatRequest,
        response=LlamaChatCompletion,
        event=LlamaChatChunk,
        aliases=("/chat/completions",),
    ),
    Endpoint(
        "POST",
        "/v1/completions",
        completions,
        "Completion, OpenAI's form",
        body=CompletionRequest,
        response=TextCompletion,
        event=TextCompletion,
    ),
    Endpoint(
        "POST",
        "/completion",
        raw_completion,
        "Completion, llama.cpp's form",
        body=RawCompletionRequest,
        response=RawCompletion,
        event=RawChunk,
        aliases=("/completions",),
    ),
    Endpoint("POST", "/infill", infill, "Infilling", body=InfillRequest, response=RawCompletion, event=RawChunk),
)
