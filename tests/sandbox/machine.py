"""What the tests of the sandbox run things with, and what they count to see that nothing is left behind."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest, ExecutionResult

ROOT = Path(__file__).resolve().parents[2]
SETTLING_S = 0.02


@dataclass
class Runner:
    """A sandbox and a short way to run things in it."""

    sandbox: Sandbox

    def __call__(self, code: str, tests: str | None = None, **fields: Any) -> ExecutionResult:
        fields.setdefault("lint", False)
        fields.setdefault("timeout_s", 10.0)
        return self.sandbox.execute(ExecutionRequest(code, test_code=tests, **fields))


def share_go_cache(home: Path) -> None:
    """Let every home of the tests use one compiled library of Go: making it takes a quarter of a minute."""
    shared = ROOT / "build" / "tests" / "go-cache"
    shared.mkdir(parents=True, exist_ok=True)
    (home / "sandbox").mkdir(parents=True, exist_ok=True)
    (home / "sandbox" / "go-cache").symlink_to(shared)


def settings_with(home: Path, **fields: Any) -> SandboxSettings:
    return SandboxSettings(home=home, max_running=4, memory_bytes=192 << 20, **fields)


def wait_until(happened: Callable[[], bool], limit_s: float = 5.0) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


def described(pids: set[int]) -> list[str]:
    """Name processes, for the message of a test that finds them left over."""
    found = []
    for pid in sorted(pids):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            command = "gone"
        found.append(f"{pid} {command[:100]}")
    return found


def wait_until_no_more_than(before: set[int], limit_s: float = 5.0) -> None:
    """Wait until no more processes are below us than there were; which ones may change: helpers are replaced."""
    deadline = time.monotonic() + limit_s
    while len(now := processes_below()) > len(before):
        assert time.monotonic() < deadline, f"left over: {described(now - before)}; gone: {len(before - now)}"
        threading.Event().wait(0.01)


def processes_below(root: int | None = None) -> set[int]:
    """Every process below one, else below this one, on the host's side of all namespaces."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    frontier = {root or os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def warm_up(sandbox: Sandbox) -> None:
    """Start what compiled languages need before anything is counted: a zygote, groups of a program and a build."""
    sandbox.execute(ExecutionRequest("true", language="bash"))
    if shutil.which("gcc"):
        sandbox.execute(ExecutionRequest("int main(void) { return 0; }", language="c"))


def footprint() -> tuple[int, int, int]:
    """Count the processes below us, our descriptors and our mounts, once two looks agree.

    What a sandbox makes ahead, or reaps, it may make or reap a moment after a job's end.
    """
    before, now = None, _counts()
    while now != before:
        threading.Event().wait(SETTLING_S)
        before, now = now, _counts()
    return now


def _counts() -> tuple[int, int, int]:
    n_mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
    return len(processes_below()), len(list(Path("/proc/self/fd").iterdir())), n_mounts
