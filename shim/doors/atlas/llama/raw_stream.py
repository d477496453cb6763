"""Answers a raw completion, whole or streamed: what `/completion` and `/infill` share."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import JSONResponse, Response

from mcp_server.contract import Delta, GenerationRequest, GenerationResult, OutputParams
from shim.dialects.llama_completion import Settled
from shim.dialects.llama_errors import render_error
from shim.dialects.llama_timings import Pace
from shim.doors.atlas.llama import running
from shim.doors.door import Call
from shim.errors import ApiError
from shim.model_names import or_default
from shim.streaming import Emit, EventStream, sse_json


async def answer(call: Call[Any], requests: Sequence[GenerationRequest]) -> Response:
    """Generate for *requests* and answer in llama.cpp's own form: several completions as a list, one as itself."""
    if call.body.stream:
        return _stream(call, requests)
    results = await running.generate(call, _without_ids(call, requests))
    entries = [entry for _, entry in await _encoded(call, requests, results)]
    return JSONResponse(entries if len(entries) > 1 else entries[0])


def _without_ids(call: Call[Any], requests: Sequence[GenerationRequest]) -> Sequence[GenerationRequest]:
    """Ask for no token ids where nobody needs them: they cost as much on the way as the text."""
    if call.body.return_tokens or requests[0].n > 1:
        return requests
    output: OutputParams = replace(requests[0].output, return_token_ids=False)
    return [replace(request, output=output) for request in requests]


async def _encoded(
    call: Call[Any], requests: Sequence[GenerationRequest], results: Sequence[GenerationResult]
) -> list[tuple[int, dict[str, Any]]]:
    """Encode every completion of every prompt, with its number."""
    entries: list[tuple[int, dict[str, Any]]] = []
    for request, result in zip(requests, results, strict=True):
        settled = Settled(call.body, request, await _prompt_text(call, request), await _n_ctx(call, result.model))
        for which in result.completions:
            entries.append((len(entries), settled.completion(result, which, len(entries))))
    return entries


def _stream(call: Call[Any], requests: Sequence[GenerationRequest]) -> EventStream:
    partial = Settled(call.body, requests[0], "", None)
    pace = Pace()

    async def produce(emit: Emit) -> None:
        async def on_deltas(position: int, deltas: tuple[Delta, ...]) -> None:
            chunks = []
            for delta in deltas:
                index = position * requests[0].n + delta.index
                chunks.append(partial.chunk(delta, index, pace.note(index, delta.n_tokens)))
            if call.body.limit() != 0:
                await emit(map(sse_json, chunks))

        results = await running.generate(call, requests, on_deltas)
        await emit([sse_json(entry) for _, entry in await _encoded(call, requests, results)])

    return EventStream(produce, lambda error: sse_json(render_error(error)))


async def _prompt_text(call: Call[Any], request: GenerationRequest) -> str:
    """Return the prompt that was computed, as text."""

    async def detokenize(model: str | None) -> str:
        return (await call.gateway.detokenize(request.prompt_token_ids, model)).text

    async def render(model: str | None) -> str:
        return (await call.gateway.render_prompt(replace(request, model=model))).prompt

    if request.prompt is not None:
        return request.prompt
    return await or_default(request.model, detokenize if request.prompt_token_ids else render)


async def _n_ctx(call: Call[Any], model: str) -> int | None:
    """Return the context of *model*; None for a remote one that does not tell it."""
    try:
        return (await call.services.names.properties(call.gateway, model)).context_tokens
    except ApiError:
        return None
