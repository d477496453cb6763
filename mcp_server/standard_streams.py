"""stdin and stdout as one asynchronous stream of bytes, kept from everything else in the process.

A thread that reads stdin cannot be cancelled, and a process whose stdin stays open could then not end; here both are
waited for in the event loop. The descriptors stay blocking, because a terminal or pipe shares that flag with other
processes: a read or write is made only once `poll` says that it will not wait. It knows nothing of MCP.
"""

import contextlib
import fcntl
import os
import select
import sys
from collections.abc import Iterator

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream

WRITE_BYTES = select.PIPE_BUF  # a pipe that is ready takes as much without waiting for its reader
FIRST_PRIVATE_FD = 3


@contextlib.contextmanager
def claimed() -> Iterator["FdStream"]:
    """Take stdin and stdout for the context; meanwhile fd 0 is empty and what is written to fd 1 goes to stderr.

    So a stray `print`, a native library or a child process can neither eat a message nor break one.
    """
    wire = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_PRIVATE_FD) for fd in (0, 1)]
    empty = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(empty, 0)
        os.dup2(2, 1)
        yield FdStream(*wire)
    finally:
        sys.stdout.flush()  # what is still buffered belongs to stderr, too
        for fd, private in enumerate(wire):
            os.dup2(private, fd)
        for fd in (empty, *wire):
            os.close(fd)


class FdStream(ByteStream):
    """Bytes from one descriptor and to another; neither is closed with the stream, as both belong to its maker."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(source, select.POLLIN)
        self._writable.register(sink, select.POLLOUT)

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """Return what there is, at least one byte.

        Raises:
            EndOfStream: when the other side closed it.
        """
        await anyio.lowlevel.checkpoint()
        if not self._readable.poll(0):
            await anyio.wait_readable(self._source)
        data = os.read(self._source, max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        """Write all of *item*; a cancelled call may have written a part.

        Raises:
            BrokenPipeError: when nobody reads any more.
        """
        await anyio.lowlevel.checkpoint()
        view = memoryview(item)
        while view:
            if not self._writable.poll(0):
                await anyio.wait_writable(self._sink)
            view = view[os.write(self._sink, view[:WRITE_BYTES]) :]

    async def send_eof(self) -> None:
        """Do nothing: the descriptor is not ours to close."""

    async def aclose(self) -> None:
        """Do nothing, as above."""
