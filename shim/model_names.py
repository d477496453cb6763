"""Answers with the default model what is asked of a model that is not here, as llama.cpp's server does.

A request is sent to the model that it names; only when there is none of that name is it sent again, to the default
one, so the usual case costs nothing. What is learned on the way (which model answers to a name, what a model is) is
remembered for some seconds, for the chunks of a stream, which name their model before the engine does. It knows no
dialect.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from mcp_server.contract import ErrorCode, GenerationRequest, GenerationResult, Model, ModelProperties
from shim.errors import ApiError
from shim.gateway import Gateway, OnDeltas

T = TypeVar("T")
MAX_NAMES = 256  # remembered at most; clients use a handful, and garbage must not grow without end
FRESH_S = 5.0  # how long it is remembered: models.toml and the models folder may change at any time


class ModelNames:
    """Which model answers to which name; one a door, lives as long as the shim."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answering: dict[str, tuple[float, str]] = {}  # each with when it was learnt (s)
        self._properties: dict[str, tuple[float, ModelProperties]] = {}

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
        """Name the model that will answer to *asked*; looks the models up when that was not learnt lately."""
        known = self._known(asked)
        if known is not None:
            return known
        model = await _look_up(gateway, asked)
        if model is None:  # without a usable default the engine says what is wrong with it
            return asked or ""
        self._learn(asked, model.model_id)
        return model.model_id

    async def properties(self, gateway: Gateway, asked: str | None) -> ModelProperties:
        """Describe the model that answers to *asked*, loading it if need be; asked of the engine once in a while."""
        learnt_at, known = self._properties.get(self._known(asked) or "", (0.0, None))
        if known is not None and self._is_fresh(learnt_at):
            return known
        properties = await or_default(asked, gateway.describe_model)
        self._learn(asked, properties.model_id)
        if len(self._properties) >= MAX_NAMES:
            self._properties.clear()
        self._properties[properties.model_id] = (self._clock(), properties)
        return properties

    async def properties_now(self, gateway: Gateway, asked: str | None) -> ModelProperties:
        """Describe that model as it is now; one that is not in memory as it was, so that watching it wakes nothing."""
        model = await _look_up(gateway, asked)
        if model is not None and not model.is_loaded and model.model_id in self._properties:
            return self._properties[model.model_id][1]
        self._answering.pop(asked or "", None)
        return await self.properties(gateway, asked)

    def _known(self, asked: str | None) -> str | None:
        learnt_at, answering = self._answering.get(asked or "", (0.0, None))
        return answering if self._is_fresh(learnt_at) else None

    def _is_fresh(self, learnt_at: float) -> bool:
        return self._clock() - learnt_at < FRESH_S

    def _learn(self, asked: str | None, answering: str) -> None:
        if len(self._answering) >= MAX_NAMES:
            self._answering.clear()
        self._answering[asked or ""] = self._answering[answering] = (self._clock(), answering)


async def _look_up(gateway: Gateway, asked: str | None) -> Model | None:
    """Find the model that answers to *asked*: of that name or alias, else the default; None without either."""
    models = await gateway.list_models()
    named = (model for model in models if asked in (model.model_id, *model.aliases))
    return next(named, None) or next((model for model in models if model.is_default), None)


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
