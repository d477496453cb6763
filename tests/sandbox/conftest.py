"""One sandbox for the whole session, and the proof after a hostile program that nothing leaked out of it."""

import subprocess
import threading
from collections.abc import Iterator

import pytest

from sandbox.errors import SandboxUnavailableError
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest
from tests.sandbox.machine import Runner, footprint, settings_with, share_go_cache, wait_until, warm_up


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    home = tmp_path_factory.mktemp("home")
    share_go_cache(home)
    sandbox = Sandbox(settings_with(home))
    try:
        sandbox._ready()
    except SandboxUnavailableError as error:
        pytest.skip(error.message)
    for tests in (None, "assert True"):
        sandbox.execute(ExecutionRequest("x = 1", test_code=tests))  # every zygote is warm before anything is counted
    warm_up(sandbox)
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


@pytest.fixture
def nothing_leaks(run: Runner, canary: int) -> Iterator[int]:
    """Yield the canary's pid; afterwards demand a working sandbox and the footprint of before."""
    before = (*footprint(), threading.active_count())
    yield canary
    result = run("print(1)")
    assert (result.stdout, result.verdict) == ("1\n", "OK")

    def has_no_more() -> bool:  # helpers of a zygote are replaced while it goes on, so there may be fewer for a moment
        after = (*footprint(), threading.active_count())
        return all(now <= then for now, then in zip(after, before, strict=True))

    wait_until(has_no_more)
