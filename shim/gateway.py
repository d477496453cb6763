"""The shim's only way to the capabilities: one typed async method a tool, over whatever MCP connection is up.

It knows nothing of HTTP, of doors, or of how the server process is kept alive; the supervisor attaches a connection
and takes it away when the process ends. A call made while there is none waits for the next, up to a limit.
"""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from mcp_server.contract import (
    AnalyzedFailure,
    CollectionList,
    DeleteResult,
    Delta,
    DetokenizeResult,
    Diagnosis,
    EmbeddingRequest,
    EmbeddingResult,
    ExecutionRequest,
    ExecutionResult,
    FailureReport,
    GenerationRequest,
    GenerationResult,
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    LanguageList,
    LoadedModel,
    Model,
    ModelList,
    ModelProperties,
    Outline,
    Overview,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    RetrieveRequest,
    RetrieveResult,
    Score,
    ServerStatus,
    SymbolRequest,
    SymbolResult,
    SyntaxReport,
    TokenizeRequest,
    TokenizeResult,
    ToolName,
    Unloaded,
    join_deltas,
)
from shim.errors import BackendUnavailableError
from shim.mcp_connection import McpConnection, dump, rebuild
from shim.progress import OnSteps, ProgressStep

OnDeltas = Callable[[tuple[Delta, ...]], Awaitable[None]]
OnProgress = Callable[[ProgressStep], Awaitable[None]]
OnIndexProgress = Callable[[IndexProgress], Awaitable[None]]
STAGE = re.compile(r"(?P<stage>reading|chunking|weighing|model|embedding|committing) (?P<done>\d+)/(?P<total>\d+)")


@dataclass(frozen=True)
class DeltaMessage:
    """The message of one progress notification of `generate`."""

    deltas: tuple[Delta, ...]


