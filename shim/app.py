"""Builds a door's ASGI app: routes from its endpoints, the same middleware and the same error rendering for all.

The order of a request: request id and access line -> host, origin and key -> body read, limited and validated ->
handler beside a watcher for the disconnect -> response, or the error in this door's envelope. No handler catches
anything; this is one of the three boundaries that do.
"""

import logging
from collections.abc import Callable

import anyio
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.telemetry import request_id
from shim.access import AccessLog, Guard
from shim.body import LargeBodies, discard_body, read_body
from shim.documentation import documentation_routes
from shim.doors.door import Call, Door, Endpoint, Services
from shim.errors import METHOD_NOT_ALLOWED, NOT_FOUND, ApiError
from shim.metrics import Metrics, metrics_route
from shim.streaming import cancel_on_disconnect

log = logging.getLogger(__name__)

EXPOSED_HEADERS = ("x-request-id", "retry-after")


def build_door(door: Door, services: Services, metrics: Metrics, fallback: Router | None = None) -> ASGIApp:
    """Make the ASGI app of *door*; what it has no endpoint for is answered by *fallback*, another door's router."""
    routes: list[BaseRoute] = []
    for path, endpoints in _by_path(door).items():
        routes.append(Route(path, _Resource(door, endpoints, services, fallback)))
    routes += documentation_routes(door)
    routes.append(metrics_route(metrics))
    settings = services.settings
    middleware = [
        Middleware(AccessLog, door=door, metrics=metrics),
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        ),
        Middleware(Guard, door=door, services=services, respond=_respond),
    ]
    app = Starlette(
        routes=routes, middleware=middleware, exception_handlers={HTTPException: _in_envelope(door, services)}
    )
    app.router.redirect_slashes = False
    app.router.default = _unmatched(_not_found(door, services), fallback)
    return app


def door_router(door: Door, services: Services) -> Router:
    """Make what answers the endpoints of *door* and nothing else, for a door that falls back on it."""
    routes = [Route(path, _Resource(door, endpoints, services)) for path, endpoints in _by_path(door).items()]
    return Router(routes, redirect_slashes=False, default=_not_found(door, services))


def _by_path(door: Door) -> dict[str, dict[str, Endpoint]]:
    """Group endpoints by path and then method, aliases included."""
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in door.endpoints:
        for path in (endpoint.path, *endpoint.aliases):
            paths.setdefault(path, {})[endpoint.method] = endpoint
    return paths


class _Resource:
    """The ASGI app of one path: picks the method's endpoint, runs it, renders what it raises."""

    def __init__(
        self, door: Door, endpoints: dict[str, Endpoint], services: Services, fallback: Router | None = None
    ) -> None:
        self._door = door
        self._endpoints = endpoints
        self._services = services
        self._fallback = fallback
        self._large_bodies = LargeBodies(services.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fallback is not None and self._falls_back(self._fallback, scope):
            await self._fallback(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            endpoint = self._endpoint(request)
            async with self._large_bodies.turn(request, endpoint.max_body_bytes(self._services.settings)):
                await self._answer(endpoint, request, send)
        except ClientDisconnect:
            log.debug("client left while sending its body")
        except ApiError as error:
            await self._refuse(error)(scope, receive, send)
        except Exception:
            log.exception("handler failed", extra={"door": self._door.name, "path": request.url.path})
            defect = ApiError("internal_error", f"Cinque failed; its log has the cause under {request_id.get()}")
            await self._refuse(defect)(scope, receive, send)

    def _falls_back(self, fallback: Router, scope: Scope) -> bool:
        """Say whether the method is none of this path's, but the other door has the path."""
        is_ours = scope["method"] in self._endpoints or (scope["method"] == "HEAD" and "GET" in self._endpoints)
        return not is_ours and _has_path(fallback, scope)

    def _endpoint(self, request: Request) -> Endpoint:
        """Return the endpoint of the request's method.

        Raises:
            ApiError: method_not_allowed.
        """
        is_head = request.method == "HEAD" and "HEAD" not in self._endpoints
        endpoint = self._endpoints.get("GET" if is_head else request.method)
        if endpoint is None:
            msg = f"{request.method} is not a method of {request.url.path}; use {self._allowed}"
            raise ApiError(METHOD_NOT_ALLOWED, msg)
        return endpoint

    @property
    def _allowed(self) -> str:
        return ", ".join(sorted(self._endpoints))

    def _refuse(self, error: ApiError) -> Response:
        response = _respond(self._door, self._services, error)
        if error.code == METHOD_NOT_ALLOWED:
            response.headers["allow"] = self._allowed
        return response

    async def _answer(self, endpoint: Endpoint, request: Request, send: Send) -> None:
        """Run the handler and send what it answers; both end when the client goes away."""
        body = await read_body(endpoint, request, self._services)
        call = Call(body=body, request=request, services=self._services)
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_on_disconnect, request.receive, group.cancel_scope)
            try:
                answer = await endpoint.handler(call)
                response = answer if isinstance(answer, Response) else _json(answer)
                await response(request.scope, request.receive, send)
            except Exception as error:  # noqa: BLE001 - raised again outside the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure


def _json(model: BaseModel) -> Response:
    """Encode *model*; what it leaves out is the model's own choice."""
    return Response(model.model_dump_json(by_alias=True), media_type="application/json")


def _respond(door: Door, services: Services, error: ApiError) -> JSONResponse:
    """Render *error* in the door's envelope."""
    headers = {"retry-after": str(services.settings.retry_after_s)} if error.is_retryable else None
    return JSONResponse(door.render_error(error), status_code=error.status, headers=headers)


def _in_envelope(door: Door, services: Services) -> Callable[[Request, Exception], Response]:
    """Make the handler of what Starlette itself refuses: another method than GET for a page of documentation."""

    def handle(request: Request, error: Exception) -> Response:
        allowed = (getattr(error, "headers", None) or {}).get("Allow", "GET")
        refusal = ApiError(METHOD_NOT_ALLOWED, f"{request.method} is not a method of {request.url.path}; use {allowed}")
        response = _respond(door, services, refusal)
        response.headers["allow"] = allowed
        return response

    return handle


def _has_path(router: Router, scope: Scope) -> bool:
    return any(route.matches(scope)[0] is not Match.NONE for route in router.routes)


def _unmatched(not_found: ASGIApp, fallback: Router | None) -> ASGIApp:
    """Make what answers a path that no endpoint has: the other door where it has it, with all of the request."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_theirs = fallback is not None and scope["type"] == "http" and _has_path(fallback, scope)
        await (fallback if fallback is not None and is_theirs else not_found)(scope, receive, send)

    return answer


def _not_found(door: Door, services: Services) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await discard_body(Request(scope, receive))
        except ClientDisconnect:
            log.debug("client left while sending its body")
            return
        msg = f"{door.title} has no {scope['path']}; /docs lists what there is"
        await _respond(door, services, ApiError(NOT_FOUND, msg))(scope, receive, send)

    return answer
