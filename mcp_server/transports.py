"""How the MCP server is reached over HTTP: streamable HTTP at `/mcp` and SSE at `/sse`, on one port.

Every transport, those of `stdio.py` too, serves the same server object, so IDEs that attach share one engine with
the shim: there is never a second model in memory.
"""

import os
import socket
from typing import Any

import anyio
from anyio.abc import TaskStatus
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server import listening
from mcp_server.admission import ANY_PORT, given_key, is_key, is_known_host, is_known_origin
from mcp_server.settings import McpSettings

NAMES = (b"host", b"origin")


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
    security = _security(settings)
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
    app.user_middleware.append(Middleware(_Guard, security=security, key=settings.api_key))
    return app


def _security(settings: McpSettings) -> TransportSecuritySettings:
    """Make the lists of the SDK's own checks, which compare texts; an entry without a port stands for all."""
    hosts: list[str] = []
    for entry in ("127.0.0.1", "localhost", "[::1]", *settings.allowed_hosts):
        name = entry.lower().removesuffix(ANY_PORT)
        has_port = ":" in name.rpartition("]")[2]
        hosts += [name] if has_port else [name, f"{name}{ANY_PORT}"]
    origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
    return TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=origins)


class _Guard:
    """Refuses foreign hosts, foreign origins and missing keys, by the rules of the doors; `/health` needs no key.

    The SDK's own checks run here too, because its SSE app raises after it refused. A key opens no foreign host
    here, as it does at a door: the SDK knows nothing of keys.
    """

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings, key: str) -> None:
        self._app = app
        self._security = security
        self._sdk = TransportSecurityMiddleware(security)
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] == "http":
            # Names are the same in any case, but not to the SDK.
            scope = {**scope, "headers": [(n, v.lower() if n in NAMES else v) for n, v in scope["headers"]]}
            refusal = self._refusal(Headers(scope=scope), scope["path"])
            refusal = refusal or await self._sdk.validate_request(Request(scope))
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers, path: str) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if not is_known_host(host, self._security.allowed_hosts):
            return JSONResponse({"error": f"host {host!r} is unknown; add it to CINQUE_MCP_ALLOWED_HOSTS"}, 421)
        if origin and not is_known_origin(origin, host, self._security.allowed_origins):
            msg = f"pages of {origin!r} may not call this server; add their host to CINQUE_MCP_ALLOWED_HOSTS"
            return JSONResponse({"error": msg}, 403)
        if self._key and path != "/health" and not is_key(given_key(headers), self._key):
            return JSONResponse({"error": "missing or wrong API key; send `Authorization: Bearer KEY`"}, 401)
        return None
