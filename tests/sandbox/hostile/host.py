"""The process that hostile programs run under: a sandbox, what they aim at, and a count of what they leave behind.

It is a process of its own, so that every count is of the sandbox alone, and so that it can be root or anybody.
"""

import contextlib
import functools
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest, ExecutionResult
from tests.sandbox.hostile.programs import Case, Program, faults

MEMORY_BYTES = 192 << 20
COMPILE_S = 3.0
LATE_S = 4.0  # after its time limit, until all that a program started is gone, on a machine where other tests compute
SETTLE_S = 4.0  # how long the kernel may take to take a job apart
REQUIREMENTS_BYTES = 4 << 20
SECRET_PREFIX = "cinque-secret-"  # noqa: S105 - the mark of one, for a search
SECRET = SECRET_PREFIX + secrets.token_hex(16)


class Host:
    """A warm sandbox with a canary, listening sockets and a secret file beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = SandboxSettings(
            home=home,
            max_running=4,
            memory_bytes=MEMORY_BYTES,
            lint_timeout_s=1.5,
            syntax_timeout_s=4.0,
            compile_timeout_s=COMPILE_S,
            requirements_bytes=REQUIREMENTS_BYTES,
            requirements_files=200,
        )
        self.sandbox = Sandbox(self.settings)
        self._canary = subprocess.Popen(["/bin/sleep", "3600"])
        self.strays: list[subprocess.Popen[bytes]] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._abstract = socket.socket(socket.AF_UNIX)
        self._abstract.bind(f"\0cinque-test-{os.getpid()}")
        self._path = socket.socket(socket.AF_UNIX)
        self._path.bind(str(home / "door"))
        for door in (self._abstract, self._path):
            door.listen()
        self._file = home / "secret"
        self._file.write_text(SECRET)
        os.environ["CINQUE_TEST_SECRET"] = SECRET
        self._words = {
            "CANARY_PID": str(self._canary.pid),
            "HOST_PORT": str(self._tcp.getsockname()[1]),
            "HOST_ABSTRACT": f"cinque-test-{os.getpid()}",
            "HOST_SOCKET": str(home / "door"),
            "HOST_FILE": str(self._file),
        }

    def warm(self) -> None:
        """Run one of every kind, so that what is started on first use is not taken for a leak."""
        self.sandbox.status()
        for entry in self.sandbox.languages():
            if entry.version is not None and entry.name == "bash":
                self.sandbox.execute(ExecutionRequest("true", language=entry.name))
        self.sandbox.execute(ExecutionRequest("import os", test_code="def test_a(tmp_path):\n    assert os", lint=True))
        with ThreadPoolExecutor(4) as pool:  # and as many memory groups as will ever be used at once
            list(pool.map(self.sandbox.execute, [ExecutionRequest("x = 1", test_code="assert x")] * 8))
        self._before = self.footprint()
        while (now := self.footprint()) != self._before:
            self._before = now

    def close(self) -> None:
        """End all that was started."""
        self.sandbox.close()
        for process in (self._canary, *self.strays):
            process.kill()
            process.wait()
        for door in (self._tcp, self._abstract, self._path):
            door.close()

    def knows(self, language: str) -> bool:
        """Tell whether programs of this language can run here."""
        return any(entry.name == language and entry.version is not None for entry in self.sandbox.languages())

    def fill(self, text: str) -> str:
        """Return the text with the words that stand for this host replaced."""
        for word, value in self._words.items():
            text = text.replace(word, value)
        return text

    def execute(self, program: Program, **fields: Any) -> ExecutionResult:
        """Run one program as it says."""
        request = ExecutionRequest(
            self.fill(program.code),
            language=program.language,
            test_code=program.test_code,
            timeout_s=program.timeout_s,
            stdin=program.stdin,
            files=program.files,
            lint=False,
        )
        return self.sandbox.execute(replace(request, **fields))

    def faults_of(self, program: Program, **fields: Any) -> list[str]:
        """Run one program; return what is wrong with its result and its time."""
        started = time.monotonic()
        result = self.execute(program, **fields)
        took_s = time.monotonic() - started
        allowed_s = program.timeout_s + LATE_S
        if program.language not in {"python", "bash"}:
            allowed_s += COMPILE_S
        if any(SECRET in text for text in (result.stdout, result.stderr, result.error_message or "")):
            return [f"the secret of the host came out: {result}"]
        late = [] if took_s <= allowed_s else [f"it took {took_s:.1f} s; {allowed_s:.1f} s are allowed"]
        return faults(program, result) + late

    def check(self, case: Case) -> list[str]:
        """Run a case; return what went wrong in it and what it left behind."""
        found = self._run(case)
        if self._canary.poll() is not None:
            found.append("the canary on the host was killed")
        answer = self.sandbox.execute(ExecutionRequest("print(1)", lint=False))
        if answer.stdout != "1\n":
            found.append(f"the next benign job answered {answer}")
        return found + self._left_behind()

    def _run(self, case: Case) -> list[str]:
        found: list[str] = []
        if case.together:
            with ThreadPoolExecutor(len(case.programs)) as pool:
                for faulty in pool.map(self.faults_of, case.programs):
                    found += faulty
        else:
            for program in case.programs:
                found += self.faults_of(program)
        return found + (case.act(self) if case.act is not None else [])

    def _left_behind(self) -> list[str]:
        before = self._before
        deadline = time.monotonic() + SETTLE_S
        while True:
            after = self.footprint()
            if after == before or time.monotonic() > deadline:
                break
            threading.Event().wait(0.01)
        self._before = after  # what one case left is not the fault of the next
        return [
            f"{name}: {before[name]} before, {after[name]} after" for name in before if _has_more(before, after, name)
        ]

    def footprint(self) -> dict[str, Any]:
        """Count processes, descriptors, mounts, threads, members of memory groups, and temporary files."""
        pids = sorted(_below(os.getpid()))
        return {
            "processes": len(pids),
            "descriptors": sorted(_count(Path(f"/proc/{pid}/fd")) for pid in (os.getpid(), *pids)),
            "mounts": sorted(_count(Path(f"/proc/{pid}/mountinfo")) for pid in (os.getpid(), *pids)),
            "threads": threading.active_count(),
            "in groups": [path.read_text().split() for path in _groups()],
            "temporary": sorted(path.name for path in Path(tempfile.gettempdir()).iterdir()),
        }

    @contextlib.contextmanager
    def variables(self, **values: str | None) -> Iterator[None]:
        """Set environment variables of this process for a while."""
        kept = {name: os.environ.get(name) for name in values}
        try:
            for name, value in values.items():
                _set(name, value)
            yield
        finally:
            for name, value in kept.items():
                _set(name, value)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _below(root: int) -> set[int]:
    """Return every process below one, dead ones that nobody has reaped among them."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    frontier = {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def _count(path: Path) -> int:
    """Return how many entries or lines something in /proc has; -1 where only root may see it."""
    try:
        return len(list(path.iterdir())) if path.is_dir() else len(path.read_text().splitlines())
    except (PermissionError, FileNotFoundError):
        return -1


@functools.cache
def _own_groups() -> list[Path]:
    """Return the groups that this process has made; it makes them before its first job."""
    return list(Path("/sys/fs/cgroup").glob(f"**/cinque-{os.getpid()}-*"))


def _groups() -> list[Path]:
    """Return the member lists of the memory groups that this process made."""
    return sorted(path for group in _own_groups() for path in group.glob("slot-*/cgroup.procs"))


def _has_more(before: dict[str, Any], after: dict[str, Any], name: str) -> bool:
    """Tell whether something was left; fewer descriptors or threads than before are what an earlier case still held."""
    if name == "threads":
        return bool(after[name] > before[name])
    if name in {"descriptors", "mounts"} and len(before[name]) == len(after[name]):
        return any(now > then for then, now in zip(before[name], after[name], strict=True))
    return bool(before[name] != after[name])
