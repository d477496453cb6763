"""stdin and stdout as a stream that can be cancelled and is nobody else's, and whole processes that serve on them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from mcp_server import join
from mcp_server.standard_streams import FdStream

ROOT = Path(__file__).parents[2]
INITIALIZE = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", '
    b'"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}\n'
)
SPEAKS_ON_EVERY_STDOUT = """
import os, subprocess, sys, anyio
from mcp_server import join
from mcp_server.standard_streams import claimed
with claimed() as stream:
    print("stray")
    os.write(1, b"stray\\n")
    subprocess.run(["cat"])
    subprocess.run(["echo", "stray"])
    async def answer():
        await stream.send(b"heard " + await stream.receive())
    anyio.run(answer)
print("after")
"""


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for fd in ends:
            os.close(fd)


async def test_a_large_message_passes_a_pipe_that_is_read_slowly() -> None:
    message = os.urandom(1 << 20)
    received = bytearray()
    with pipe() as (source, sink), anyio.fail_after(10):
        stream = FdStream(source, sink)
        async with anyio.create_task_group() as group:
            group.start_soon(stream.send, message)
            while len(received) < len(message):
                received += await stream.receive(5000)
    assert received == message


async def test_waiting_for_either_side_can_be_cancelled() -> None:
    with pipe() as (source, sink):
        stream = FdStream(source, sink)
        for wait in (stream.receive(), stream.send(bytes(1 << 20))):
            with anyio.move_on_after(0.01) as scope:
                await wait
            assert scope.cancelled_caught


async def test_the_end_of_either_side_is_told() -> None:
    (source, far_sink), (far_source, sink) = os.pipe(), os.pipe()
    stream = FdStream(source, sink)
    os.close(far_sink)
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
    os.close(far_source)
    with pytest.raises(BrokenPipeError):
        await stream.send(b"x")
    os.close(source)
    os.close(sink)


async def test_files_are_read_and_written_like_pipes(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"question")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        stream = FdStream(source.fileno(), sink.fileno())
        await stream.send(await stream.receive() * 1000)
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    assert (tmp_path / "out").read_bytes() == b"question" * 1000


def test_nothing_else_reaches_a_claimed_stdout() -> None:
    command = (sys.executable, "-c", SPEAKS_ON_EVERY_STDOUT)
    done = subprocess.run(command, input=b"me", capture_output=True, timeout=15, check=True, cwd=ROOT)
    assert done.stdout == b"heard meafter\n"
    assert sorted(done.stderr.split()) == [b"stray"] * 3


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=lambda end: end.name)
def test_a_signal_ends_a_server_whose_stdin_stays_open(end: signal.Signals) -> None:
    with server("--own", "--transport", "stdio") as process:
        process.send_signal(end)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_a_second_stdio_server_joins_the_first_but_not_a_private_one(cinque_home: Path) -> None:
    with server("--own", "--private"):
        assert join.connect(cinque_home) is None
    with server() as first, server() as second:
        first.terminate()
        assert first.wait(10) == 0
        assert second.wait(10) == 1
        assert second.stderr is not None
        assert b"has stopped" in second.stderr.read()


@contextmanager
def server(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a stdio server with an open stdin that has answered once."""
    command = (sys.executable, "-m", "mcp_server", *options)
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, cwd=ROOT) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(INITIALIZE)
            process.stdin.flush()
            assert process.stdout.read(1) == b"{"
            yield process
        finally:
            process.kill()
