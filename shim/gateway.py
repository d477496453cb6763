"""The shim's only way to the capabilities: one typed async method a tool, over whatever MCP connection is up.

It knows nothing of HTTP, of doors, or of how the server process is kept alive; the supervisor attaches a connection
and takes it away when the process ends. A call made while there is none waits for the next, up to a limit.
"""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain
from typing import Any, TypeVar, cast

import anyio
from mcp import Client, MCPError
from mcp_types import CONNECTION_CLOSED, CallToolResult
from pydantic import TypeAdapter

from mcp_server.contract import (
    CollectionList,
    DeleteResult,
    Delta,
    Diagnosis,
    EmbeddingRequest,
    EmbeddingResult,
    ErrorCode,
    ExecutionRequest,
    ExecutionResult,
    GenerationRequest,
    GenerationResult,
    IndexReport,
    IndexRequest,
    IndexStatus,
    LanguageList,
    Model,
    ModelList,
    RetrieveRequest,
    RetrieveResult,
    Score,
    ServerStatus,
    SyntaxReport,
    TokenizeResult,
    ToolName,
)
from mcp_server.telemetry import REQUEST_ID_META, request_id
from shim.errors import ApiError, BackendUnavailableError
from shim.progress import Inbox, OnSteps, ProgressStep

log = logging.getLogger(__name__)

T = TypeVar("T")
PROTOCOL = "2026-07-28"
LOST = (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError)  # an MCPError by its code only
REPEATABLE = frozenset(
    {
        *(ToolName.STATUS, ToolName.LIST_MODELS, ToolName.LIST_LANGUAGES, ToolName.LIST_COLLECTIONS),
        *(ToolName.INDEX_STATUS, ToolName.RETRIEVE, ToolName.SCORE, ToolName.CHECK_SYNTAX),
        *(ToolName.TOKENIZE, ToolName.EMBED),
    }
)
"""Tools that change nothing and cost little; a call of one that its connection did not outlive is made again, once."""

MAX_DEPTH = 100  # levels of JSON in arguments; the server's parser drops a line of 200, and its call had no answer ever

OnDeltas = Callable[[tuple[Delta, ...]], Awaitable[None]]
OnProgress = Callable[[ProgressStep], Awaitable[None]]


@dataclass(frozen=True)
class DeltaMessage:
    """The message of one progress notification of `generate`."""

    deltas: tuple[Delta, ...]


@dataclass(frozen=True)
class GatewayStatistics:
    """Calls since the start."""

    n_calls: int
    n_failed: int
    n_in_flight: int
    is_connected: bool


