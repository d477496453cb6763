"""JSON-RPC messages as lines, over two streams of bytes; both ends of the pipe between shim and server use it.

Its two streams are what the SDK's sessions read and write, without a task switch for each message: a reader gives every
line that came with one read, a writer sends all that was said in one turn of the loop with one write. It knows nothing
of processes, sockets or what a message means.
"""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16  # at once; what a pipe holds
MAX_LINE_BYTES = 1 << 30  # of one message; beyond it the session ends
MAX_UNSENT_BYTES = 1 << 16  # beyond which no further message is taken until the other side has read
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError)  # the other side, amid a message


class _Session(ABC):
    """What the SDK asks of both of its streams."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class LineReader(_Session):
    """Messages out of a stream of bytes; a line that is no message comes out as the error that says so."""

    def __init__(self, source: ByteReceiveStream, on_end: Callable[[], None] = lambda: None) -> None:
        """Read *source*, and call *on_end* at once when it ends."""
        self._source = source
        self._on_end = on_end
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []  # of a line whose end has not come
        self._n_begun = 0  # bytes
        self._reading = anyio.CancelScope()
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        while not self._lines:
            if self._is_over:
                raise StopAsyncIteration
            await self._read()
        return _parse(self._lines.popleft())

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message.

        Raises:
            EndOfStream: The other side has closed its end, or `aclose` was called.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        """Give no more messages, to whoever waits for one too; the stream of bytes stays with its owner."""
        self._is_over = True
        self._lines.clear()
        self._reading.cancel()

    async def _read(self) -> None:
        """Add the lines that come with the next bytes."""
        data = b""
        with anyio.CancelScope() as self._reading:
            try:
                data = await self._source.receive(READ_BYTES)
            except (anyio.EndOfStream, *GONE):
                self._is_over = True  # a line without its end was cut off
        *lines, rest = data.split(b"\n")
        if lines:
            self._lines.append(b"".join([*self._begun, lines[0]]))
            self._lines += lines[1:]
            self._begun, self._n_begun = [], 0
        self._begun.append(rest)
        self._n_begun += len(rest)
        if self._n_begun > MAX_LINE_BYTES:
            log.error("a message is longer than %d bytes; the session ends", MAX_LINE_BYTES)
            self._is_over = True
        if self._is_over:
            self._on_end()


class LineWriter(_Session):
    """Messages into a stream of bytes, as long as `run` runs."""

    def __init__(self, sink: ByteSendStream) -> None:
        self._sink = sink
        self._lines: list[bytes] = []
        self._n_unsent = 0  # bytes
        self._changed = anyio.Event()  # there are lines, or it was closed
        self._sent = anyio.Event()  # there is room again, or never will be
        self._is_closed = False

    async def send(self, item: SessionMessage) -> None:
        """Take a message, whole and for good, as soon as there is room: at once while the other side keeps up.

        A call that is cancelled before has left nothing behind, however long the other side has not read.

        Raises:
            ClosedResourceError: It was closed, or the other side is gone.
        """
        while self._n_unsent > MAX_UNSENT_BYTES and not self._is_closed:
            await self._sent.wait()
        if self._is_closed:
            raise anyio.ClosedResourceError
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        self._lines.append(line)
        self._n_unsent += len(line)
        self._changed.set()

    async def aclose(self) -> None:
        """Take no more messages; `run` ends once those taken are sent."""
        self._is_closed = True
        self._changed.set()

    async def run(self) -> None:
        """Send what was taken, until closed.

        Raises:
            BrokenResourceError, ClosedResourceError, ConnectionError: The other side is gone.
        """
        try:
            while self._lines or not self._is_closed:
                await self._changed.wait()
                await self._send_all()
        finally:
            self._is_closed = True
            self._sent.set()

    async def _send_all(self) -> None:
        self._changed = anyio.Event()
        lines, self._lines = self._lines, []
        await self._sink.send(b"".join(lines))
        self._n_unsent = sum(map(len, self._lines))
        sent, self._sent = self._sent, anyio.Event()
        sent.set()


def _parse(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line.decode("utf-8", "replace"), by_name=False))
    except ValidationError as error:
        log.warning("a line is not JSON-RPC", extra={"n_bytes": len(line)})  # the line itself may hold a prompt
        return error
