"""Handlers of the ATLAS proxy: chat completions, models, health."""

from dataclasses import replace

from starlette.responses import JSONResponse, Response

from mcp_server.contract import Delta, GenerationRequest
from shim.dialects.openai_chat import ChatCompletionRequest, ChunkEncoder, generation_request
from shim.dialects.openai_errors import render_error
from shim.doors.atlas.proxy import wire
from shim.doors.door import Call, Endpoint
from shim.errors import ApiError
from shim.streaming import DONE, Emit, EventStream, sse, sse_json

UNAVAILABLE = 503


async def chat_completions(call: Call[ChatCompletionRequest]) -> wire.AtlasChatCompletion | Response:
    """Answer a conversation with the local model.

    A `model` that is not here is answered by the default one, as llama.cpp's server does; the response's `model` says
    which it was. With `stream: true` the answer comes as server-sent events, closed by `data: [DONE]`.
    """
    call.services.counters.n_requests += 1
    request = await _with_known_model(call, generation_request(call.body))
    if call.body.stream:
        return _stream(call, request)
    return wire.completion(await call.gateway.generate(request))


def _stream(call: Call[ChatCompletionRequest], request: GenerationRequest) -> EventStream:
    options = call.body.stream_options
    encoder = ChunkEncoder(request.model or "")

    async def produce(emit: Emit) -> None:
        async def on_deltas(deltas: tuple[Delta, ...]) -> None:
            for chunk in encoder.deltas(deltas):
                await emit(sse(wire.encode_chunk(chunk)))

        result = await call.gateway.generate(request, on_deltas)
        for chunk in encoder.end(result, include_usage=options is not None and options.include_usage):
            await emit(sse(wire.encode_chunk(chunk)))
        await emit(DONE)

    return EventStream(produce, lambda error: sse_json(render_error(error)) + DONE)


async def _with_known_model(call: Call[ChatCompletionRequest], request: GenerationRequest) -> GenerationRequest:
    """Name the model that will answer: the one asked for when it is here, else the default."""
    known = [model.model_id for model in await call.gateway.list_models()]
    if request.model in known or not known:
        return request
    return replace(request, model=known[0])


async def list_models(call: Call[None]) -> wire.ModelsPage:
    """List the models on this machine, the default one first."""
    return wire.models_page(await call.gateway.list_models())


async def health(call: Call[None]) -> Response:
    """Say whether inference, lens and sandbox work; 503 while nothing can answer."""
    try:
        status = await call.gateway.status()
    except ApiError:
        status = None
    body = wire.health(status, call.services.port, call.services.counters.n_requests)
    return JSONResponse(body.model_dump(), status_code=200 if body.inference else UNAVAILABLE)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/chat/completions",
        chat_completions,
        "Chat completion",
        body=ChatCompletionRequest,
        response=wire.AtlasChatCompletion,
        event=wire.AtlasChunk,
        aliases=("/chat/completions",),
    ),
    Endpoint("GET", "/v1/models", list_models, "List models", response=wire.ModelsPage, aliases=("/models",)),
    Endpoint("GET", "/health", health, "Health", response=wire.Health, is_open=True),
)