class Gateway:
    """Typed calls to the MCP server; lives as long as the shim and outlives any one connection."""

    def __init__(self, restart_wait_s: float = 15.0, status_timeout_s: float = 5.0) -> None:
        self._restart_wait_s = restart_wait_s
        self._status_timeout_s = status_timeout_s
        self._client: Client | None = None
        self._connected = anyio.Event()
        self._n_calls = self._n_failed = self._n_in_flight = 0

    @asynccontextmanager
    async def connected(self, server: Any) -> AsyncIterator[None]:
        """Use *server* for every call made inside the context: a transport of the MCP SDK, or a server object."""
        async with Client(server, mode=PROTOCOL, cache=None) as client:
            self._client = client
            self._connected.set()
            try:
                yield
            finally:
                self._disconnect(client)

    def disconnect(self) -> None:
        """Let further calls wait for the next connection: to be called at the first sign that this one is over."""
        if self._client is not None:
            self._disconnect(self._client)

    def _disconnect(self, client: Client) -> None:
        """Let further calls wait for the next connection; a second time does nothing, as they wait already."""
        if self._client is client:
            self._client, self._connected = None, anyio.Event()

    def statistics(self) -> GatewayStatistics:
        """Count calls."""
        return GatewayStatistics(self._n_calls, self._n_failed, self._n_in_flight, self._client is not None)

    async def generate(self, request: GenerationRequest, on_deltas: OnDeltas | None = None) -> GenerationResult:
        """Generate; *on_deltas* is awaited with everything that arrived since its last call."""
        if on_deltas is None:
            return await self._call(ToolName.GENERATE, asdict(request), GenerationResult)

        async def on_steps(steps: Sequence[ProgressStep]) -> None:
            await on_deltas(_joined(delta for step in steps for delta in _deltas(step.message)))

        return await self._call(ToolName.GENERATE, asdict(request), GenerationResult, on_steps)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts with the language model."""
        return await self._call(ToolName.EMBED, asdict(request), EmbeddingResult)

    async def tokenize(self, text: str, model: str | None = None) -> TokenizeResult:
        """Tokenize text."""
        return await self._call(ToolName.TOKENIZE, {"text": text, "model": model}, TokenizeResult)

    async def list_models(self) -> tuple[Model, ...]:
        """List every model, all pages."""
        models: list[Model] = []
        cursor: str | None = None
        while True:
            page = await self._call(ToolName.LIST_MODELS, {"cursor": cursor}, ModelList)
            models += page.models
            if (cursor := page.next_cursor) is None:
                return tuple(models)

    async def pull_model(self, repo_id: str, filename: str, on_progress: OnProgress | None = None) -> Model:
        """Download a model."""
        arguments = {"repo_id": repo_id, "filename": filename}
        return await self._call(ToolName.PULL_MODEL, arguments, Model, _one_by_one(on_progress))

    async def remove_model(self, model: str) -> Model:
        """Delete a model's file."""
        return await self._call(ToolName.REMOVE_MODEL, {"model": model}, Model)

    async def score(self, text: str) -> Score:
        """Score code without running it."""
        return await self._call(ToolName.SCORE, {"text": text}, Score)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        """Run a program, and its tests when given."""
        return await self._call(ToolName.EXECUTE, asdict(request), ExecutionResult)

    async def check_syntax(self, code: str, language: str, filename: str | None = None) -> SyntaxReport:
        """Check syntax without running."""
        arguments = {"code": code, "language": language, "filename": filename}
        return await self._call(ToolName.CHECK_SYNTAX, arguments, SyntaxReport)

    async def list_languages(self) -> LanguageList:
        """List the sandbox's languages."""
        return await self._call(ToolName.LIST_LANGUAGES, {}, LanguageList)

    async def index(self, request: IndexRequest, on_progress: OnProgress | None = None) -> IndexReport:
        """Index a folder or posted documents."""
        return await self._call(ToolName.INDEX, asdict(request), IndexReport, _one_by_one(on_progress))

    async def index_status(self, collection: str) -> IndexStatus:
        """Describe one collection."""
        return await self._call(ToolName.INDEX_STATUS, {"collection": collection}, IndexStatus)

    async def list_collections(self) -> tuple[IndexStatus, ...]:
        """List every collection, all pages."""
        collections: list[IndexStatus] = []
        cursor: str | None = None
        while True:
            page = await self._call(ToolName.LIST_COLLECTIONS, {"cursor": cursor}, CollectionList)
            collections += page.collections
            if (cursor := page.next_cursor) is None:
                return tuple(collections)

    async def delete_collection(self, collection: str) -> DeleteResult:
        """Delete a collection's index."""
        return await self._call(ToolName.DELETE_COLLECTION, {"collection": collection}, DeleteResult)

    async def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """Search one collection."""
        return await self._call(ToolName.RETRIEVE, asdict(request), RetrieveResult)

    async def status(self) -> ServerStatus:
        """Ask what works at this moment.

        Raises:
            BackendUnavailableError: also when the server is up, but does not answer in time.
        """
        with anyio.move_on_after(self._status_timeout_s):
            return await self._call(ToolName.STATUS, {}, ServerStatus)
        self._n_failed += 1
        msg = f"the MCP server did not answer within {self._status_timeout_s:g} s: it is stuck, or busy; retry later"
        raise BackendUnavailableError(msg)

    async def ping(self) -> None:
        """Return once the server's event loop has answered; nothing that works in a thread there can delay that.

        Raises:
            BackendUnavailableError: when there is no server, or it stops meanwhile.
        """
        client = await self._wait_for_client()
        try:
            await client.list_prompts(cache_mode="bypass")
        except LOST as error:
            if _is_answer(error):
                return
            self._disconnect(client)
            msg = "the MCP server did not answer a ping"
            raise BackendUnavailableError(msg) from error

    async def diagnose(self) -> Diagnosis:
        """Ask for a full check of the installation."""
        return await self._call(ToolName.DIAGNOSE, {}, Diagnosis)

    async def _call(
        self, tool: ToolName, arguments: dict[str, Any], result_type: type[T], on_steps: OnSteps | None = None
    ) -> T:
        """Call *tool* and rebuild its result.

        Raises:
            ApiError: with the tool's own code, message and param; `invalid_request` for arguments that nest too deep.
            BackendUnavailableError: when the server died, or is not back in time.
        """
        self._n_calls += 1
        self._n_in_flight += 1
        try:
            _check_depth(arguments)
            result = await self._ask(tool, arguments, on_steps)
            return _rebuild(result_type, _structured(tool, result))
        except Exception:
            self._n_failed += 1
            raise
        finally:
            self._n_in_flight -= 1

    async def _wait_for_client(self) -> Client:
        with anyio.move_on_after(self._restart_wait_s):
            while self._client is None:
                await self._connected.wait()
        if self._client is None:
            msg = f"the MCP server is not up after {self._restart_wait_s:g} s; its log says why; retry later"
            raise BackendUnavailableError(msg)
        return self._client

    async def _ask(self, tool: ToolName, arguments: dict[str, Any], on_steps: OnSteps | None) -> CallToolResult:
        """Call *tool*; where doing it twice does no harm, once more on the next connection when this one is lost."""
        try:
            return await self._ask_once(await self._wait_for_client(), tool, arguments, on_steps)
        except _ConnectionLostError:
            if tool not in REPEATABLE:
                raise
        return await self._ask_once(await self._wait_for_client(), tool, arguments, on_steps)

    async def _ask_once(
        self, client: Client, tool: ToolName, arguments: dict[str, Any], on_steps: OnSteps | None
    ) -> CallToolResult:
        try:
            return await _call_tool(client, tool, arguments, on_steps)
        except LOST as error:
            if _is_answer(error):
                raise
            self._disconnect(client)  # the supervisor sees the end of the process a moment later
            msg = f"the MCP server stopped during this {tool} call and is restarting; retry"
            raise _ConnectionLostError(msg) from error


