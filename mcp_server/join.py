"""Joins a running engine: copies stdin and stdout to the Unix socket of the server that has the model loaded.

Standard library only, so that an IDE's handshake waits for nothing but a socket. It knows nothing of MCP: the bytes
are the same on both sides. When no server listens, the caller starts one of its own.
"""

import contextlib
import os
import selectors
import socket
import sys
from pathlib import Path

CHUNK_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 1.0  # a live listener accepts at once; a full backlog means it is stuck


def socket_path(home: Path) -> Path:
    """Return where the server of *home* listens for those who join."""
    return home.expanduser() / "run" / "mcp.sock"


def connect(home: Path) -> socket.socket | None:
    """Connect to the running server of *home*; None when there is none, or the platform has no Unix sockets."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(CONNECT_TIMEOUT_S)
    try:
        connection.connect(str(socket_path(home)))
    except OSError:  # absent, stale or too long a path: all mean that nobody can be joined
        connection.close()
        return None
    connection.settimeout(None)
    return connection


def relay(connection: socket.socket) -> int:
    """Copy both ways until either side ends; return the exit status: 0 when stdin ended, 1 when the server did."""
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    with selectors.DefaultSelector() as selector, connection, contextlib.suppress(BrokenPipeError):
        selector.register(stdin, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == stdin:
                    data = os.read(stdin, CHUNK_BYTES)
                    if not data:
                        return 0
                    connection.sendall(data)
                else:
                    data = connection.recv(CHUNK_BYTES)
                    if not data:
                        sys.stderr.write("cinque: the engine that this server had joined has stopped\n")
                        return 1
                    _write_all(stdout, data)
    return 1


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
