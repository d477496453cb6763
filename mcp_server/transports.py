"""How the MCP server is reached: stdio, HTTP (`/mcp` and `/sse`), and a Unix socket for stdio servers that join.

Every transport serves the same server object, so IDEs that attach over HTTP or join through the socket share one
engine with the shim: there is never a second model in memory. Nothing but JSON-RPC is written to stdout.
"""

import hmac
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import anyio
from anyio.abc import ByteStream, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.server.mcpserver import MCPServer
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server import listening
from mcp_server.join import socket_path
from mcp_server.settings import McpSettings

log = logging.getLogger(__name__)


async def serve_stdio(server: MCPServer[Any]) -> None:
    """Serve stdin and stdout until stdin ends."""
    await server.run_stdio_async()


def bind_http(settings: McpSettings) -> tuple[socket.socket, str]:
    """Bind the port of the HTTP transports; return it with its base URL.

    Raises:
        PortInUseError: when something else holds it.
    """
    listener = listening.bind(settings.host, settings.port, name="the MCP server", setting="CINQUE_MCP_PORT")
    return listener, f"http://{settings.host}:{listener.getsockname()[1]}"


async def serve_http(
    server: MCPServer[Any],
    settings: McpSettings,
    listener: socket.socket,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `/mcp`, `/sse` and `/health` until cancelled."""
    await listening.serve(http_app(server, settings), [listener], task_status=task_status)


def http_app(server: MCPServer[Any], settings: McpSettings) -> Starlette:
    """Make the ASGI app of both HTTP transports on one port."""
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[f"{host}:*" for host in ("127.0.0.1", "localhost", "[::1]")] + list(settings.allowed_hosts),
        allowed_origins=[f"http://{host}:*" for host in ("127.0.0.1", "localhost", "[::1]")],
    )
    app = server.streamable_http_app(
        streamable_http_path="/mcp", max_request_body_size=settings.max_body_bytes, transport_security=security
    )
    sse = server.sse_app(
        sse_path="/sse",
        message_path="/messages/",
        max_request_body_size=settings.max_body_bytes,
        transport_security=security,
    )

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "name": server.name, "version": server.version, "pid": os.getpid()})

    app.router.routes.extend([*sse.routes, Route("/health", health)])
    app.user_middleware.append(Middleware(_KnownHosts, security=security))
    if settings.api_key:
        app.user_middleware.append(Middleware(_BearerKey, key=settings.api_key))
    return app


async def serve_joiners(
    server: MCPServer[Any], settings: McpSettings, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve stdio servers that join through the Unix socket, each as a session of its own, until cancelled."""
    path = socket_path(settings.home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)  # a server that was killed leaves its socket behind
    try:
        opened = await anyio.create_unix_listener(path, mode=0o600)
    except OSError as error:  # the path is longer than a socket's address may be, or the folder takes no sockets
        log.warning("nobody can join this server: %s", error, extra={"path": str(path)})
        task_status.started()
        return
    async with opened as listener:
        owned = path.stat().st_ino
        task_status.started()
        try:
            await listener.serve(lambda stream: _serve_joiner(server, stream))
        finally:
            _unlink_own(path, owned)


async def _serve_joiner(server: MCPServer[Any], stream: SocketStream) -> None:
    """Serve one joined client, framed as on stdio: one JSON-RPC message a line."""
    async with stream:
        lines = _SocketLines(stream)
        # stdio_server asks of its two files only what _SocketLines has: async iteration, write and flush.
        file = cast("Any", lines)
        async with stdio_server(stdin=file, stdout=file) as (read_stream, write_stream):
            lowlevel = server._lowlevel_server  # noqa: SLF001 - the SDK runs streams only through it
            await lowlevel.run(read_stream, write_stream, lowlevel.create_initialization_options())


class _SocketLines:
    """A socket in the shape of a text file: lines in, text out."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffered = BufferedByteReceiveStream(stream)

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            try:
                line = await self._buffered.receive_until(b"\n", 1 << 30)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                return
            yield line.decode("utf-8", errors="replace")

    async def write(self, text: str) -> None:
        await self._stream.send(text.encode())

    async def flush(self) -> None:
        """Nothing is buffered on the way out."""


class _KnownHosts:
    """Refuses foreign Host and Origin headers before the SDK does, whose SSE app raises after such a refusal."""

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            refusal = await self._security.validate_request(Request(scope))
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _BearerKey:
    """Refuses HTTP requests that lack the API key; `/health` stays open."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = JSONResponse({"error": "missing or wrong API key; send `Authorization: Bearer KEY`"}, 401)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _unlink_own(path: Path, inode: int) -> None:
    """Remove our socket, unless a newer server has put its own there."""
    if path.exists() and path.stat().st_ino == inode:
        path.unlink()
