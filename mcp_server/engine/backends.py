"""All models behind one `Engine`: those of this machine and those of other servers, told apart by the catalogue.

A request for a model of this machine goes to the local engine as it came; where no remote model is configured that
costs one look at the date of models.toml. Each remote model has an engine of its own, made with its first request and
made anew when its entry in models.toml changes. Knows neither llama.cpp nor HTTP.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Protocol

import anyio
import anyio.to_thread

from mcp_server.engine.remote.settings import RemoteModel, RemoteSettings
from mcp_server.engine.types import (
    DeltaSink,
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    Engine,
    EngineStatistics,
    GenerationRequest,
    GenerationResult,
    LoadedModel,
    Model,
    ModelProperties,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
)

MakeRemote = Callable[[RemoteModel], Engine]
ROUTE_KEPT_S = 1.0  # how long a name's meaning is remembered: looking into the models folder costs half a millisecond


class MixedCatalog(Protocol):
    """What the router needs of the catalogue; both are cheap enough for every request."""

    def resolve(self, name: str | None) -> Model:
        """Find a model by name or alias, None meaning the default; raises `ModelNotFoundError` listing all."""
        ...

    def remotes(self) -> tuple[RemoteModel, ...]:
        """Give the remote models of models.toml as it is now."""
        ...


@dataclass(frozen=True)
class _Opened:
    """A remote model's engine, and the entry it was made from."""

    model: RemoteModel
    engine: Engine


class BackendRouter:
    """The `Engine` that sends each request to the one that has its model."""

    def __init__(
        self,
        local: Engine,
        catalog: MixedCatalog,
        make_remote: MakeRemote | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep both; nothing is opened before the first request.

        Args:
            local: runs the models of this machine; closed with this.
            catalog: tells which models are remote.
            make_remote: makes the engine of a remote model, in a worker thread; the real one when left out.
            clock: gives seconds.
        """
        self._local = local
        self._catalog = catalog
        self._make_remote = make_remote or _make_remote
        self._clock = clock
        self._opened: dict[str, _Opened] = {}
        self._known: dict[str | None, tuple[float, Model]] = {}  # names that meant a model, and until when
        self._remotes: tuple[RemoteModel, ...] = ()  # as they were then
        self._retired: list[Engine] = []  # of entries that changed while requests ran

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Generate with the model that the request names.

        Raises:
            CinqueError: as of the engine that has it; ModelNotFoundError when none does.
        """
        engine, name = await self._route(request.model)
        return await engine.generate(request if name == request.model else replace(request, model=name), on_delta)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts with the model that the request names."""
        engine, name = await self._route(request.model)
        return await engine.embed(replace(request, model=name))

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Judge documents with the model that the request names."""
        engine, name = await self._route(request.model)
        return await engine.rerank(replace(request, model=name))

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize text as the model does that the request names."""
        engine, name = await self._route(request.model)
        return await engine.tokenize(replace(request, model=name))

    async def detokenize(self, token_ids: tuple[int, ...], model: str | None = None) -> DetokenizeResult:
        """Make text of a model's token ids."""
        engine, name = await self._route(model)
        return await engine.detokenize(token_ids, name)

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt that the model of the request would get."""
        engine, name = await self._route(request.model)
        return await engine.render(replace(request, model=name))

    async def describe(self, model: str | None = None) -> ModelProperties:
        """Tell what a model is and can do."""
        engine, name = await self._route(model)
        return await engine.describe(name)

    async def load(self, model: str | None = None, keep_alive_s: float | None = None) -> LoadedModel:
        """Load a model here, or see that a remote one answers."""
        engine, name = await self._route(model)
        return await engine.load(name, keep_alive_s)

    async def unload(self, model: str | None = None) -> bool:
        """Free a model's memory here, or forget a remote one."""
        engine, name = await self._route(model)
        return await engine.unload(name)

    def statistics(self) -> EngineStatistics:
        """Add up what all engines count."""
        if not self._opened and not self._retired:
            return self._local.statistics()
        remotes = (*(opened.engine for opened in self._opened.values()), *self._retired)
        return merge_statistics(self._local.statistics(), *(engine.statistics() for engine in remotes))

    async def aclose(self) -> None:
        """Close every engine, the local one last; idempotent."""
        remotes = [*self._retired, *(opened.engine for opened in self._opened.values())]
        self._retired.clear()
        try:
            for engine in remotes:
                await engine.aclose()
        finally:
            with anyio.CancelScope(shield=True):
                await self._local.aclose()

    async def _route(self, name: str | None) -> tuple[Engine, str | None]:
        """Find the engine that has a model, and the name that it knows it by."""
        remotes = self._catalog.remotes()
        if not remotes:
            return self._local, name
        model = self._resolve(name, remotes)
        if model.source != "remote":
            return self._local, name
        entry = next(remote for remote in remotes if remote.model_id == model.model_id)
        return await self._open(entry), model.model_id

    def _resolve(self, name: str | None, remotes: tuple[RemoteModel, ...]) -> Model:
        """Ask the catalogue, unless it was asked a moment ago and models.toml says the same since."""
        if remotes != self._remotes:
            self._remotes = remotes
            self._known.clear()
        kept_until, model = self._known.get(name, (0.0, None))
        if model is None or self._clock() >= kept_until:
            model = self._catalog.resolve(name)
            self._known[name] = (self._clock() + ROUTE_KEPT_S, model)
        return model

    async def _open(self, model: RemoteModel) -> Engine:
        opened = self._opened.get(model.model_id)
        if opened is not None and opened.model == model:
            return opened.engine
        made = await anyio.to_thread.run_sync(self._make_remote, model)
        opened = self._opened.get(model.model_id)
        if opened is not None and opened.model == model:  # another request was faster, and nothing is open in ours
            return opened.engine
        self._opened[model.model_id] = _Opened(model, made)
        self._retired += [] if opened is None else [opened.engine]
        for idle in [engine for engine in self._retired if not engine.statistics().n_running]:
            self._retired.remove(idle)
            await idle.aclose()
        return made


def merge_statistics(*parts: EngineStatistics) -> EngineStatistics:
    """Add counts, join lists; the failure of the default model is the first one's."""
    sums = {
        field.name: sum(getattr(part, field.name) for part in parts)
        for field in fields(EngineStatistics)
        if field.name.startswith("n_")
    }
    return replace(
        parts[0],
        **sums,
        loaded_models=tuple(chain.from_iterable(part.loaded_models for part in parts)),
        models=tuple(chain.from_iterable(part.models for part in parts)),
        upstreams=tuple(chain.from_iterable(part.upstreams for part in parts)),
    )


def _make_remote(model: RemoteModel) -> Engine:
    from mcp_server.engine.remote.engine import RemoteEngine  # noqa: PLC0415  # loads httpx; see LAZY of the house rules

    return RemoteEngine(model, RemoteSettings())
