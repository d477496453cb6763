"""The sandbox's door under load, over the real sandbox: a full queue refuses at once, who leaves ends the program."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from shim.doors.atlas.sandbox import DOOR
from shim.gateway import Gateway
from tests.sandbox.machine import processes_below
from tests.stack import Exchange, door_app, door_client

N_RUNNING, N_WAITING = 2, 3  # as tests/doors/atlas/sandbox/conftest.py sets them
N_BURST = 24
ENDLESS = {"code": "import time\ntime.sleep(60)", "timeout": 60}
FREED_WITHIN_S = 0.9  # promised and measured: 100 ms; less than the second that a program may outlive its tests


async def until(happened: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Return once *happened*; the sandbox runs in other threads and processes, which set no event of this loop."""
    with anyio.fail_after(limit_s):
        while not happened():  # noqa: ASYNC110 - as said above
            await anyio.sleep(0.005)


async def settled(real_sandbox: Sandbox, n_running: int, n_waiting: int) -> None:
    await until(lambda: real_sandbox._gate.counts() == (n_running, n_waiting))


async def post(client: httpx.AsyncClient, body: dict[str, Any], answers: list[httpx.Response]) -> None:
    answers.append(await client.post("/execute", json=body))


async def test_a_burst_is_answered_or_refused_and_nothing_is_lost(real_gateway: Gateway, real_sandbox: Sandbox) -> None:
    answers: list[httpx.Response] = []
    async with door_client(DOOR, real_gateway) as client, anyio.create_task_group() as group:
        for number in range(N_BURST):
            body = {"code": f"import time\ntime.sleep(0.2)\nprint({number})"}
            group.start_soon(post, client, body, answers)
    assert len(answers) == N_BURST
    ran = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(ran) + len(refused) == N_BURST
    assert len(ran) >= N_RUNNING + N_WAITING
    assert all(result["verdict"] == "OK" for result in ran)
    assert len({result["stdout"] for result in ran}) == len(ran)
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert real_sandbox._gate.counts() == (0, 0)


async def test_what_exceeds_a_full_queue_is_refused_at_once_in_the_envelope(
    real_gateway: Gateway, real_sandbox: Sandbox
) -> None:
    app = door_app(DOOR, real_gateway)
    held = [Exchange(app, "/execute", ENDLESS) for _ in range(N_RUNNING + N_WAITING)]
    answers: list[httpx.Response] = []
    async with anyio.create_task_group() as group:
        for exchange in held:
            group.start_soon(exchange.run)
        await settled(real_sandbox, N_RUNNING, N_WAITING)
        async with door_client(DOOR, real_gateway) as client, anyio.create_task_group() as burst:
            for _ in range(N_BURST):
                burst.start_soon(post, client, ENDLESS, answers)
        for exchange in held:
            exchange.leave()
    assert [answer.status_code for answer in answers] == [503] * N_BURST
    for answer in answers:
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {
            "detail": "2 programs run and 3 wait, which is the limit; try again later",
            "code": "queue_full",
            "param": None,
        }
    await settled(real_sandbox, 0, 0)


async def test_who_leaves_while_it_waits_gives_its_place_back(real_gateway: Gateway, real_sandbox: Sandbox) -> None:
    app = door_app(DOOR, real_gateway)
    running = [Exchange(app, "/execute", ENDLESS) for _ in range(N_RUNNING)]
    waiting = Exchange(app, "/execute", ENDLESS)
    async with anyio.create_task_group() as group:
        for exchange in running:
            group.start_soon(exchange.run)
        await settled(real_sandbox, N_RUNNING, 0)
        group.start_soon(waiting.run)
        await settled(real_sandbox, N_RUNNING, 1)
        waiting.leave()
        await settled(real_sandbox, N_RUNNING, 0)
        for exchange in running:
            exchange.leave()
    await settled(real_sandbox, 0, 0)


BOMB = "template <int n> struct A { static const int v = A<n + 1>::v + A<n + 2>::v; };\nint main() { return A<0>::v; }"
LONG = {
    "a program": ("/execute", ENDLESS),
    "a test apart": ("/execute", {"code": "def f():\n    while True: pass", "test_code": "assert f() == 1"}),
    "a test beside": ("/execute", {"code": "class A: pass", "test_code": "A()\nimport time\nassert time.sleep(60)"}),
    "another language": ("/execute", {"code": "while :; do sleep 1; done", "language": "bash", "timeout": 60}),
    "a compiler": ("/execute", {"code": BOMB, "language": "cpp"}),
    "a check": ("/syntax-check", {"code": BOMB, "language": "cpp"}),
}


@pytest.mark.parametrize("what", LONG)
async def test_who_leaves_ends_the_program_and_its_processes(
    what: str, real_gateway: Gateway, real_sandbox: Sandbox
) -> None:
    path, body = LONG[what]
    async with door_client(DOOR, real_gateway) as client:
        languages = (await client.get("/languages")).json()["languages"]
        if languages[body.get("language", "python")] == "not installed":
            pytest.skip("its tools are not installed")
        for warm in ({}, {"test_code": "assert 1"}, {"test_code": "class TestA:\n    def test_a(self): pass"}):
            await client.post("/execute", json={"code": "x = 1", **warm})  # the zygotes run from now on
        await client.post("/execute", json={"code": "true", "language": "bash"})
    n_before = len(processes_below())  # which they are changes: each job takes an init that was made ahead
    exchange = Exchange(door_app(DOOR, real_gateway), path, body)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await until(lambda: len(processes_below()) >= n_before + 2)  # its init, and the program
        left_at = time.monotonic()
        exchange.leave()
        await until(lambda: len(processes_below()) <= n_before, FREED_WITHIN_S)
        print(f"{what}: freed after {(time.monotonic() - left_at) * 1000:.0f} ms")  # noqa: T201 - shown by pytest -s
    assert exchange.status is None
    await settled(real_sandbox, 0, 0)


def test_no_more_may_wait_than_the_server_has_threads_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_waiting"):
        SandboxSettings(home=tmp_path, max_waiting=1025)
