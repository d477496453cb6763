"""Answers with the default model what is asked of a model that is not here, as llama.cpp's server does.

A request is sent to the model that it names; only when there is none of that name is it sent again, to the default
one, so the usual case costs nothing. What is learned on the way (which model answers to a name, what a model is) is
remembered for the chunks of a stream, which name their model before the engine does. It knows no dialect.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from mcp_server.contract import ErrorCode, GenerationRequest, GenerationResult, ModelProperties
from shim.errors import ApiError
from shim.gateway import Gateway, OnDeltas

T = TypeVar("T")
MAX_NAMES = 256  # remembered at most; clients use a handful, and garbage must not grow without end


class ModelNames:
    """Which model answers to which name; one a door, lives as long as the shim."""

    def __init__(self) -> None:
        self._answering: dict[str, str] = {}
        self._properties: dict[str, ModelProperties] = {}

    async def generate(
        self, gateway: Gateway, request: GenerationRequest, on_deltas: OnDeltas | None = None
    ) -> GenerationResult:
        """Generate with the model asked for, or the default one."""

        async def ask(model: str | None) -> GenerationResult:
            return await gateway.generate(replace(request, model=model), on_deltas)

        result = await or_default(request.model, ask)
        self._learn(request.model, result.model)
        return result

    async def answering(self, gateway: Gateway, asked: str | None) -> str:
        """Name the model that will answer to *asked*; looks the models up the first time only."""
        known = self._answering.get(asked or "")
        if known is not None:
            return known
        models = await gateway.list_models()
        named = next((model.model_id for model in models if asked in (model.model_id, *model.aliases)), None)
        default = next((model.model_id for model in models if model.is_default), None)
        answering = named or default
        if answering is None:  # without a usable default the engine says what is wrong with it
            return asked or ""
        self._learn(asked, answering)
        return answering

    async def properties(self, gateway: Gateway, asked: str | None) -> ModelProperties:
        """Describe the model that answers to *asked*, loading it if need be; asked of the engine once a model."""
        known = self._properties.get(self._answering.get(asked or "", ""))
        if known is not None:
            return known
        properties = await or_default(asked, gateway.describe_model)
        self._learn(asked, properties.model_id)
        if len(self._properties) >= MAX_NAMES:
            self._properties.clear()
        self._properties[properties.model_id] = properties
        return properties

    def _learn(self, asked: str | None, answering: str) -> None:
        if len(self._answering) >= MAX_NAMES:
            self._answering.clear()
        self._answering[asked or ""] = answering
        self._answering[answering] = answering


async def or_default(model: str | None, ask: Callable[[str | None], Awaitable[T]]) -> T:
    """Return what *ask* answers for *model*; for the default one when there is no such model here.

    Raises:
        ApiError: what *ask* raises for another reason.
    """
    try:
        return await ask(model)
    except ApiError as error:
        if error.code != ErrorCode.MODEL_NOT_FOUND or model is None:
            raise
    return await ask(None)
