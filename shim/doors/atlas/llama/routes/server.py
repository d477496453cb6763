"""Handlers about the server itself: health, models, properties, slots."""

from typing import NoReturn

from starlette.responses import JSONResponse, Response

from mcp_server.contract import ErrorCode, ModelProperties
from shim.dialects.llama_errors import render_error
from shim.dialects.openai_models import LlamaModelEntry, LlamaModelsPage, models_page
from shim.doors.atlas.llama import wire
from shim.doors.atlas.llama.prompts import check_slot
from shim.doors.door import Call, Endpoint
from shim.errors import ApiError

UNAVAILABLE = 503
SLOT_ACTIONS = ("save", "restore", "erase")


async def health(call: Call[None]) -> Response:
    """Say whether a model can answer; 503 while none can."""
    try:
        status = await call.gateway.status()
    except ApiError as error:
        return _unavailable(error.message)
    if not status.inference_ready:
        return _unavailable(status.inference_detail)
    return JSONResponse(wire.Health(status="ok").model_dump())


def _unavailable(message: str) -> Response:
    error = render_error(ApiError(ErrorCode.BACKEND_UNAVAILABLE, message))["error"]
    return JSONResponse({"status": "unavailable", "error": error}, status_code=UNAVAILABLE)


async def models(call: Call[None]) -> LlamaModelsPage:
    """List the models, the default one first; those that are loaded with what they are."""
    known = await call.gateway.list_models()
    described: dict[str, ModelProperties] = {}
    for model in known:
        if model.is_loaded and model.source != "remote":
            described[model.model_id] = await call.services.names.properties_now(call.gateway, model.model_id)
    return models_page(known, described)


async def describe_model(call: Call[None]) -> LlamaModelEntry:
    """Describe one model, by its id or an alias."""
    name = call.request.path_params["model_id"]
    for entry in (await models(call)).data:
        if name in (entry.id, *entry.aliases):
            return entry
    raise ApiError(ErrorCode.MODEL_NOT_FOUND, f"there is no model {name!r} here; /v1/models lists those there are")


async def load_model(call: Call[wire.LoadBody]) -> wire.Success:
    """Load a model, so that the first request need not wait for it."""
    await call.gateway.load_model(call.body.model)
    return wire.Success()


async def unload_model(call: Call[wire.LoadBody]) -> wire.Success:
    """Free a model's memory once its requests are done."""
    await call.gateway.unload_model(call.body.model)
    return wire.Success()


async def props(call: Call[None]) -> wire.Props:
    """Describe the default model, or the one that `?model=` names, and what a request gets that says nothing."""
    model = await _described(call)  # before the status, as it may load the model
    status = await call.gateway.status()
    loaded = {one.model_id for one in status.engine.loaded_models}
    return wire.props(model, status.version, is_loaded=model.model_id in loaded)


async def change_props(_: Call[None]) -> NoReturn:
    """Refuse: the properties are settings here, read when the server starts."""
    msg = "properties cannot be changed at run time; they are environment variables, read when the server starts"
    raise ApiError(ErrorCode.NOT_SUPPORTED, msg)


async def slots(call: Call[None]) -> wire.Slots:
    """Tell what each slot of the default model, or of the one that `?model=` names, does now.

    With `?fail_on_no_slot=1` the answer is a 503 while every slot is busy.
    """
    model = await _described(call)
    if "://" in model.path:
        msg = f"{model.model_id} runs at {model.path}, and its slots are that server's; ask it for them"
        raise ApiError(ErrorCode.NOT_SUPPORTED, msg, param="model")
    found = wire.slots(model, (await call.gateway.status()).engine)
    wants_free = call.request.query_params.get("fail_on_no_slot", "") not in {"", "0", "false"}
    if wants_free and all(slot.is_processing for slot in found.root):
        raise ApiError(ErrorCode.QUEUE_FULL, "no slot is available; retry later")
    return found


async def change_slot(call: Call[None]) -> NoReturn:
    """Refuse to save, restore or erase what a slot holds: it belongs to all slots here."""
    action, number = call.request.query_params.get("action", ""), call.request.path_params["id_slot"]
    if action not in SLOT_ACTIONS:
        msg = f"action is {action!r}; it must be one of {', '.join(SLOT_ACTIONS)}"
        raise ApiError(ErrorCode.INVALID_REQUEST, msg, param="action")
    if not (number.isascii() and number.isdigit()):
        raise ApiError(ErrorCode.INVALID_REQUEST, f"{number!r} is no slot; it must be a number", param="id_slot")
    await check_slot(call, int(number), call.request.query_params.get("model"))
    msg = (
        f"slots cannot be {action}d here: computed prefixes belong to all slots, and those used least leave first; "
        "send cache_prompt: false for a request that shall reuse nothing"
    )
    raise ApiError(ErrorCode.NOT_SUPPORTED, msg)


async def lora_adapters(_: Call[None]) -> wire.Adapters:
    """List the LoRA adapters: none, as none can be loaded here."""
    return wire.Adapters([])


async def change_adapters(_: Call[None]) -> NoReturn:
    """Refuse to scale LoRA adapters: there are none."""
    raise ApiError(ErrorCode.NOT_SUPPORTED, "there are no LoRA adapters to scale: none can be loaded here")


async def _described(call: Call[None]) -> ModelProperties:
    return await call.services.names.properties_now(call.gateway, call.request.query_params.get("model"))


ENDPOINTS = (
    Endpoint("GET", "/health", health, "Health", response=wire.Health, aliases=("/v1/health",), is_open=True),
    Endpoint("GET", "/v1/models", models, "List models", response=LlamaModelsPage, aliases=("/models",)),
    Endpoint("GET", "/v1/models/{model_id:path}", describe_model, "Describe a model", response=LlamaModelEntry),
    Endpoint("POST", "/models/load", load_model, "Load a model", body=wire.LoadBody, response=wire.Success),
    Endpoint("POST", "/models/unload", unload_model, "Unload a model", body=wire.LoadBody, response=wire.Success),
    Endpoint("GET", "/props", props, "Properties", response=wire.Props),
    Endpoint("POST", "/props", change_props, "Change properties (refused)", response=wire.Props, is_static=True),
    Endpoint("GET", "/slots", slots, "Slots", response=wire.Slots),
    Endpoint("POST", "/slots/{id_slot}", change_slot, "Change a slot (refused)", response=wire.Slot, is_static=True),
    Endpoint("GET", "/lora-adapters", lora_adapters, "LoRA adapters", response=wire.Adapters, is_static=True),
    Endpoint(
        "POST",
        "/lora-adapters",
        change_adapters,
        "Scale LoRA adapters (refused)",
        response=wire.Success,
        is_static=True,
    ),
)
