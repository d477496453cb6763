"""10,000 jobs in a row, while zygotes are killed and callers give up: is every verdict right, and is anything left?

Jobs are mixed: programs that print, crash, abort, loop, eat memory; tests that pass and fail; ratings, syntax checks, C
where gcc is. Each has one right answer. After every round nothing may be left of them: processes, descriptors, mounts,
control groups, folders; the memory of this process stays within 5 % of what it was after the first rounds. Ends with 1
when something was wrong. `--jobs` takes fewer, `--quick` 300; with `--json FILE --resume` a later call goes on.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.peers.machine import watching_host
from sandbox.errors import ExecutionCancelledError
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest

CLIENTS = 4
ROUND = 250  # jobs between two looks
SETTLING_ROUNDS = 2  # until every zygote has run and the allocator has its arenas
MAX_GROWTH = 0.05  # of resident memory, since then
MEMORY_BYTES = 96 << 20  # of a job, little, so that reaching it is quick
KILL_SHARE = 0.01  # of all jobs, at which a zygote is killed
CANCEL_SHARE = 0.03
PATIENCE_S = 0.06  # in which a caller who gives up does so
ADD = "def add(a, b):\n    return a + b\n"
TWO_TESTS = "def test_two():\n    assert add(1, 1) == 2\n\n\ndef test_zero():\n    assert add(0, 0) == 0\n"
PYTEST = "import pytest\n\n\n@pytest.mark.parametrize('n', [1, 2])\ndef test_n(n):\n    assert add(n, 0) == n\n"
C_HELLO = '#include <stdio.h>\nint main(void) { puts("hello %d"); return 0; }\n'

Answer = tuple[object, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of job, how often it comes, and what is right: verdict, tests run and passed, then the output."""

    weight: int
    request: Callable[[int], ExecutionRequest]
    right: Callable[[int], Answer]


def _plain(code: str, *, tests: str | None = None, timeout_s: float = 20.0) -> Callable[[int], ExecutionRequest]:
    return lambda _: ExecutionRequest(code, test_code=tests, timeout_s=timeout_s, lint=False)


def _always(*answer: object) -> Callable[[int], Answer]:
    return lambda _: answer


KINDS = {
    "print": Kind(40, lambda i: ExecutionRequest(f"print({i})", lint=False), lambda i: ("OK", 0, 0, f"{i}\n")),
    "tests pass": Kind(15, _plain(ADD, tests=TWO_TESTS), _always("OK", 2, 2, "")),
    "tests fail": Kind(10, _plain(ADD.replace("+", "-"), tests=TWO_TESTS), _always("WRONG_ANSWER", 2, 1, "")),
    "pytest": Kind(
        2,
        _plain(
            ADD,
            tests=PYTEST,
        ),
        _always("OK", 2, 2),
    ),
    "crash": Kind(8, _plain("print('x')\nraise ValueError('no')"), _always("RUNTIME_ERROR", 0, 0, "x\n")),
    "abort": Kind(4, _plain("import os\nos.abort()"), _always("SIGNALED", 0, 0, "")),
    "exit": Kind(4, _plain("raise SystemExit(3)"), _always("RUNTIME_ERROR", 0, 0, "")),
    "syntax": Kind(4, _plain("def f(:\n"), _always("COMPILE_ERROR", 0, 0, "")),
    "time": Kind(2, _plain("while True:\n    pass", timeout_s=0.3), _always("TIME_LIMIT", 0, 0, "")),
    "memory": Kind(2, _plain("x = b'x' * (400 << 20)"), _always("MEMORY_LIMIT", 0, 0, "")),
    "rated": Kind(3, lambda i: ExecutionRequest(f"print({i})"), lambda i: ("OK", 0, 0, f"{i}\n", 10.0)),
    "c": Kind(4, lambda i: ExecutionRequest(C_HELLO % (i % 5), "c"), lambda i: ("OK", 0, 0, f"hello {i % 5}\n")),
}
CHECKS = {"x = 1\n": True, "x = = 1\n": False}
CHECK_SHARE = 0.1


