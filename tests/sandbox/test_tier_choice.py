"""Which tier is taken, why others were not, and what a kernel without signal scopes still holds."""

from pathlib import Path

import pytest

from sandbox.errors import SandboxUnavailableError
from sandbox.inside import landlock
from sandbox.isolation import TIERS, Isolation, open_isolation
from sandbox.landlock import LandlockPool
from sandbox.proof import prove
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.toolchains import Toolchains
from sandbox.unconfined import UnconfinedRunner
from tests.sandbox.machine import Runner, processes_below, settings_with, wait_until

RECURSIVE_BOMB = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
DAEMON = (
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n    os._exit(0)\n"
    "print('BLOCKED')"
)


def test_without_signal_scopes_a_job_still_reaches_only_itself(tmp_path: Path, canary: int) -> None:
    """What kernels before 6.12 get: the job's own user id under root, the filter's rules otherwise."""
    if not has_landlock():
        pytest.skip("there is no landlock here")
    settings = settings_with(tmp_path)
    pool = LandlockPool(
        settings.requirements_folder, Toolchains(settings.toolchains_folder), settings.landlock_first_uid, scopes=False
    )
    sandbox = Sandbox(settings)
    sandbox._isolation = pool
    try:
        prove(pool)
        run = Runner(sandbox)
        before = processes_below()
        code = f"import os, time\ntry:\n    os.kill({canary}, 9)\nexcept PermissionError:\n    print('BLOCKED', flush=True)\n"
        assert run(code).stdout == "BLOCKED\n"
        assert run(RECURSIVE_BOMB, timeout_s=0.6).verdict == "TIME_LIMIT"
        assert run(DAEMON).stdout == "BLOCKED\n"
        wait_until(lambda: processes_below() == before)
    finally:
        sandbox.close()


def has_landlock() -> bool:
    try:
        return landlock.abi() > 0
    except OSError:
        return False


def test_the_first_tier_that_proves_itself_is_taken_and_the_others_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: object, toolchains: object) -> Isolation:
        del settings, toolchains
        raise SandboxUnavailableError("no namespaces today")

    monkeypatch.setitem(TIERS, "namespaces", refuse)
    monkeypatch.setenv("PATH", str(tmp_path))  # no bubblewrap there
    if not has_landlock():
        pytest.skip("there is no landlock here")
    sandbox = Sandbox(settings_with(tmp_path))
    try:
        status = sandbox.status()
        assert (status.isolation, status.ready) == ("landlock", True)
        assert "namespaces: no namespaces today" in status.detail
        assert "bwrap: the bwrap tier does not work here (bubblewrap is not installed)" in status.detail
    finally:
        sandbox.close()


def test_a_tier_that_lets_an_attack_through_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(settings: SandboxSettings, toolchains: Toolchains) -> Isolation:
        isolation = UnconfinedRunner(settings.requirements_folder, toolchains)
        isolation.tier = "landlock"
        return isolation

    monkeypatch.setitem(TIERS, "landlock", pretend)
    with pytest.raises(SandboxUnavailableError, match=r"not refused: file, process, network"):
        open_isolation(settings_with(tmp_path, isolation="landlock"), Toolchains(tmp_path))


def test_a_tier_asked_for_by_name_is_that_tier_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no bubblewrap there
    sandbox = Sandbox(settings_with(tmp_path, isolation="bwrap"))
    try:
        status = sandbox.status()
        assert (status.isolation, status.ready) == ("bwrap", False)
        assert "apt install bubblewrap" in status.detail
    finally:
        sandbox.close()