class Gateway(McpConnection):
    """Typed calls to the MCP server; lives as long as the shim and outlives any one connection."""

    async def generate(self, request: GenerationRequest, on_deltas: OnDeltas | None = None) -> GenerationResult:
        """Generate; *on_deltas* is awaited with everything that arrived since its last call."""
        if on_deltas is None:
            return await self.call(ToolName.GENERATE, dump(request), GenerationResult)

        async def on_steps(steps: Sequence[ProgressStep]) -> None:
            await on_deltas(join_deltas(delta for step in steps for delta in _deltas(step.message)))

        return await self.call(ToolName.GENERATE, dump(request), GenerationResult, on_steps)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts with the language model."""
        return await self.call(ToolName.EMBED, dump(request), EmbeddingResult)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Judge documents with a ranking model."""
        return await self.call(ToolName.RERANK, dump(request), RerankResult)

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize text."""
        return await self.call(ToolName.TOKENIZE, dump(request), TokenizeResult)

    async def detokenize(self, token_ids: tuple[int, ...], model: str | None = None) -> DetokenizeResult:
        """Make text of token ids."""
        return await self.call(ToolName.DETOKENIZE, {"token_ids": token_ids, "model": model}, DetokenizeResult)

    async def render_prompt(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt that `generate` would compute."""
        names = ("messages", "infill", "model", "tool_use", "template")
        arguments = dump(request)
        return await self.call(
            ToolName.RENDER_PROMPT, {name: arguments[name] for name in names if name in arguments}, RenderedPrompt
        )

    async def describe_model(self, model: str | None = None) -> ModelProperties:
        """Tell what a model is and can do."""
        return await self.call(ToolName.DESCRIBE_MODEL, {"model": model}, ModelProperties)

    async def load_model(self, model: str | None = None, keep_alive_s: float | None = None) -> LoadedModel:
        """Load a model into memory."""
        return await self.call(ToolName.LOAD_MODEL, {"model": model, "keep_alive_s": keep_alive_s}, LoadedModel)

    async def unload_model(self, model: str | None = None) -> Unloaded:
        """Free a model's memory."""
        return await self.call(ToolName.UNLOAD_MODEL, {"model": model}, Unloaded)

    async def list_models(self) -> tuple[Model, ...]:
        """List every model, all pages."""
        models: list[Model] = []
        cursor: str | None = None
        while True:
            page = await self.call(ToolName.LIST_MODELS, {"cursor": cursor}, ModelList)
            models += page.models
            if (cursor := page.next_cursor) is None:
                return tuple(models)

    async def pull_model(self, repo_id: str, filename: str, on_progress: OnProgress | None = None) -> Model:
        """Download a model."""
        arguments = {"repo_id": repo_id, "filename": filename}
        return await self.call(ToolName.PULL_MODEL, arguments, Model, _one_by_one(on_progress))

    async def remove_model(self, model: str) -> Model:
        """Delete a model's file."""
        return await self.call(ToolName.REMOVE_MODEL, {"model": model}, Model)

    async def score(self, text: str) -> Score:
        """Score code without running it."""
        return await self.call(ToolName.SCORE, {"text": text}, Score)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        """Run a program, and its tests when given."""
        return await self.call(ToolName.EXECUTE, dump(request), ExecutionResult)

    async def check_syntax(self, code: str, language: str, filename: str | None = None) -> SyntaxReport:
        """Check syntax without running."""
        arguments = {"code": code, "language": language, "filename": filename}
        return await self.call(ToolName.CHECK_SYNTAX, arguments, SyntaxReport)

    async def analyze_failure(self, report: FailureReport, *, include_gx: bool = True) -> AnalyzedFailure:
        """Explain a failed run; the tool asks the lens itself, so *report* brings no score."""
        arguments = dump(report) | {"include_gx": include_gx}
        return await self.call(ToolName.ANALYZE_FAILURE, arguments, AnalyzedFailure)

    async def list_languages(self) -> LanguageList:
        """List the sandbox's languages."""
        return await self.call(ToolName.LIST_LANGUAGES, {}, LanguageList)

    async def index(self, request: IndexRequest, on_progress: OnIndexProgress | None = None) -> IndexReport:
        """Index a folder or posted documents; *on_progress* is awaited with each stage's own count."""
        if on_progress is None:
            return await self.call(ToolName.INDEX, dump(request), IndexReport)

        async def on_steps(steps: Sequence[ProgressStep]) -> None:
            for step in steps:
                if (told := STAGE.fullmatch(step.message)) is not None:
                    await on_progress(rebuild(IndexProgress, told.groupdict()))

        return await self.call(ToolName.INDEX, dump(request), IndexReport, on_steps)

    async def index_status(self, collection: str) -> IndexStatus:
        """Describe one collection."""
        return await self.call(ToolName.INDEX_STATUS, {"collection": collection}, IndexStatus)

    async def list_collections(self) -> tuple[IndexStatus, ...]:
        """List every collection, all pages."""
        collections: list[IndexStatus] = []
        cursor: str | None = None
        while True:
            page = await self.call(ToolName.LIST_COLLECTIONS, {"cursor": cursor}, CollectionList)
            collections += page.collections
            if (cursor := page.next_cursor) is None:
                return tuple(collections)

    async def delete_collection(self, collection: str) -> DeleteResult:
        """Delete a collection's index."""
        return await self.call(ToolName.DELETE_COLLECTION, {"collection": collection}, DeleteResult)

    async def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """Search one collection."""
        return await self.call(ToolName.RETRIEVE, dump(request), RetrieveResult)

    async def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        """Find where a symbol is defined and named."""
        return await self.call(ToolName.FIND_SYMBOL, dump(request), SymbolResult)

    async def outline(self, collection: str, path: str) -> Outline:
        """List what one file defines."""
        return await self.call(ToolName.OUTLINE, {"collection": collection, "path": path}, Outline)

    async def overview(self, collection: str) -> Overview:
        """Describe one collection at a glance."""
        return await self.call(ToolName.OVERVIEW, {"collection": collection}, Overview)

    async def status(self) -> ServerStatus:
        """Ask what works at this moment.

        Raises:
            BackendUnavailableError: also when the server is up, but does not answer in time.
        """
        with anyio.move_on_after(self._status_timeout_s):
            return await self.call(ToolName.STATUS, {}, ServerStatus)
        self._n_failed += 1
        msg = f"the MCP server did not answer within {self._status_timeout_s:g} s: it is stuck, or busy; retry later"
        raise BackendUnavailableError(msg)

    async def diagnose(self) -> Diagnosis:
        """Ask for a full check of the installation."""
        return await self.call(ToolName.DIAGNOSE, {}, Diagnosis)


def _deltas(message: str) -> tuple[Delta, ...]:
    return rebuild(DeltaMessage, json.loads(message)).deltas


def _one_by_one(on_progress: OnProgress | None) -> OnSteps | None:
    if on_progress is None:
        return None

    async def on_steps(steps: Sequence[ProgressStep]) -> None:
        for step in steps:
            await on_progress(step)

    return on_steps
