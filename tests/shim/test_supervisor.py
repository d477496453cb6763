"""The supervisor, with real child processes: tiny ones, and the scripted MCP server where a conversation is needed."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_server.contract import Delta, GenerationRequest, Message, SamplingParams, TokenizeRequest
from shim import supervisor
from shim.errors import ApiError, BackendUnavailableError
from shim.gateway import Gateway
from shim.mcp_connection import MAX_DEPTH
from shim.pipes import pipes
from shim.supervisor import ChildSettingsError, Pings, Supervisor, child_process, restart_delay_s

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-S", "-c")
WAITS = (*PYTHON, "import sys; sys.stdin.read()")
STUBBORN = (*PYTHON, "import time; time.sleep(60)")
REFUSES_ITS_SETTINGS = (*PYTHON, "raise SystemExit(2)")
CRASHES_TWICE = "import os, sys; n = len(os.listdir('.')); open(str(n), 'w').close(); sys.exit(2 if n == 2 else 1)"
SPEAKS_NO_JSON = (*PYTHON, "import sys; print('hello'); sys.stdin.readline()")
HI = GenerationRequest(messages=(Message("user", "hi"),))


@pytest.fixture
def scripted_server(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return (sys.executable, str(ROOT / "tests" / "scripted_server.py"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_server_fails_its_calls_and_is_started_again(scripted_server: tuple[str, ...]) -> None:
    gateway = Gateway(restart_wait_s=15, status_timeout_s=15)  # a start is part of it
    child = Supervisor(gateway, (*scripted_server, "--stuck"))

    async def kill(_: tuple[Delta, ...]) -> None:
        os.kill((await gateway.status()).pid, signal.SIGKILL)

    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            await group.start(child.run)
            first = (await gateway.status()).pid
            with pytest.raises(BackendUnavailableError, match="stopped during this generate call"):
                await gateway.generate(HI, kill)
            second = (await gateway.status()).pid
            assert first != second == child.statistics().pid
            assert child.statistics().n_starts == 2
            assert not is_alive(first)
            group.cancel_scope.cancel()
    assert not is_alive(second)
    assert child.statistics().pid is None


async def test_large_and_deep_arguments_cross_the_pipes_or_are_refused(scripted_server: tuple[str, ...]) -> None:
    gateway = Gateway()
    with anyio.fail_after(15):
        async with child_process(scripted_server) as process, gateway.connected(pipes(process)):
            assert (await gateway.tokenize(TokenizeRequest("word 🙂\u2028" * 10_000))).n_tokens == 20_001
            assert (await gateway.generate(nested(MAX_DEPTH - 2))).completions
            with pytest.raises(ApiError, match="nests deeper than"):
                await gateway.generate(nested(MAX_DEPTH - 1))


def nested(depth: int) -> GenerationRequest:
    """Make a request whose schema has *depth* levels; it stands two levels down in the arguments."""
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"properties": schema}
    return GenerationRequest(HI.messages, sampling=SamplingParams(json_schema=schema))


async def test_a_server_that_does_not_answer_is_killed_and_started_again() -> None:
    child = Supervisor(Gateway(restart_wait_s=0), WAITS, Pings(interval_s=0.01, timeout_s=0.05))
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            await group.start(child.run)
            first = child.statistics().pid
            assert first is not None
            while child.statistics().n_starts < 2:
                await anyio.lowlevel.checkpoint()
            assert not is_alive(first)
            group.cancel_scope.cancel()


async def test_a_server_that_answers_is_left_alone(scripted_server: tuple[str, ...]) -> None:
    gateway = Gateway()
    child = Supervisor(gateway, scripted_server, Pings(interval_s=0.001, timeout_s=15))
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            await group.start(child.run)
            for _ in range(20):
                await gateway.status()
            assert child.statistics().n_starts == 1
            group.cancel_scope.cancel()


def test_the_delay_before_a_restart_doubles_until_a_child_stays_up() -> None:
    delays = [0.0]
    for _ in range(10):
        delays.append(restart_delay_s(delays[-1], uptime_s=1))
    assert delays[1:] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    assert restart_delay_s(10, uptime_s=3600) == 0.05


async def test_a_child_that_crashes_is_started_until_it_refuses_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    child = Supervisor(Gateway(), (*PYTHON, CRASHES_TWICE))
    with anyio.fail_after(10), pytest.raises(ChildSettingsError):
        await child.run()
    assert child.statistics().n_starts == 3


async def test_refused_settings_are_not_tried_again() -> None:
    child = Supervisor(Gateway(), REFUSES_ITS_SETTINGS)
    with anyio.fail_after(10), pytest.raises(ChildSettingsError):
        await child.run()
    assert child.statistics().n_starts == 1


async def test_a_child_ends_when_its_stdin_does() -> None:
    with anyio.fail_after(10):
        async with child_process(WAITS) as process:
            assert process.returncode is None
    assert process.returncode == 0


async def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE_S", 0.05)
    with anyio.fail_after(10):
        async with child_process(STUBBORN) as process:
            pass
    assert process.returncode == -signal.SIGKILL


async def test_a_cancelled_supervisor_leaves_no_process() -> None:
    child = Supervisor(Gateway(), WAITS)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            await group.start(child.run)
            pid = child.statistics().pid
            assert pid is not None
            assert is_alive(pid)
            group.cancel_scope.cancel()
    assert not is_alive(pid)


async def test_a_line_that_is_not_json_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "mcp_server.jsonrpc_lines")
    with anyio.fail_after(10):
        async with child_process(SPEAKS_NO_JSON) as process, Gateway().connected(pipes(process)):
            assert process.stdin is not None
            await process.stdin.send(b"\n")
            await process.wait()
            await anyio.wait_all_tasks_blocked()
    assert "not JSON-RPC" in caplog.text
    assert "hello" not in caplog.text


async def test_the_end_of_a_child_is_told_at_once() -> None:
    ended = anyio.Event()
    with anyio.fail_after(10):
        async with child_process(WAITS) as process, pipes(process, ended.set) as (reader, _):
            process.kill()
            assert [message async for message in reader] == []
            assert ended.is_set()
