"""What generates, as a protocol: the local engine, the remote one, both behind one catalogue, and the tests' fake."""

from typing import Protocol

from mcp_server.engine.types.generation import DeltaSink, GenerationRequest, GenerationResult
from mcp_server.engine.types.models import EngineStatistics, LoadedModel, ModelProperties
from mcp_server.engine.types.texts import (
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
)


class Engine(Protocol):
    """What generates. Every implementation passes one suite."""

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Generate; stops within one step when cancelled."""
        ...

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts."""
        ...

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Judge documents; raises `NotSupportedError` for a model without a ranking head."""
        ...

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize text."""
        ...

    async def detokenize(self, token_ids: tuple[int, ...], model: str | None = None) -> DetokenizeResult:
        """Make text of token ids."""
        ...

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt that `generate` would compute, without computing it."""
        ...

    async def describe(self, model: str | None = None) -> ModelProperties:
        """Load a model if need be, and tell what it is and can do."""
        ...

    async def load(self, model: str | None = None, keep_alive_s: float | None = None) -> LoadedModel:
        """Load a model, so that the first request need not wait for it; a negative keep-alive keeps it for good."""
        ...

    async def unload(self, model: str | None = None) -> bool:
        """Free a model's memory once its requests are done; False when it was not loaded."""
        ...

    def statistics(self) -> EngineStatistics:
        """Count work done and waiting, and tell what is loaded."""
        ...

    async def aclose(self) -> None:
        """Abort what runs, free the models; idempotent."""
        ...