class _ConnectionLostError(BackendUnavailableError):
    """Raised when a connection ends before the answer that was awaited on it."""


def _is_answer(error: Exception) -> bool:
    return isinstance(error, MCPError) and error.code != CONNECTION_CLOSED


async def _call_tool(
    client: Client, tool: ToolName, arguments: dict[str, Any], on_steps: OnSteps | None
) -> CallToolResult:
    meta: Any = {REQUEST_ID_META: request_id.get()}
    if on_steps is None:
        return await client.call_tool(tool, arguments, meta=meta)
    inbox = Inbox(on_steps)
    return await inbox.run(lambda: client.call_tool(tool, arguments, progress_callback=inbox.put, meta=meta))


def _deltas(message: str) -> tuple[Delta, ...]:
    return _rebuild(DeltaMessage, json.loads(message)).deltas


def _joined(deltas: Iterable[Delta]) -> tuple[Delta, ...]:
    """Join the deltas of each completion: what arrived while the consumer was busy travels as one."""
    arrived: dict[int, list[Delta]] = {}
    for delta in deltas:
        arrived.setdefault(delta.index, []).append(delta)
    return tuple(
        Delta(
            index=index,
            text="".join(part.text for part in parts),
            logprobs=tuple(chain.from_iterable(part.logprobs for part in parts)),
            n_tokens=sum(part.n_tokens for part in parts),
        )
        for index, parts in arrived.items()
    )


def _one_by_one(on_progress: OnProgress | None) -> OnSteps | None:
    if on_progress is None:
        return None

    async def on_steps(steps: Sequence[ProgressStep]) -> None:
        for step in steps:
            await on_progress(step)

    return on_steps


def _check_depth(arguments: dict[str, Any]) -> None:
    level: list[Any] = [arguments]
    for _ in range(MAX_DEPTH):
        values = (value for outer in level for value in (outer.values() if isinstance(outer, dict) else outer))
        level = [value for value in values if isinstance(value, dict | list | tuple)]
    if level:
        msg = f"the request nests deeper than {MAX_DEPTH} levels of JSON; send a flatter one"
        raise ApiError(ErrorCode.INVALID_REQUEST, msg)


def _structured(tool: ToolName, result: CallToolResult) -> Any:
    """Return what the tool answered, or raise what it failed with."""
    structured = result.structured_content or {}
    if not result.is_error:
        return structured
    code = structured.get("code", ErrorCode.INTERNAL_ERROR)
    message = structured.get("message", f"{tool} failed without saying why")
    raise ApiError(code, message, param=structured.get("param"))


def _rebuild(kind: type[T], data: Any) -> T:
    """Make a contract type from what crossed the wire."""
    rebuilt: T = _adapter(cast("Hashable", kind)).validate_python(data)
    return rebuilt


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    """Return the validator of one type, built once."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", kind))
    return adapter
