"""A sandbox over time: many jobs, cancelled jobs, dead zygotes, closing, and a killed owner."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import pool
from sandbox.errors import ExecutionCancelledError, SandboxBusyError, SandboxError, SandboxUnavailableError
from sandbox.isolation import TIERS
from sandbox.jobs import Channels, Job
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, Limits
from tests.sandbox.machine import Runner, processes_below, settings_with, wait_until, wait_until_no_more_than

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_starts_before_the_first_use(tmp_path: Path) -> None:
    before = processes_below()
    sandbox = Sandbox(settings_with(tmp_path))
    assert sandbox.languages()
    wait_until_no_more_than(before)
    sandbox.close()


def test_status_tells_the_truth(run: Runner) -> None:
    status = run.sandbox.status()
    assert (status.isolation, status.ready) == ("namespaces", True)
    assert "self-test" in status.detail
    assert status.n_executed == status.n_passed + status.n_failed > 0


def test_a_program_leaves_no_mark_on_the_next(run: Runner) -> None:
    run(
        "import builtins, json, sys, random\nbuiltins.mark = 1\njson.dumps = None\nsys.modules['mark'] = json\n"
        "open('/tmp/mark', 'w').close()\nopen('mark.py', 'w').close()"
    )
    code = (
        "import builtins, json, os, sys\nprint(hasattr(builtins, 'mark'), json.dumps is None, 'mark' in sys.modules, "
        "os.path.exists('/tmp/mark'), os.listdir('.'))"
    )
    assert run(code).stdout == "False False False False ['solution.py']\n"


def test_two_jobs_at_once_cannot_meet(run: Runner) -> None:
    meet = (
        "import os, socket, sys, time\ns = socket.socket(socket.AF_UNIX)\nme, other = {names}\ns.bind('\\0' + me)\ns.listen()\n"
        "open('/tmp/' + me, 'w').close(); open('/dev/shm/' + me, 'w').close()\nt = socket.create_server(('127.0.0.1', {port}))\n"
        "met = 0\nend = time.monotonic() + 0.8\nwhile time.monotonic() < end:\n"
        "    met += os.path.exists('/tmp/' + other) + os.path.exists('/dev/shm/' + other)\n"
        "    for target, kind in (('\\0' + other, socket.AF_UNIX), (('127.0.0.1', {other_port}), socket.AF_INET)):\n"
        "        c = socket.socket(kind)\n        try:\n            c.connect(target); met += 1\n        except OSError:\n            pass\n"
        "        c.close()\n    time.sleep(0.05)\nprint('met', met, [p for p in os.listdir('/proc') if p.isdigit()].__len__())\n"
    )
    jobs = [
        meet.format(names=("a", "b"), port=7001, other_port=7002),
        meet.format(names=("b", "a"), port=7002, other_port=7001),
    ]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, jobs))
    assert [result.stdout for result in results] == ["met 0 2\n"] * 2


def test_a_fork_bomb_does_not_starve_its_neighbour(run: Runner) -> None:
    bomb = "import os, time\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(5)\nexcept OSError:\n    time.sleep(0.6)\n"
    gentle = "import os, time\ntime.sleep(0.2)\nn = 0\nfor _ in range(20):\n    if os.fork() == 0:\n        os._exit(0)\n    n += 1\nprint(n)"
    with ThreadPoolExecutor(2) as pool:
        bombed, fine = pool.submit(run, bomb, timeout_s=3.0), pool.submit(run, gentle)
        assert fine.result().stdout == "20\n"
        bombed.result()


def test_a_cancelled_job_is_killed_at_once(run: Runner) -> None:
    cancelled = threading.Event()
    request = ExecutionRequest("import time\nprint('x', flush=True)\ntime.sleep(60)", lint=False)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run.sandbox.execute, request, cancelled=cancelled)
        wait_until(lambda: run.sandbox.status().n_running == 1)
        cancelled.set()
        with pytest.raises(ExecutionCancelledError):
            future.result(timeout=5)
    assert run("print(1)").stdout == "1\n"


@pytest.mark.parametrize("tests", ["assert f() == 1\n", "def test_a(tmp_path):\n    assert f() == 1\n"])
def test_a_cancelled_test_run_is_killed_at_once(tests: str, run: Runner) -> None:
    cancelled = threading.Event()
    request = ExecutionRequest("import time\ndef f():\n    time.sleep(60)", test_code=tests, lint=False)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run.sandbox.execute, request, cancelled=cancelled)
        wait_until(lambda: run.sandbox.status().n_running == 1)
        cancelled.set()
        with pytest.raises(ExecutionCancelledError):
            future.result(timeout=0.8)  # the promise is 0.1 s; a program apart has a second to end when all goes well


def test_what_was_cancelled_before_never_starts(run: Runner) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ExecutionCancelledError):
        run.sandbox.execute(ExecutionRequest("print(1)"), cancelled=cancelled)


def test_beyond_the_limit_of_waiting_requests_there_is_a_refusal(tmp_path: Path, run: Runner) -> None:
    del run
    sandbox = Sandbox(settings_with(tmp_path).model_copy(update={"max_running": 1, "max_waiting": 1}))
    cancelled = threading.Event()
    request = ExecutionRequest("import time\ntime.sleep(60)", lint=False)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(sandbox.execute, request, cancelled=cancelled) for _ in range(2)]
        wait_until(lambda: sandbox.status().n_waiting == 1)
        with pytest.raises(SandboxBusyError):
            sandbox.execute(request)
        cancelled.set()
        for future in futures:
            with pytest.raises(ExecutionCancelledError):
                future.result(timeout=5)
    sandbox.close()


def test_a_killed_zygote_is_replaced_and_its_job_run_again(run: Runner) -> None:
    pool = run.sandbox._isolation
    before = pool.zygote_pids()["plain"]
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(run, "import time\ntime.sleep(0.4)\nprint('again')")
        wait_until(lambda: run.sandbox.status().n_running == 1)
        os.kill(before, signal.SIGKILL)
        assert future.result().stdout == "again\n"
    assert pool.zygote_pids()["plain"] != before


@pytest.mark.parametrize("flavour", ["plain", "tests"])
def test_a_split_run_is_repeated_when_one_of_its_zygotes_is_killed(flavour: str, run: Runner) -> None:
    pool = run.sandbox._isolation
    assert run("def f():\n    return 1", "assert f() == 1").success  # both zygotes are there
    n_before = len(processes_below())
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(run, "import time\ndef f():\n    time.sleep(1)\n    return 1", "assert f() == 1")
        wait_until(lambda: len(processes_below()) >= n_before + 4)  # both jobs, each with its init
        os.kill(pool.zygote_pids()[flavour], signal.SIGKILL)
        result = future.result()
    assert (result.verdict, result.result_trust, result.tests_passed) == ("OK", "isolated", 1)


def test_tests_of_other_languages_are_repeated_when_their_zygote_is_killed(run: Runner) -> None:
    pool = run.sandbox._isolation
    tests = 'test_f() { sleep 1; assert_eq "$(f)" 1; }\n'
    assert run("f() { echo 1; }", tests, language="bash").success  # what is started on first use is there
    before = pool.zygote_pids()["tools"]
    idle = processes_below()
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(run, "f() { echo 1; }", tests, language="bash")
        wait_until(lambda: len(processes_below() - idle) >= 2)  # a job and its init
        os.kill(before, signal.SIGKILL)
        assert (future.result().verdict, future.result().tests_passed) == ("OK", 1)
    assert pool.zygote_pids()["tools"] != before


def test_a_job_that_cannot_have_its_channels_leaves_none_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = sorted(Path("/proc/self/fd").iterdir())
    job = Job("program", "plain", {}, Limits())
    for n_more in range(9):
        first_free = os.dup(0)
        os.close(first_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (first_free + n_more, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                Channels(job)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_whoever_takes_no_jobs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SEND_TIMEOUT_S", 1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fill() -> None:
        while True:
            socket.send_fds(ours, [b"job"], [0])

    with ours, theirs:
        pool.bound_sending(ours)
        with pytest.raises(BlockingIOError):
            fill()


def test_an_idle_zygote_that_was_killed_is_not_noticed_by_the_caller(run: Runner) -> None:
    pool = run.sandbox._isolation
    os.kill(pool.zygote_pids()["plain"], signal.SIGKILL)
    assert run("print(1)").stdout == "1\n"


def test_closing_twice_is_harmless_and_closed_means_closed(tmp_path: Path, run: Runner) -> None:
    del run
    sandbox = Sandbox(settings_with(tmp_path))
    before = processes_below()
    assert sandbox.execute(ExecutionRequest("print(1)", lint=False)).success
    sandbox.close()
    sandbox.close()
    wait_until_no_more_than(before)
    with pytest.raises(SandboxError, match="closed"):
        sandbox.execute(ExecutionRequest("print(1)"))


def test_closing_ends_running_jobs(tmp_path: Path, run: Runner) -> None:
    del run
    sandbox = Sandbox(settings_with(tmp_path))
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(sandbox.execute, ExecutionRequest("import time\ntime.sleep(60)", lint=False))
        wait_until(lambda: sandbox.status().n_running == 1)
        sandbox.close()
        with pytest.raises(SandboxError):
            future.result(timeout=10)


OWNER = """
import sys, threading
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest
sandbox = Sandbox(SandboxSettings(home=sys.argv[1]))
code = "import os, time\\nos.fork()\\nprint('up', flush=True)\\ntime.sleep(600)"
def work():
    sandbox.execute(ExecutionRequest("print(1)", lint=False))
thread = threading.Thread(target=work)  # the zygote is started by a thread that ends
thread.start(); thread.join()
worker = threading.Thread(target=sandbox.execute, args=(ExecutionRequest(code, lint=False),), daemon=True)
worker.start()
while sandbox.status().n_running == 0:
    pass
print("ready", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("tier", list(TIERS))
def test_a_zygote_and_its_jobs_die_with_an_owner_that_is_killed(tier: str, tmp_path: Path, run: Runner) -> None:
    del run
    if not works_here(tier, tmp_path):
        pytest.skip(f"the {tier} tier does not work here")
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CINQUE_SANDBOX_ISOLATION": tier},
    ) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"ready\n"
            wait_until(lambda: len(processes_below(owner.pid)) >= 4)  # a zygote, an init or a guard, two of the program
            below = processes_below(owner.pid)
        finally:
            owner.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


def works_here(tier: str, home: Path) -> bool:
    sandbox = Sandbox(settings_with(home, isolation=tier))
    try:
        return sandbox.status().ready
    finally:
        sandbox.close()


def test_without_isolation_nothing_pretends_to_be_isolated(tmp_path: Path) -> None:
    sandbox = Sandbox(settings_with(tmp_path, isolation="none"))
    try:
        status = sandbox.status()
        assert (status.isolation, status.ready) == ("none", True)
        assert "WITHOUT" in status.detail
        result = sandbox.execute(
            ExecutionRequest("def f():\n    return 1\n", test_code="assert f() == 1\n", lint=False)
        )
        assert (result.success, result.isolation, result.result_trust) == (True, "none", "in_process")
        result = sandbox.execute(ExecutionRequest("import time\ntime.sleep(60)", timeout_s=0.5, lint=False))
        assert (result.verdict, result.isolation) == ("TIME_LIMIT", "none")
    finally:
        sandbox.close()


def test_a_tier_that_cannot_work_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    sandbox = Sandbox(settings_with(tmp_path))
    assert not sandbox.status().ready
    with pytest.raises(SandboxUnavailableError, match="CINQUE_SANDBOX_ISOLATION=none"):
        sandbox.execute(ExecutionRequest("print(1)"))
    sandbox.close()
