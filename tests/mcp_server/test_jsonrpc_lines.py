"""Messages as lines: whole however the bytes are cut, sent together when said together, and never torn."""

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification
from pydantic import ValidationError

from mcp_server.jsonrpc_lines import MAX_UNSENT_BYTES, LineReader, LineWriter

PING = b'{"jsonrpc":"2.0","method":"%s"}\n'


class Wire(ByteStream):
    """Gives what it is given in the same pieces, and keeps what is sent through it."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.sent: list[bytes] = []
        self.takes = anyio.Event()
        self.takes.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        del max_bytes
        await anyio.lowlevel.checkpoint()
        if not self._pieces:
            raise anyio.EndOfStream
        return self._pieces.pop(0)

    async def send(self, item: bytes) -> None:
        await self.takes.wait()
        self.sent.append(item)

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None: ...


def notification(method: str) -> SessionMessage:
    return SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=method))


def methods(items: list[SessionMessage | Exception]) -> list[str]:
    return [getattr(item.message, "method", "") for item in items if isinstance(item, SessionMessage)]


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
async def test_messages_are_whole_however_the_bytes_are_cut(size: int) -> None:
    data = b"".join(PING % name.encode() for name in ("one", "zwei", "trois 🙂"))
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert methods([item async for item in LineReader(Wire(*pieces))]) == ["one", "zwei", "trois 🙂"]


async def test_what_is_no_message_comes_out_as_an_error_among_the_others() -> None:
    items = [item async for item in LineReader(Wire(b"no json\n" + PING % b"a" + PING % b"caf\xe9" + b'{"cut off'))]
    assert isinstance(items[0], ValidationError)
    assert methods(items[1:]) == ["a", "caf�"]


async def test_a_reader_tells_its_end_and_can_be_closed_under_who_waits() -> None:
    ended = anyio.Event()
    reader = LineReader(Wire(), ended.set)
    with pytest.raises(anyio.EndOfStream):
        await reader.receive()
    assert ended.is_set()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            silent = LineReader(Silent())
            group.start_soon(ends, silent)
            await anyio.wait_all_tasks_blocked()
            await silent.aclose()


class Silent(Wire):
    """Never says anything."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        del max_bytes
        await anyio.sleep_forever()
        raise AssertionError


async def ends(reader: LineReader) -> None:
    assert [item async for item in reader] == []


async def test_what_is_said_in_one_turn_is_sent_with_one_write() -> None:
    wire = Wire()
    writer = LineWriter(wire)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)
        for name in ("a", "b", "c"):
            await writer.send(notification(name))
        await anyio.wait_all_tasks_blocked()
        await writer.send(notification("d"))
        await writer.aclose()
    assert wire.sent == [PING % b"a" + PING % b"b" + PING % b"c", PING % b"d"]
    with pytest.raises(anyio.ClosedResourceError):
        await writer.send(notification("late"))


async def test_a_sender_waits_for_a_reader_that_does_not_keep_up() -> None:
    wire = Wire()
    wire.takes = anyio.Event()
    writer, large = LineWriter(wire), "x" * MAX_UNSENT_BYTES
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(writer.run)
            group.start_soon(writer.send, notification(large))
            await anyio.wait_all_tasks_blocked()
            group.start_soon(writer.send, notification("patient"))
            await anyio.wait_all_tasks_blocked()
            assert wire.sent == []
            wire.takes.set()
            await anyio.wait_all_tasks_blocked()
            await writer.aclose()
    assert b"".join(wire.sent) == PING % large.encode() + PING % b"patient"


async def test_senders_that_give_up_waiting_tear_no_message_and_leave_nothing_behind() -> None:
    """A server that hears nothing for a minute must not be sent what its callers have long given up."""
    wire = Wire()
    wire.takes = anyio.Event()
    writer, large = LineWriter(wire), "x" * MAX_UNSENT_BYTES
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(writer.run)
            await writer.send(notification(large))
            async with anyio.create_task_group() as callers:
                for _ in range(100):
                    callers.start_soon(writer.send, notification(large))
                await anyio.wait_all_tasks_blocked()
                callers.cancel_scope.cancel()
            wire.takes.set()
            await writer.aclose()
    assert b"".join(wire.sent) == PING % large.encode()


class Broken(Wire):
    """Has nobody at its other end."""

    async def send(self, item: bytes) -> None:
        raise BrokenPipeError(len(item))


async def test_whoever_waits_for_a_broken_pipe_is_told() -> None:
    writer, told = LineWriter(Broken()), []

    async def run() -> None:
        try:
            await writer.run()
        except BrokenPipeError:
            told.append("who runs it")

    async def send() -> None:
        try:
            await writer.send(notification("late"))
        except anyio.ClosedResourceError:
            told.append("who waits")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            await writer.send(notification("x" * MAX_UNSENT_BYTES))
            group.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(run)
    assert sorted(told) == ["who runs it", "who waits"]
