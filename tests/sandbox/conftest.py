"""One sandbox for the whole session, and the proof after every test that nothing leaked out of it."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.errors import SandboxUnavailableError
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest, ExecutionResult


@dataclass
class Runner:
    """A sandbox and a short way to run things in it."""

    sandbox: Sandbox

    def __call__(self, code: str, tests: str | None = None, **fields: Any) -> ExecutionResult:
        fields.setdefault("lint", False)
        fields.setdefault("timeout_s", 10.0)
        return self.sandbox.execute(ExecutionRequest(code, test_code=tests, **fields))


def settings_with(home: Path, **fields: Any) -> SandboxSettings:
    return SandboxSettings(home=home, max_running=4, memory_bytes=192 << 20, **fields)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(settings_with(tmp_path_factory.mktemp("home")))
    try:
        sandbox._ready()  # noqa: SLF001 - only to skip with the reason where no tier can work
    except SandboxUnavailableError as error:
        pytest.skip(error.message)
    for tests in (None, "assert True"):
        sandbox.execute(ExecutionRequest("x = 1", test_code=tests))  # every zygote is warm before anything is counted
    yield sandbox
    sandbox.close()


@pytest.fixture
def run(shared: Sandbox) -> Runner:
    return Runner(shared)


@pytest.fixture
def canary() -> Iterator[int]:
    """A host process that hostile programs try to kill."""
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process.pid
        assert process.poll() is None, "the canary on the host was killed"
        process.kill()


def processes_below() -> set[int]:
    """Every process below this one, on the host's side of all namespaces."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, frontier = set(), {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def footprint() -> tuple[int, int, int]:
    """Return the number of processes below us, of our descriptors and of our mounts."""
    n_mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
    return len(processes_below()), len(os.listdir("/proc/self/fd")), n_mounts


@pytest.fixture
def nothing_leaks(run: Runner, canary: int) -> Iterator[int]:
    """Yield the canary's pid; afterwards demand a working sandbox and the footprint of before."""
    before = footprint()
    yield canary
    result = run("print(1)")
    assert (result.stdout, result.verdict) == ("1\n", "OK")
    assert threading.active_count() == 1
    assert footprint() == before


@pytest.fixture
def make_settings() -> Callable[..., SandboxSettings]:
    return settings_with


@pytest.fixture
def descendants() -> Callable[[], set[int]]:
    return processes_below
