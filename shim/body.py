"""Reads a request's body within its limit and validates it, and tells what is wrong with it in the client's own names.

A refused body is still read, and forgotten, so that the client gets to read the refusal. It knows no door.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from mcp_server.contract import ErrorCode
from shim.doors.door import Endpoint, Services
from shim.errors import BAD_JSON, BODY_TOO_LARGE, ApiError
from shim.settings import ShimSettings

DRAIN_LIMIT_BYTES = 1 << 30  # of a refused body; beyond it the connection is closed under the client
ANY_JSON: TypeAdapter[Any] = TypeAdapter(Any)  # the parser that validation uses, so that both read the same


class LargeBodies:
    """Lets few large requests in at once, so that the memory that all of them take has a limit.

    A request that waits has not been read: its client is held by TCP. Lives as long as its door.
    """

    def __init__(self, settings: ShimSettings) -> None:
        self._ordinary_bytes = settings.max_body_bytes
        self._n_at_once = settings.max_large_bodies
        self._limiter: anyio.CapacityLimiter | None = None

    @asynccontextmanager
    async def turn(self, request: Request, limit: int) -> AsyncIterator[None]:
        """Wait for a turn where *request* may be large: *limit* allows it, and its length is large or not told."""
        told = request.headers.get("content-length", "")
        is_small = told.isdecimal() and int(told) <= self._ordinary_bytes
        if limit <= self._ordinary_bytes or is_small:
            yield
            return
        if self._limiter is None:  # a limiter belongs to the event loop that it is made in
            self._limiter = anyio.CapacityLimiter(self._n_at_once)
        async with self._limiter:
            yield


async def read_body(endpoint: Endpoint, request: Request, services: Services) -> BaseModel | None:
    """Read and validate the body.

    Raises:
        ApiError: 413 beyond the limit, 400 for bytes that are not JSON or do not fit the schema.
    """
    limit = endpoint.max_body_bytes(services.settings)
    body = bytearray()  # one block, which goes back to the system; a list of chunks would stay in the heap
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            body += chunk
        elif size > DRAIN_LIMIT_BYTES:
            break
    if size > limit:
        msg = f"the body has more than {limit} bytes, the most that {endpoint.path} takes; send less"
        raise ApiError(BODY_TOO_LARGE, msg)
    if endpoint.body is None:
        return None
    return _validate(endpoint.body, body)


async def discard_body(request: Request) -> None:
    """Read the body and forget it, so that the client gets to read the refusal."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > DRAIN_LIMIT_BYTES:
            return


def _validate(kind: type[BaseModel], raw: bytearray) -> BaseModel:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _told(error, raw) from error


def _told(error: ValidationError, raw: bytearray) -> ApiError:
    """Return what to tell the client of *error* in its body *raw*: the first field at fault, as deep as it is known."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    if first["type"] == "json_invalid":
        return ApiError(BAD_JSON, f"the body is not JSON in UTF-8: {first['msg'].removeprefix('Invalid JSON: ')}")
    body = ANY_JSON.validate_json(raw)
    of_its_field = [(_place(e["loc"], e["type"], body), e["msg"]) for e in errors if e["loc"][:1] == first["loc"][:1]]
    place, message = max(of_its_field, key=lambda candidate: len(candidate[0]))
    message = message.removeprefix("Value error, ")  # pydantic's own words before a sentence of ours
    param = ".".join(place) or None
    return ApiError(ErrorCode.INVALID_REQUEST, f"{param}: {message}" if param else message, param=param)


def _place(location: tuple[int | str, ...], kind: str, body: Any) -> list[str]:
    """Return where in *body* the fault is: pydantic's location without the names of a union's branches."""
    place: list[str] = []
    for part in location:
        is_inside = part in body if isinstance(body, dict) else isinstance(body, list) and isinstance(part, int)
        if is_inside:
            body = body[part]
            place.append(str(part))
    return [*place, str(location[-1])] if kind == "missing" else place
