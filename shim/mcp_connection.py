"""One MCP connection after another, as if it were one: what every typed call of the gateway goes through.

It counts calls, waits for a server that is being restarted, repeats what may be repeated, and turns tool errors into
`ApiError`. It knows no tool by its meaning, nothing of HTTP, and not how the server process is kept alive: the
supervisor attaches a connection and takes it away when the process ends.
"""

import logging
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import anyio
from mcp import Client, MCPError
from mcp.client import Transport
from mcp_types import CONNECTION_CLOSED, CallToolRequest, CallToolRequestParams, CallToolResult
from pydantic import TypeAdapter, ValidationError

from mcp_server.contract import ErrorCode, ToolName
from mcp_server.telemetry import REQUEST_ID_META, request_id
from shim.errors import ApiError, BackendUnavailableError
from shim.progress import Inbox, OnSteps, ProgressTap

log = logging.getLogger(__name__)

T = TypeVar("T")
PROTOCOL = "2026-07-28"
LOST = (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError)  # an MCPError by its code only
REPEATABLE = frozenset(
    {
        *(ToolName.STATUS, ToolName.LIST_MODELS, ToolName.LIST_LANGUAGES, ToolName.LIST_COLLECTIONS),
        *(ToolName.INDEX_STATUS, ToolName.RETRIEVE, ToolName.SCORE, ToolName.CHECK_SYNTAX, ToolName.ANALYZE_FAILURE),
        *(ToolName.FIND_SYMBOL, ToolName.OUTLINE, ToolName.OVERVIEW),
        *(ToolName.TOKENIZE, ToolName.DETOKENIZE, ToolName.EMBED, ToolName.RERANK),
        *(ToolName.RENDER_PROMPT, ToolName.DESCRIBE_MODEL),
    }
)
"""Tools that change nothing and cost little; a call of one that its connection did not outlive is made again, once."""

MAX_DEPTH = 100  # levels of JSON in arguments; the server's parser drops a line of 200, and its call had no answer ever


@dataclass(frozen=True)
class GatewayStatistics:
    """Calls since the start."""

    n_calls: int
    n_failed: int
    n_in_flight: int
    is_connected: bool


