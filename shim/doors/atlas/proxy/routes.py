"""Handlers of the ATLAS proxy: chat completions, models, health."""

from starlette.responses import JSONResponse, Response

from mcp_server.contract import Delta, ErrorCode, GenerationRequest, SamplingParams
from shim.dialects.llama_chat import LlamaChatRequest, generation_request
from shim.dialects.openai_chat import ChunkEncoder
from shim.dialects.openai_errors import render_error
from shim.dialects.openai_models import ModelEntry, ModelsPage, plain_model_entry, plain_models_page
from shim.doors.atlas.proxy import wire
from shim.doors.door import Call, Endpoint
from shim.errors import ApiError
from shim.streaming import DONE, Emit, EventStream, sse, sse_json

UNAVAILABLE = 503


async def chat_completions(call: Call[LlamaChatRequest]) -> wire.AtlasChatCompletion | Response:
    """Answer a conversation with the local model.

    A `model` that is not here is answered by the default one, as llama.cpp's server does; the response's `model` says
    which it was. With `stream: true` the answer comes as server-sent events, closed by `data: [DONE]`.
    """
    call.services.counters.n_requests += 1
    request = generation_request(call.body, SamplingParams())
    if call.body.stream:
        return await _stream(call, request)
    return wire.completion(await call.services.names.generate(call.gateway, request))


async def _stream(call: Call[LlamaChatRequest], request: GenerationRequest) -> EventStream:
    options = call.body.stream_options
    names = call.services.names
    encoder = ChunkEncoder(await names.answering(call.gateway, request.model))

    async def produce(emit: Emit) -> None:
        async def on_deltas(deltas: tuple[Delta, ...]) -> None:
            await emit(sse(wire.encode_chunk(chunk)) for chunk in encoder.deltas(deltas))

        result = await names.generate(call.gateway, request, on_deltas)
        end = encoder.end(result, include_usage=options is not None and options.include_usage)
        await emit([*(sse(wire.encode_chunk(chunk)) for chunk in end), DONE])

    return EventStream(produce, lambda error: sse_json(render_error(error)) + DONE)


async def list_models(call: Call[None]) -> ModelsPage:
    """List the models on this machine, the default one first."""
    return plain_models_page(await call.gateway.list_models())


async def get_model(call: Call[None]) -> ModelEntry:
    """Describe one model, by its id or an alias."""
    name = call.request.path_params["model_id"]
    for model in await call.gateway.list_models():
        if name in (model.model_id, *model.aliases):
            return plain_model_entry(model)
    raise ApiError(ErrorCode.MODEL_NOT_FOUND, f"there is no model {name!r} here; /v1/models lists those there are")


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
        body=LlamaChatRequest,
        response=wire.AtlasChatCompletion,
        event=wire.AtlasChunk,
        aliases=("/chat/completions",),
    ),
    Endpoint("GET", "/v1/models", list_models, "List models", response=ModelsPage, aliases=("/models",)),
    Endpoint(
        "GET",
        "/v1/models/{model_id:path}",
        get_model,
        "Describe a model",
        response=ModelEntry,
        aliases=("/models/{model_id:path}",),
    ),
    Endpoint("GET", "/health", health, "Health", response=wire.Health, is_open=True),
)
