"""What a door is: a name, a port, endpoints as data, and one way to render errors.

`shim/app.py` builds every door from this and nothing else, so doors differ only in their dialect. A handler receives a
`Call` whose body is already validated, and returns a pydantic model, or a response of its own making when it streams.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from mcp_server.admission import given_key
from shim.errors import ApiError
from shim.gateway import Gateway
from shim.model_names import ModelNames
from shim.settings import ShimSettings

Body = TypeVar("Body", bound=BaseModel | None)


@dataclass
class DoorCounters:
    """What a door counts for its own documented `/health`; one a door, lives as long as the shim."""

    n_requests: int = 0


@dataclass(frozen=True)
class Services:
    """What handlers work with."""

    gateway: Gateway
    settings: ShimSettings
    port: int = 0  # the port this door is bound to; 0 when it is not known, as in tests
    counters: DoorCounters = field(default_factory=DoorCounters)
    names: ModelNames = field(default_factory=ModelNames)


@dataclass(frozen=True)
class Call(Generic[Body]):
    """One request: its validated body, and everything needed to answer it."""

    body: Body
    request: Request
    services: Services

    @property
    def gateway(self) -> Gateway:
        """The way to the capabilities."""
        return self.services.gateway

    @property
    def key(self) -> str:
        """The key that the caller sent; empty when none."""
        return given_key(self.request.headers)


Handler = Callable[[Call[Any]], Awaitable[BaseModel | Response]]


@dataclass(frozen=True)
class Endpoint:
    """One documented method and path. `summary` is the first line of its documentation."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    response: type[BaseModel] | None = None
    event: type[BaseModel] | None = None  # of each server-sent event, where the endpoint can stream
    aliases: tuple[str, ...] = ()
    is_open: bool = False  # answers without the API key
    is_static: bool = False  # answers without the MCP server
    max_body_bytes: Callable[[ShimSettings], int] = lambda settings: settings.max_body_bytes


@dataclass(frozen=True)
class Door:
    """One documented API on one port."""

    name: str
    title: str
    description: str
    port: int
    endpoints: tuple[Endpoint, ...]
    render_error: Callable[[ApiError], dict[str, Any]]
    error: type[BaseModel]  # the schema of what `render_error` returns
    fallback: str | None = None  # the door, by its name, that answers what this one has no endpoint for
