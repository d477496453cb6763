"""Listening sockets, and one ASGI app served on them until cancelled; shared by both processes.

uvicorn does the HTTP. Signals stay with the process, several sockets go to one server, and a cancelled task ends the
server in order: no new connections, open ones get a short grace. It knows nothing of MCP or of doors.
"""

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Iterator, Sequence

import anyio
import h11
import uvicorn
from anyio.abc import TaskStatus
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

BACKLOG = 2048  # a burst of a thousand streams must not see refused connections
SHUTDOWN_GRACE_S = 2  # open streams end when their clients see the close; longer only delays a restart
MAX_OPEN_FILES = 16384  # files; streams, and what a person would call a leak beyond that
KEEP_ALIVE_S = 75  # longer than common client pools keep idle connections, so that the client closes first


class PortInUseError(OSError):
    """Raised when a port cannot be bound; the message names what holds it up and the setting that moves it."""


def bind(host: str, port: int, *, name: str, setting: str) -> socket.socket:
    """Bind a listening socket for *name*; 0 picks a free port.

    Raises:
        PortInUseError: when the address cannot be bound; names *setting*.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name their protocol; with it on, every answer of two
    # writes, head and body, waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # at once: a port that is only bound can be bound again by a second start
    except OSError as error:
        listener.close()
        msg = f"{name} cannot listen on {host}:{port}: {error.strerror}; stop what holds the port, or set {setting}"
        raise PortInUseError(msg) from error
    listener.set_inheritable(False)
    return listener


async def serve(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve *app* on *listeners* until cancelled; starts when connections are accepted."""
    _allow_many_connections()
    config = uvicorn.Config(
        _Boundary(app),
        http="h11",  # whose late-answer error is told apart below
        log_config=None,
        access_log=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        server_header=False,
    )
    server = _Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(_run, server, listeners)
        await server.accepts.wait()
        task_status.started()


def _allow_many_connections() -> None:
    """Raise the process's limit of open files as far as it may; the usual 1,024 are fewer than a thousand streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(server: uvicorn.Server, listeners: Sequence[socket.socket]) -> None:
    """Run *server*; when cancelled, ask it to stop and wait until it has."""
    done = anyio.Event()

    async def serve_to_the_end() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=list(listeners))
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(serve_to_the_end)
        try:
            await done.wait()
        finally:
            server.should_exit = True


class _Boundary:
    """Takes two events for what they are, which uvicorn would log as defects of the app, with a traceback.

    A request that still waits when the server ends is answered 503. An answer to a client that broke HTTP after its
    headers goes nowhere: uvicorn has answered it 400 by then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_on(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            try:
                await send(message)
            except h11.LocalProtocolError:
                log.debug("an answer came too late", extra={"path": scope["path"]})

        try:
            await self._app(scope, receive, send_on)
        except asyncio.CancelledError:  # nobody but uvicorn cancels a request's task, and only once the grace is over
            log.warning("request cut off by the end of the server", extra={"path": scope["path"]})
            if not has_begun:
                stopping = PlainTextResponse("the server is stopping; retry later", 503, {"retry-after": "1"})
                await stopping(scope, receive, send_on)


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process, and tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        self.accepts.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield
