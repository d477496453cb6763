"""The contract of isolation, the same for every tier: attacks, limits, cancellation, dead processes, and no trace.

Programs print a token for each attack that was refused in a way that the tier promises, so an attack that never
happened is a failed test and not a quiet pass.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.errors import ExecutionCancelledError, SandboxUnavailableError
from sandbox.inside.fenced import children_of
from sandbox.isolation import TIERS
from sandbox.landlock import LandlockPool
from sandbox.pool import ZygotePool
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, IsolationTier, Verdict
from tests.sandbox.machine import Runner, footprint, processes_below, settings_with, wait_until

MIB = 1 << 20


@pytest.fixture(scope="module", params=list(TIERS))
def tier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    sandbox = Sandbox(
        settings_with(
            tmp_path_factory.mktemp("home"),
            isolation=request.param,
            workspace_bytes=16 * MIB,
            n_files=256,
            output_bytes=MIB,
            bwrap_ready=1,
        )
    )
    try:
        sandbox._ready()
    except SandboxUnavailableError as error:
        pytest.skip(error.message)
    run = Runner(sandbox)
    with ThreadPoolExecutor(3) as pool:  # everything that is made once and kept is there before anything is counted
        list(pool.map(run, ["import time\ntime.sleep(0.3)"] * 3))
    run("x = 1", "assert True")
    yield run
    sandbox.close()


@pytest.fixture
def clean(tier: Runner) -> Iterator[Runner]:
    """A tier of which afterwards nothing is left but what was there before, and whose next job is undisturbed."""
    tier("pass")
    wait_until(lambda: is_idle(tier))
    before = footprint()
    yield tier
    assert tier("print(1)").stdout == "1\n"
    wait_until(lambda: is_idle(tier) and footprint() == before)
    assert_no_trace(tier)


def pool_of(tier: Runner) -> ZygotePool:
    isolation = tier.sandbox._isolation
    assert isinstance(isolation, ZygotePool)
    return isolation


def is_idle(tier: Runner) -> bool:
    """Tell whether nothing is starting or ending, so that processes can be counted."""
    isolation = pool_of(tier)
    if isolation.tier == "namespaces":
        return True
    ready = [sandbox for sandboxes in getattr(isolation, "_ready", {}).values() for sandbox in sandboxes]
    children = [pid for mother in isolation.zygote_pids().values() for pid in children_of(mother)]
    return all(sandbox.is_ready() for sandbox in ready) and len(children) == len(ready)


def assert_no_trace(tier: Runner) -> None:
    isolation = pool_of(tier)
    slots = getattr(isolation, "_slots", None)
    if slots is not None:
        assert [path.read_text() for path in slots._place.memory.glob("slot-*/cgroup.procs")].count("") == slots._n_made
    if isinstance(isolation, LandlockPool):
        assert {path.name.partition("-")[0] for path in isolation._folder.iterdir()} == {"harness"}


ATTACKS = """
import ctypes, errno, fcntl, os, platform, resource, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def blocked(name, attack, *allowed):
    try:
        attack()
    except OSError as error:
        print("BLOCKED" if error.errno in allowed else f"OTHER {{error!r}}", name)
    else:
        print("ESCAPED", name)
def raw(x86, arm, *args):
    if libc.syscall(x86 if platform.machine() == "x86_64" else arm, *args) < 0:
        raise OSError(ctypes.get_errno(), "refused")
HIDDEN = (errno.ENOENT, errno.EACCES)
READ_ONLY = (errno.EROFS, errno.EACCES)
NO_WAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EPERM, errno.ENOENT)
blocked("a host file", lambda: open("{file}").read(), *HIDDEN)
blocked("the files of others", lambda: os.listdir("/home"), *HIDDEN)
blocked("a secret", lambda: open("/etc/shadow").read(), *HIDDEN)
blocked("writing to /usr", lambda: open("/usr/x", "w"), *READ_ONLY)
blocked("writing to the standard library", lambda: open(os.__file__, "a"), *READ_ONLY)
blocked("the environment of a host process", lambda: open("/proc/{pid}/environ").read(), *HIDDEN)
blocked("the environment of the first process", lambda: open("/proc/1/environ").read(), *HIDDEN)
blocked("signalling a host process", lambda: os.kill({pid}, 9), errno.ESRCH, errno.EPERM)
blocked("the limits of a host process", lambda: resource.prlimit({pid}, resource.RLIMIT_CORE, (0, 0)), errno.ESRCH, errno.EPERM)
blocked("a service of the host", lambda: socket.create_connection(("127.0.0.1", {port}), 2), *NO_WAY)
blocked("a datagram", lambda: socket.socket(2, 2).sendto(b"x", ("8.8.8.8", 53)), *NO_WAY)
blocked("an abstract socket", lambda: socket.socket(1).connect(b"\\0{abstract}"), *NO_WAY)
blocked("a socket in a folder", lambda: socket.socket(1).connect("{path}"), *NO_WAY)
def redirect():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.sendto(b"x", b"\\0{abstract}")
blocked("an abstract socket by a pair", redirect, *NO_WAY)
blocked("a netlink socket", lambda: socket.socket(16, 3, 0), errno.EAFNOSUPPORT, errno.EPERM)
blocked("mounting", lambda: raw(165, 40, b"tmpfs", b"/no/such/folder", b"tmpfs", 0, None), errno.EPERM)
blocked("a new user namespace", lambda: raw(272, 97, 0x10000000), errno.EPERM)
blocked("a process in new namespaces", lambda: raw(56, 220, 0x10000000 | 17, 0, 0, 0, 0), errno.EPERM)
blocked("ptrace", lambda: raw(101, 117, 16, {pid}, 0, 0), errno.EPERM)
blocked("io_uring", lambda: raw(425, 425, 8, 0), errno.EPERM)
blocked("bpf", lambda: raw(321, 280, 0, 0, 0), errno.EPERM)
blocked("keys", lambda: raw(250, 219, 0, -3, 0), errno.EPERM)
blocked("shared memory by key", lambda: raw(29, 194, 42, 4096, 0), errno.EPERM)
blocked("memory behind a descriptor", lambda: os.memfd_create("x"), errno.EPERM)
blocked("becoming root", lambda: os.setuid(0), errno.EPERM, errno.EINVAL)
blocked("realtime priority", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)
blocked("typing into a terminal", lambda: fcntl.ioctl(0, 0x5412, b"x"), errno.EPERM)
blocked("a terminal", lambda: os.open("/dev/tty", os.O_RDWR), errno.ENOENT, errno.EACCES, errno.ENXIO)
header, sets = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
raw(125, 90, header, sets)
print("BLOCKED" if sets.raw == bytes(24) else sets.raw, "capabilities")
left = []
for fd in range(3, 256):
    try:
        os.fstat(fd)
    except OSError:
        continue
    left.append(fd)
print("BLOCKED" if not left else left, "descriptors")
print("BLOCKED" if set(os.environ) == {{"PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE"}} else os.environ, "environment")
child = os.fork()
if child == 0:
    import time
    time.sleep(60)
try:
    os.kill(-1, 9)
except ProcessLookupError:
    pass
print("BLOCKED" if os.waitpid(child, 0)[1] == 9 else "OTHER", "killing everything")
"""


def test_attacks_are_refused_and_leave_nothing_behind(clean: Runner, canary: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        file, path, name = Path(folder, "file"), f"{folder}/socket", f"cinque-test-{canary}"
        file.write_text("secret")
        for private in (Path(folder), file):
            private.chmod(0o755)  # open to everybody: only the wall can stand before them
        abstract.bind(f"\0{name}")
        named.bind(path)
        named.listen()
        Path(path).chmod(0o777)
        facts = {"file": file, "path": path, "abstract": name, "pid": canary, "port": door.getsockname()[1]}
        result = clean(ATTACKS.format(**facts))
    lines = result.stdout.splitlines()
    assert [line for line in lines if not line.startswith("BLOCKED ")] == []
    assert len(lines) == ATTACKS.count('\nblocked("') + 4, result.stderr
    assert result.isolation == clean.sandbox.status().isolation


def test_two_jobs_at_once_cannot_meet(clean: Runner) -> None:
    meet = (
        "import os, socket, time\nme, other = {names}\nhere = os.getcwd()\nabove = os.path.dirname(os.path.dirname(here))\n"
        "def leave(place):\n    try:\n        open(os.path.join(place, me), 'w').close()\n    except OSError:\n        pass\n"
        "def listing(place):\n    try:\n        return os.listdir(place)\n    except OSError:\n        return []\n"
        "places = ['.', '/tmp', '/dev/shm', os.environ['TMPDIR']]\nfor place in places:\n    leave(place)\nmet = 0\n"
        "end = time.monotonic() + 0.5\nwhile time.monotonic() < end:\n"
        "    met += sum(other in listing(place) for place in places)\n"
        "    met += sum(other in listing(os.path.join(above, name, 'work')) for name in listing(above))\n"
        "    for pid in range(max(2, os.getpid() - 50), os.getpid() + 50):\n        if pid != os.getpid():\n"
        "            try:\n                os.kill(pid, 9); met += 1\n            except OSError:\n                pass\n"
        "    time.sleep(0.02)\nprint('met', met, me in listing('.'))\n"
    )
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(clean, [meet.format(names=("a", "b")), meet.format(names=("b", "a"))]))
    assert [result.stdout for result in results] == ["met 0 True\n"] * 2, results


BOMB = "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60)\n        n += 1\nexcept BlockingIOError:\n    print('BLOCKED' if 10 < n <= 64 else n)"
RECURSIVE_BOMB = "import os\nprint('BLOCKED', flush=True)\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
DAEMON = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n    os._exit(0)\nprint('BLOCKED')"
SLEEP = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('BLOCKED', flush=True)\ntime.sleep(60)"
)
HOGS = "import os, time\nprint('BLOCKED', flush=True)\nfor _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(70 << 20); time.sleep(60)\ntime.sleep(60)"
FLOOD = "import sys\nprint('BLOCKED', flush=True)\nwhile True:\n    sys.stdout.write('BLOCKED\\n' * 8192)"
FILL = "import time\nprint('BLOCKED', flush=True)\nfor i in range(9):\n    with open(str(i), 'wb') as f:\n        f.write(b'x' * (4 << 20))\ntime.sleep(60)"
FILES = "import os, time\nprint('BLOCKED', flush=True)\nfor i in range(2000):\n    open(str(i), 'w').close()\ntime.sleep(60)"
DESCRIPTORS = "import os\ntry:\n    while True:\n        os.dup(0)\nexcept OSError as error:\n    print('BLOCKED' if error.errno == 24 else error)"
DEEP = "import os\nfor _ in range(150):\n    os.mkdir('x' * 100); os.chdir('x' * 100)\nprint('BLOCKED', flush=True)\nif not os.environ['HOME'].startswith('/sandbox'):\n    import time\n    time.sleep(60)"

LIMITS = {
    "a fork bomb": (BOMB, Verdict.OK),
    "a recursive fork bomb": (RECURSIVE_BOMB, Verdict.TIME_LIMIT),
    "a daemon": (DAEMON, Verdict.OK),
    "a sleeper that ignores SIGTERM": (SLEEP, Verdict.TIME_LIMIT),
    "memory of children together": (HOGS, Verdict.MEMORY_LIMIT),
    "a flood of output": (FLOOD, Verdict.OUTPUT_LIMIT),
    "a full disk": (FILL, Verdict.RUNTIME_ERROR),
    "too many files": (FILES, Verdict.RUNTIME_ERROR),
    "descriptors": (DESCRIPTORS, Verdict.OK),
    "a deep tree of folders": (DEEP, Verdict.OK),
}
# Where a watch and not the kernel limits, the program is ended instead of refused.
WATCHED: dict[IsolationTier, set[str]] = {
    "bwrap": {"too many files"},
    "landlock": {"a full disk", "too many files", "a deep tree of folders"},
}


def test_limits_hold_and_leave_nothing_behind(clean: Runner, canary: int) -> None:
    def wrong(name: str) -> str | None:
        code, verdict = LIMITS[name]
        result = clean(code, timeout_s=0.8 if verdict is Verdict.TIME_LIMIT else 10.0)
        if name in WATCHED.get(result.isolation, set()):
            verdict = Verdict.OUTPUT_LIMIT
        refused = "BLOCKED\n" in result.stdout and result.verdict is verdict
        if verdict is Verdict.RUNTIME_ERROR:
            refused = refused and "No space left" in str(result.error_message)
        return None if refused else f"{name}: {result}"

    with ThreadPoolExecutor(2) as pool:  # two at once, so that each has a neighbour that misbehaves
        assert [text for text in pool.map(wrong, LIMITS) if text is not None] == []
    assert canary


@pytest.mark.parametrize(
    "tests",
    [None, "assert f() == 1\n", "def test_f(tmp_path):\n    assert f() == 1\n"],
    ids=["program", "apart", "pytest"],
)
def test_a_cancelled_job_is_killed_at_once(tests: str | None, clean: Runner) -> None:
    cancelled = threading.Event()
    request = ExecutionRequest("import time\ndef f():\n    time.sleep(60)\nf()", test_code=tests, lint=False)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(clean.sandbox.execute, request, cancelled=cancelled)
        wait_until(lambda: clean.sandbox.status().n_running == 1)
        cancelled.set()
        with pytest.raises(ExecutionCancelledError):
            future.result(timeout=5)


def test_tests_and_programs_run_as_in_every_tier(tier: Runner) -> None:
    code = "def f():\n    print('here')\n    return 1\n"
    apart = tier(code, "assert f() == 1\n")
    beside = tier(code, "def test_f(tmp_path):\n    (tmp_path / 'x').write_text('y')\n    assert f() == 1\n")
    wrong = tier("def f():\n    return 2\n", "assert f() == 1\n")
    assert (apart.verdict, apart.result_trust, apart.stdout) == ("OK", "isolated", "here\n")
    assert (beside.verdict, beside.result_trust) == ("OK", "in_process")
    assert wrong.verdict == "WRONG_ANSWER"
    assert tier("import sys\nprint(sys.stdin.read())", stdin="so").stdout == "so\n"
    assert tier("import other\nprint(other.x)", files={"other.py": "x = 3"}).stdout == "3\n"
    assert tier("import sys\nsys.exit(3)").exit_code == 3
    assert tier("import os\nos.abort()").verdict == "SIGNALED"
    assert not tier.sandbox.check_syntax("def f(:", "python").valid
    if shutil.which("gcc") is not None:
        assert tier("int main(void) { return 7; }\n", language="c").exit_code == 7
    assert tier("pwd | wc -l; printf '#!/bin/sh\\necho run' > x", language="bash").stdout == "1\n"
    if apart.isolation == "landlock":  # where a late import could be refused
        assert tier("import os\nx = 1\n", lint=True).lint_score is not None


@pytest.fixture(params=list(TIERS))
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    """A sandbox of its own whose processes may be killed; closed, it leaves no process and no descriptor."""
    before = footprint()
    sandbox = Sandbox(settings_with(tmp_path, isolation=request.param, bwrap_ready=1))
    try:
        sandbox._ready()
    except SandboxUnavailableError as error:
        pytest.skip(error.message)
    yield Runner(sandbox)
    assert_no_trace(Runner(sandbox))
    sandbox.close()
    wait_until(lambda: footprint() == before)


def test_a_job_whose_zygote_or_launcher_is_killed_is_run_again(mortal: Runner) -> None:
    isolation = pool_of(mortal)
    before = set(isolation.zygote_pids().values())
    idle = processes_below()
    with ThreadPoolExecutor(1) as threads:
        code = "import os, time\nos.fork()\ntime.sleep(1.5)\nprint('again')"
        future = threads.submit(mortal, code, timeout_s=20.0)
        wait_until(lambda: len(processes_below() - idle) >= 3)
        running = processes_below() - idle
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert set(future.result().stdout.split()) == {"again"}
    assert before.isdisjoint(isolation.zygote_pids().values())
    wait_until(lambda: running.isdisjoint(processes_below()))


def test_a_guard_or_a_sandbox_that_is_killed_leaves_nothing_behind(mortal: Runner) -> None:
    isolation = pool_of(mortal)
    if isolation.tier == "namespaces":
        pytest.skip("a job's init cannot be told from its program there; the kernel ends one with the other")
    (mother,) = isolation.zygote_pids().values()
    code = "import os, time\nfor _ in range(2):\n    if os.fork() == 0:\n        os.setsid()\ntime.sleep(1.5)\n"
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(mortal, code, timeout_s=20.0)
        wait_until(lambda: any(len(processes_below(pid)) >= 3 for pid in children_of(mother)))
        guard = max(children_of(mother), key=lambda pid: len(processes_below(pid)))
        running = processes_below(guard) | {guard}
        os.kill(guard, signal.SIGKILL)
        assert future.result().success
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))
