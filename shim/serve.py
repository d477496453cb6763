"""Starts every door on its port, over one supervised MCP server; `cinque serve` and the demo use it.

All sockets go to one HTTP server, which hands a request to the door of the port that it came in by; with
`CINQUE_SINGLE_PORT` every door is mounted under its name instead. Ports are bound before anything else starts.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

import anyio
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server import listening
from shim.app import build_door, door_router
from shim.doors import DOORS
from shim.doors.door import Door, Services
from shim.errors import NOT_FOUND, CommandError
from shim.gateway import Gateway
from shim.metrics import Metrics
from shim.settings import ShimSettings
from shim.supervisor import Pings, Supervisor


@dataclass(frozen=True)
class OpenDoor:
    """A door that is being served."""

    door: Door
    url: str


@dataclass(frozen=True)
class Opened:
    """Everything that is being served. The MCP server behind the gateway may still be starting."""

    doors: tuple[OpenDoor, ...]
    gateway: Gateway


async def serve(settings: ShimSettings, command: Sequence[str], *, task_status: TaskStatus[Opened]) -> None:
    """Serve every door until cancelled, with *command* as the MCP server; starts when all ports accept connections.

    Raises:
        PortInUseError: when a port cannot be bound; nothing was started.
        CommandError: when `CINQUE_PORTS` names a door that does not exist.
    """
    gateway = Gateway(settings.restart_wait_s, settings.status_timeout_s)
    metrics = Metrics(gateway)
    supervisor = Supervisor(gateway, command, Pings(settings.ping_interval_s, settings.ping_timeout_s))
    listeners = _bind(settings)
    services = {door.name: Services(gateway, settings, listeners[door.name].getsockname()[1]) for door in DOORS}
    routers = {door.name: door_router(door, services[door.name]) for door in DOORS}
    apps = {
        door.name: build_door(door, services[door.name], metrics, routers.get(door.fallback or "")) for door in DOORS
    }
    try:
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            sockets = list(dict.fromkeys(listeners.values()))
            await group.start(listening.serve, _app(settings, apps, listeners), sockets)
            task_status.started(Opened(_open_doors(settings, services), gateway))
    finally:
        _close(listeners)


def _bind(settings: ShimSettings) -> dict[str, socket.socket]:
    """Bind each door's socket, all or none; with a single port all doors share one."""
    unknown = set(settings.ports) - {door.name for door in DOORS}
    if unknown:
        msg = f"CINQUE_PORTS names no door: {', '.join(sorted(unknown))}; the doors are {_names()}"
        raise CommandError(msg)
    if settings.single_port is not None:
        shared = listening.bind(settings.host, settings.single_port, name="Cinque", setting="CINQUE_SINGLE_PORT")
        return {door.name: shared for door in DOORS}
    listeners: dict[str, socket.socket] = {}
    try:
        for door in DOORS:
            port = settings.ports.get(door.name, door.port)
            listeners[door.name] = listening.bind(settings.host, port, name=door.title, setting="CINQUE_PORTS")
    except OSError:
        _close(listeners)
        raise
    return listeners


def _close(listeners: dict[str, socket.socket]) -> None:
    for listener in listeners.values():
        listener.close()


def _names() -> str:
    return ", ".join(door.name for door in DOORS)


def _app(settings: ShimSettings, apps: dict[str, ASGIApp], listeners: dict[str, socket.socket]) -> ASGIApp:
    if settings.single_port is not None:
        outer = Starlette(routes=[Mount(f"/{name}", app) for name, app in apps.items()])
        outer.router.redirect_slashes = False
        outer.router.default = _no_door
        return outer
    return PortDispatch({listeners[name].getsockname()[1]: app for name, app in apps.items()})


async def _no_door(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a path outside every door, in the words of none of them."""
    if scope["type"] == "http":
        message = f"{scope['path']} is not below a door; the doors are {', '.join(f'/{door.name}' for door in DOORS)}"
        await JSONResponse({"error": {"message": message, "code": NOT_FOUND}}, 404)(scope, receive, send)


def _open_doors(settings: ShimSettings, services: dict[str, Services]) -> tuple[OpenDoor, ...]:
    prefixed = settings.single_port is not None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return tuple(
        OpenDoor(door, f"http://{host}:{services[door.name].port}" + (f"/{door.name}" if prefixed else ""))
        for door in DOORS
    )


class PortDispatch:
    """Hands a request to the app of the port that it came in by."""

    def __init__(self, apps: dict[int, ASGIApp]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; the lifespan protocol is answered by nobody, as doors have no start of their own."""
        if scope["type"] != "lifespan":
            await self._apps[scope["server"][1]](scope, receive, send)
