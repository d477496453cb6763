"""Handlers of the lens' chat: an answer grounded in a project, and the models that can give it."""

from starlette.responses import Response

from mcp_server.contract import Delta, GenerationRequest, SamplingParams
from shim.dialects.llama_chat import generation_request
from shim.dialects.openai_chat import ChunkEncoder, encode_chunk
from shim.dialects.openai_models import ModelsPage, plain_models_page
from shim.doors.atlas.envelope import render_error
from shim.doors.atlas.lens import chat_wire
from shim.doors.atlas.lens.chat_wire import LensChatRequest
from shim.doors.atlas.lens.context import Piece
from shim.doors.atlas.lens.grounding import ground
from shim.doors.door import Call
from shim.streaming import DONE, Emit, EventStream, sse, sse_json


async def chat_completions(call: Call[LensChatRequest]) -> chat_wire.LensChatCompletion | Response:
    """Answer a conversation, grounded in a project's code where `project_id` names one.

    What the project has on the last question stands before it, each piece under its `path:line`; `citations` names
    the pieces. With `stream: true` they come in the last chunk before `data: [DONE]`.
    """
    request = generation_request(call.body, SamplingParams())
    grounded = await ground(call, request)
    pieces = None
    if grounded is not None:
        request, pieces = grounded.request, grounded.pieces
    if call.body.stream:
        return await _stream(call, request, pieces)
    return chat_wire.completion(await call.services.names.generate(call.gateway, request), pieces)


async def _stream(
    call: Call[LensChatRequest], request: GenerationRequest, pieces: tuple[Piece, ...] | None
) -> EventStream:
    options = call.body.stream_options
    names = call.services.names
    encoder = ChunkEncoder(await names.answering(call.gateway, request.model))

    async def produce(emit: Emit) -> None:
        async def on_deltas(deltas: tuple[Delta, ...]) -> None:
            await emit(sse(encode_chunk(chunk)) for chunk in encoder.deltas(deltas))

        result = await names.generate(call.gateway, request, on_deltas)
        end = encoder.end(result, include_usage=options is not None and options.include_usage)
        await emit([*(sse(chunk) for chunk in chat_wire.closing_chunks(end, pieces)), DONE])

    return EventStream(produce, lambda error: sse_json(render_error(error)) + DONE)


async def list_models(call: Call[None]) -> ModelsPage:
    """List the models on this machine, the default one first."""
    return plain_models_page(await call.gateway.list_models())