class McpConnection:
    """Calls to whatever server is connected; lives as long as the shim and outlives any one connection."""

    def __init__(self, restart_wait_s: float = 15.0, status_timeout_s: float = 5.0) -> None:
        self._restart_wait_s = restart_wait_s
        self._status_timeout_s = status_timeout_s
        self._link: _Link | None = None
        self._connected = anyio.Event()
        self._n_calls = self._n_failed = self._n_in_flight = 0

    @asynccontextmanager
    async def connected(self, transport: Transport) -> AsyncIterator[None]:
        """Use the server behind *transport* for every call made inside the context."""
        tap = ProgressTap(transport)
        async with Client(tap.connect(), mode=PROTOCOL, cache=None) as client:
            link = self._link = _Link(client, tap)
            self._connected.set()
            try:
                yield
            finally:
                self._disconnect(link)

    def disconnect(self) -> None:
        """Let further calls wait for the next connection: to be called at the first sign that this one is over."""
        if self._link is not None:
            self._disconnect(self._link)

    def _disconnect(self, link: "_Link") -> None:
        """Let further calls wait for the next connection; a second time does nothing, as they wait already."""
        if self._link is link:
            self._link, self._connected = None, anyio.Event()

    def statistics(self) -> GatewayStatistics:
        """Count calls."""
        return GatewayStatistics(self._n_calls, self._n_failed, self._n_in_flight, self._link is not None)

    async def ping(self) -> None:
        """Return once the server's event loop has answered; nothing that works in a thread there can delay that.

        Raises:
            BackendUnavailableError: when there is no server, or it stops meanwhile.
        """
        link = await self._wait_for_link()
        try:
            await link.client.list_prompts(cache_mode="bypass")
        except LOST as error:
            if _is_answer(error):
                return
            self._disconnect(link)
            msg = "the MCP server did not answer a ping"
            raise BackendUnavailableError(msg) from error

    async def call(
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
            return rebuild(result_type, _structured(tool, result))
        except Exception:
            self._n_failed += 1
            raise
        finally:
            self._n_in_flight -= 1

    async def _wait_for_link(self) -> "_Link":
        with anyio.move_on_after(self._restart_wait_s):
            while self._link is None:
                await self._connected.wait()
        if self._link is None:
            msg = f"the MCP server is not up after {self._restart_wait_s:g} s; its log says why; retry later"
            raise BackendUnavailableError(msg)
        return self._link

    async def _ask(self, tool: ToolName, arguments: dict[str, Any], on_steps: OnSteps | None) -> CallToolResult:
        """Call *tool*; where doing it twice does no harm, once more on the next connection when this one is lost."""
        try:
            return await self._ask_once(await self._wait_for_link(), tool, arguments, on_steps)
        except _ConnectionLostError:
            if tool not in REPEATABLE:
                raise
        return await self._ask_once(await self._wait_for_link(), tool, arguments, on_steps)

    async def _ask_once(
        self, link: "_Link", tool: ToolName, arguments: dict[str, Any], on_steps: OnSteps | None
    ) -> CallToolResult:
        try:
            return await link.call_tool(tool, arguments, on_steps)
        except LOST as error:
            if _is_answer(error):
                raise
            self._disconnect(link)  # the supervisor sees the end of the process a moment later
            msg = f"the MCP server stopped during this {tool} call and is restarting; retry"
            raise _ConnectionLostError(msg) from error


@dataclass(frozen=True, eq=False)
class _Link:
    """One connection."""

    client: Client
    tap: ProgressTap

    async def call_tool(self, tool: ToolName, arguments: dict[str, Any], on_steps: OnSteps | None) -> CallToolResult:
        """Call a tool, its progress handed to *on_steps*."""
        if on_steps is None:
            return await self._send(tool, arguments, {})
        inbox = Inbox(on_steps)
        with self.tap.feeding(inbox) as token:
            return await inbox.run(lambda: self._send(tool, arguments, {"progressToken": token}))

    async def _send(self, tool: ToolName, arguments: dict[str, Any], meta: dict[str, Any]) -> CallToolResult:
        """Call a tool without the client's check of its answer's JSON schema: `rebuild` checks all of that, faster."""
        meta |= {REQUEST_ID_META: request_id.get()}
        params = CallToolRequestParams(name=tool, arguments=arguments, _meta=cast("Any", meta))
        return await self.client.session.send_request(CallToolRequest(params=params), CallToolResult)


class _ConnectionLostError(BackendUnavailableError):
    """Raised when a connection ends before the answer that was awaited on it."""


def _is_answer(error: Exception) -> bool:
    return isinstance(error, MCPError) and error.code != CONNECTION_CLOSED


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


def dump(request: object) -> dict[str, Any]:
    """Make arguments of a contract type: what differs from its defaults, which are the tool's too."""
    arguments: dict[str, Any] = _adapter(cast("Hashable", type(request))).dump_python(
        request, exclude_defaults=True, warnings=False
    )
    return arguments


def rebuild(kind: type[T], data: Any) -> T:
    """Make a contract type from what crossed the wire.

    Raises:
        ApiError: `internal_error`, when it is none: the server may be of another version.
    """
    try:
        rebuilt: T = _adapter(cast("Hashable", kind)).validate_python(data)
    except ValidationError as error:  # its own text holds what was sent, which may be a prompt
        wrong = ", ".join(".".join(map(str, part["loc"])) for part in error.errors(include_input=False)[:3])
        name = getattr(kind, "__name__", kind)
        msg = f"the MCP server answered with what is no {name} (wrong: {wrong}); is it of another version?"
        raise ApiError(ErrorCode.INTERNAL_ERROR, msg) from None
    return rebuilt


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    """Return the validator of one type, built once."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", kind))
    return adapter
