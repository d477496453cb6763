"""What stands before every door: the request id and access line, and the guard of host, origin and key.

The guard makes a loopback door safe from web pages: a page that reached it by DNS rebinding has a foreign Host, one
that posts to it has a foreign Origin. Beyond loopback the API key decides.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_server.admission import given_key, is_key, is_known_host, is_known_origin
from mcp_server.telemetry import request_id
from shim.doors.door import Door, Services
from shim.errors import FORBIDDEN, UNAUTHORIZED, ApiError
from shim.metrics import Metrics

log = logging.getLogger("cinque.access")

CLIENT_GONE = 499  # nobody was left to answer; nginx's number, which log readers know
OPEN_PATHS = ("/docs", "/openapi.json", "/metrics")
ACCEPTED_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)  # a caller's own id is kept when it is harmless in a log line

Respond = Callable[[Door, Services, ApiError], Response]


class AccessLog:
    """Gives each request an id, answers it in `X-Request-Id`, and writes one structured line when it ends."""

    def __init__(self, app: ASGIApp, door: Door, metrics: Metrics) -> None:
        self._app = app
        self._door = door
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request inside its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = HTTPConnection(scope).headers.get("x-request-id", "")
        identifier = given if ACCEPTED_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
        status, n_bytes = CLIENT_GONE, 0
        started_s = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, n_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identifier.encode())]
            n_bytes += len(message.get("body", b""))
            await send(message)

        token = request_id.set(identifier)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._end(scope, status, n_bytes, time.perf_counter() - started_s)
            request_id.reset(token)

    def _end(self, scope: Scope, status: int, n_bytes: int, duration_s: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "unmatched")
        self._metrics.observe_request(self._door.name, path, status, duration_s)
        log.info(
            "request",
            extra={
                "door": self._door.name,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_ms": round(duration_s * 1000, 3),
                "response_bytes": n_bytes,
                "client": (scope.get("client") or ("", 0))[0],
            },
        )


class Guard:
    """Refuses foreign hosts, foreign origins and missing keys."""

    def __init__(self, app: ASGIApp, door: Door, services: Services, respond: Respond) -> None:
        self._app = app
        self._door = door
        self._services = services
        self._respond = respond
        is_open = (endpoint for endpoint in door.endpoints if endpoint.is_open)
        self._open = {path for endpoint in is_open for path in (endpoint.path, *endpoint.aliases)} | set(OPEN_PATHS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            refusal = self._refusal(HTTPConnection(scope), path)
            if refusal is not None:
                await self._respond(self._door, self._services, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, connection: HTTPConnection, path: str) -> ApiError | None:
        settings = self._services.settings
        host = connection.headers.get("host", "")
        # With a key, rebinding gains nothing: the page does not have it.
        is_any_host = bool(settings.keys) or "*" in settings.allowed_hosts
        if not is_any_host and not is_known_host(host, settings.allowed_hosts):
            return ApiError(FORBIDDEN, f"host {host!r} is not one of this server's; add it to CINQUE_ALLOWED_HOSTS")
        origin = connection.headers.get("origin", "")
        if origin and not is_known_origin(origin, host, settings.cors_origins):
            return ApiError(FORBIDDEN, f"pages of {origin!r} may not call this door; add it to CINQUE_CORS_ORIGINS")
        is_open = path in self._open or path.startswith("/docs/")
        given = given_key(connection.headers)
        is_one_of = [is_key(given, key) for key in settings.keys]  # all are compared, so that the time tells nothing
        if settings.keys and not is_open and not any(is_one_of):
            return ApiError(UNAUTHORIZED, "missing or wrong API key; send `Authorization: Bearer KEY`")
        return None