@dataclass
class Report:
    """What happened, over all calls that added to it."""

    n_jobs: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    n_cancelled: int = 0
    n_killed: int = 0
    seconds: float = 0.0
    stolen: float = 0.0  # of the last call
    resident_bytes: list[int] = field(default_factory=list)  # of the last call, after each round

    @property
    def growth(self) -> float:
        """Resident memory since it settled, as a share of it."""
        settled = self.resident_bytes[SETTLING_ROUNDS - 1 :]
        return max(settled) / settled[0] - 1 if settled else 0.0


class Soak:
    """One sandbox under load."""

    def __init__(self, sandbox: Sandbox, report: Report, seed: int) -> None:
        """Add to the report."""
        self._sandbox = sandbox
        self._report = report
        self._seed = seed
        self._lock = threading.Lock()
        kinds = {name: kind for name, kind in KINDS.items() if name != "c" or shutil.which("gcc")}
        self._names, self._weights = list(kinds), [kind.weight for kind in kinds.values()]

    def round(self, pool: ThreadPoolExecutor, numbers: range) -> None:
        """Run the jobs with these numbers; each is drawn from its number, so a run can be repeated."""
        for fault in pool.map(self._job, numbers):
            self._report.wrong += fault
        self._report.n_jobs += len(numbers)

    def warm_up(self, pool: ThreadPoolExecutor) -> None:
        """Have as many jobs of each kind at once as there will be: groups of control are made on demand, and stay."""
        for name in {"tests pass", "c"} & set(self._names):
            for _ in pool.map(self._sandbox.execute, [KINDS[name].request(number) for number in range(4 * CLIENTS)]):
                pass

    def settle(self) -> None:
        """Use every zygote once, so that none that was killed is missing when they are counted."""
        for name in {"print", "tests pass", "rated", "c"} & set(self._names):
            self._sandbox.execute(KINDS[name].request(0))

    def _job(self, number: int) -> list[str]:
        draw = random.Random(f"{self._seed}:{number}")  # noqa: S311 - no secret
        if draw.random() < KILL_SHARE:
            self._kill(draw)
        if draw.random() < CHECK_SHARE:
            return self._check(draw)
        name = draw.choices(self._names, self._weights)[0]
        self._count(name)
        kind, cancelled, timer = KINDS[name], threading.Event(), None
        if draw.random() < CANCEL_SHARE:
            timer = threading.Timer(draw.uniform(0, PATIENCE_S), cancelled.set)
            timer.start()
        right = kind.right(number)
        try:
            result = self._sandbox.execute(kind.request(number), cancelled=cancelled)
        except ExecutionCancelledError:
            with self._lock:
                self._report.n_cancelled += 1
            return [] if timer is not None else [f"job {number} ({name}) was cancelled by nobody"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not a verdict
            return [f"job {number} ({name}): {error!r}"]
        finally:
            if timer is not None:
                timer.cancel()
                timer.join()
        answer: Answer = (str(result.verdict), result.tests_run, result.tests_passed, result.stdout)
        answer = (*answer, result.lint_score)[: len(right)]
        return [] if answer == right else [f"job {number} ({name}): {answer}, not {right}; {result.error_message}"]

    def _check(self, draw: random.Random) -> list[str]:
        self._count("syntax check")
        code, valid = draw.choice(list(CHECKS.items()))
        try:
            found = self._sandbox.check_syntax(code, "python").valid
        except Exception as error:  # noqa: BLE001 - as above
            return [f"a syntax check: {error!r}"]
        return [] if found == valid else [f"{code!r} was called {'' if found else 'in'}valid"]

    def _count(self, name: str) -> None:
        with self._lock:
            self._report.kinds[name] = self._report.kinds.get(name, 0) + 1

    def _kill(self, draw: random.Random) -> None:
        """Kill one of our children: they are all zygotes."""
        children = _children(os.getpid())
        if children:
            with contextlib.suppress(ProcessLookupError):  # replaced by another thread just now
                os.kill(draw.choice(children), signal.SIGKILL)
            with self._lock:
                self._report.n_killed += 1


def _children(parent: int) -> list[int]:
    """List the processes that any thread of one started, without those that only wait to be reaped."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found += [int(pid) for pid in (task / "children").read_text(encoding="ascii").split()]
    return [pid for pid in found if not _is_dead(pid)]


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _descendants(parent: int) -> list[int]:
    children = _children(parent)
    return children + [pid for child in children for pid in _descendants(child)]


@dataclass(frozen=True)
class Footprint:
    """What a process has beside its memory."""

    processes: int
    descriptors: int
    mounts: int
    groups: int
    folders: int

    @classmethod
    def take(cls) -> "Footprint":
        """Count now."""
        groups = sum(len(found[1]) for found in os.walk("/sys/fs/cgroup") if f"cinque-{os.getpid()}-" in found[0])
        return cls(
            len(_descendants(os.getpid())),
            len(list(Path("/proc/self/fd").iterdir())),
            len(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()),
            groups,
            len(list(Path(tempfile.gettempdir()).glob("cinque-root-*"))),
        )

    def beyond(self, other: "Footprint") -> list[str]:
        """Say what there is more of than in another one."""
        now, then = asdict(self), asdict(other)
        return [f"{now[name]} {name}, not {then[name]}" for name in now if now[name] > then[name]]


def soak(work: Soak, report: Report, n_jobs: int, file: Path | None) -> None:
    """Go on until so many jobs are done in all; write the report after every round."""
    started_s = time.perf_counter() - report.seconds
    before: Footprint | None = None
    report.resident_bytes = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        work.warm_up(pool)
        while report.n_jobs < n_jobs:
            work.round(pool, range(report.n_jobs, min(n_jobs, report.n_jobs + ROUND)))
            work.settle()
            report.resident_bytes.append(_resident_bytes())
            if len(report.resident_bytes) == SETTLING_ROUNDS:
                before = Footprint.take()
            elif before is not None:
                report.left += [f"after {report.n_jobs} jobs: {text}" for text in Footprint.take().beyond(before)]
            report.seconds = time.perf_counter() - started_s
            if file:
                file.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
            print(f"{report.n_jobs} jobs, {len(report.wrong)} wrong, {report.resident_bytes[-1] >> 20} MiB", flush=True)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _go_on(file: Path | None, *, resume: bool) -> Report:
    if file is None or not resume or not file.exists():
        return Report()
    return Report(**json.loads(file.read_text(encoding="utf-8")))


def main() -> None:
    """Soak, report, and end with 1 when a verdict was wrong or something was left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300 jobs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--resume", action="store_true", help="go on with what the file holds")
    parser.add_argument("--jobs", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = _go_on(options.json, resume=options.resume)
    with tempfile.TemporaryDirectory() as home, watching_host() as stolen:
        tempfile.tempdir = home  # so that all folders we find there are ours
        sandbox = Sandbox(SandboxSettings(home=Path(home), memory_bytes=MEMORY_BYTES))
        try:
            work = Soak(sandbox, report, options.seed)
            soak(work, report, 300 if options.quick else options.jobs, options.json)
        finally:
            sandbox.close()
    report.stolen = stolen.share
    report.left += [f"at the end: process {pid}" for pid in _descendants(os.getpid())]
    print(f"{report.n_jobs} jobs in {report.seconds:.0f} s: {report.kinds}")
    print(f"{report.n_killed} zygotes were killed, {report.n_cancelled} jobs were cancelled")
    print(f"memory grew by {report.growth:.1%} (claimed: {MAX_GROWTH:.0%}); the host gave {stolen.share:.0%} to others")
    print("wrong:", "\n  ".join(report.wrong) or "none")
    print("left:", "\n  ".join(report.left) or "none")
    if options.json:
        options.json.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    sys.exit(bool(report.wrong or report.left) or report.growth > MAX_GROWTH)


if __name__ == "__main__":
    main()
