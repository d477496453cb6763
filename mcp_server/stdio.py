"""MCP as lines of JSON-RPC: over stdin and stdout, and over the Unix socket of the stdio servers that join this one.

Every session serves the same server object, so a program that joins shares the engine. It knows nothing of HTTP.
"""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketListener, SocketStream, TaskStatus
from mcp.server.mcpserver import MCPServer

from mcp_server.join import CONNECT_TIMEOUT_S, socket_path
from mcp_server.jsonrpc_lines import GONE, LineReader, LineWriter
from mcp_server.settings import McpSettings

log = logging.getLogger(__name__)


async def serve_stdio(server: MCPServer[Any], stream: ByteStream) -> None:
    """Serve the one client at the other end of stdin and stdout, until it closes either."""
    try:
        await _serve_lines(server, stream)
    except* GONE:
        log.info("stdout was closed before the last answer")


async def serve_joiners(
    server: MCPServer[Any], settings: McpSettings, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Serve stdio servers that join through the Unix socket, each as a session of its own, until cancelled.

    One server has the socket. Another that is started leaves it alone, and takes it over once the first has ended.
    """
    path = socket_path(settings.home)
    has_started = False
    while True:
        opened = other = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _alone(path):
                other = await _connect(path)
                opened = None if other else await anyio.create_unix_listener(path, mode=0o600)  # replaces a dead one
        except OSError as error:  # the path is longer than a socket's address may be, or the folder takes no sockets
            log.warning("nobody can join this server: %s", error, extra={"path": str(path)})
        if not has_started:
            task_status.started()
            has_started = True
        if opened is not None:
            await _serve_listener(server, opened, path)
        if other is None:
            return
        log.info("another server is joined here; this one is, once that has ended", extra={"path": str(path)})
        await _wait_for_end(other)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of *path*, so that two servers that start together do not both replace the socket."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # held for as long as a connect and a bind take
        yield


async def _connect(path: Path) -> SocketStream | None:
    """Connect to whoever listens at *path*; None for nobody: a server that was killed leaves its socket behind."""
    try:
        with anyio.fail_after(CONNECT_TIMEOUT_S):
            return await anyio.connect_unix(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


async def _serve_listener(server: MCPServer[Any], opened: SocketListener, path: Path) -> None:
    async with opened as listener:
        owned = _inode(path)
        try:
            await listener.serve(lambda stream: _serve_joiner(server, stream))
        finally:
            _unlink_own(path, owned)


async def _wait_for_end(other: SocketStream) -> None:
    """Wait until the server at the other end is gone; it never speaks first."""
    async with other:
        with contextlib.suppress(anyio.EndOfStream, *GONE):
            await other.receive()


async def _serve_joiner(server: MCPServer[Any], stream: SocketStream) -> None:
    """Serve one joined client. Whatever ends its session ends nothing else: the listener serves others too."""
    try:
        async with stream:
            await _serve_lines(server, stream)
    except* GONE:
        log.debug("a joined client left before its answers")
    except* Exception:
        log.exception("the session of a joined client failed")


async def _serve_lines(server: MCPServer[Any], stream: ByteStream) -> None:
    """Serve one client, framed as on stdio: one JSON-RPC message a line."""
    reader, writer = LineReader(stream), LineWriter(stream)
    lowlevel = server._lowlevel_server  # noqa: SLF001 - the SDK runs streams only through it
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)  # ends with the session, which closes the writer
        await lowlevel.run(reader, writer, lowlevel.create_initialization_options())


def _unlink_own(path: Path, inode: int) -> None:
    """Remove our socket, unless a newer server has put its own there."""
    if path.exists() and _inode(path) == inode:
        path.unlink()


def _inode(path: Path) -> int:
    return path.stat().st_ino
