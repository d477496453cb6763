"""How the MCP server is reached over HTTP: streamable HTTP at `/mcp` and SSE at `/sse`, on one port.

Every transport, those of `stdio.py` too, serves the same server object, so IDEs that attach share one engine with
the shim: there is never a second model in memory.
"""

import hmac
import os
import socket
from typing import Any

import anyio
from anyio.abc import TaskStatus
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server import listening
from mcp_server.settings import McpSettings


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
