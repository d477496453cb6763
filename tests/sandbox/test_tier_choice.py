"""Which tier is taken, why others were not, and what a kernel without signal scopes still holds."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import json
import subprocess
import sys
import tempfile
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
from tests.sandbox.machine import Runner, processes_below, settings_with, wait_until_no_more_than

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"
RECURSIVE_BOMB = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
DAEMON = (
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n    os._exit(0)\n"
    "print('BLOCKED')"
)


def has_landlock() -> bool:
    try:
        return landlock.abi() > 0
    except OSError:
        return False


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
        wait_until_no_more_than(before)
    finally:
        sandbox.close()


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


# What default Docker takes away: every capability but these and some for the network, and the calls that make namespaces.
CONTAINER = """
import ctypes, os, struct, sys
from sandbox.inside import seccomp, syscalls
LEFT = {0, 1, 3, 5, 6, 7, 8}  # chown, dac_override, fowner, kill, setgid, setuid, setpcap
for capability in set(range(41)) - LEFT:
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
column = ("x86_64", "aarch64").index(syscalls.machine())
denied = [seccomp._DENIED[name][column] for name in ("unshare", "setns", "mount", "pivot_root")]
rules = [(0x20, 0, 0, 0), *seccomp._no_new_namespaces(seccomp._CALLS[syscalls.machine()]["clone"])]
rules += [(0x15, 0, 1, 435), (0x06, 0, 0, 0x00050000 | 38)]  # clone3 does not exist: its flags cannot be seen
rules += [step for number in denied for step in seccomp.deny(number)]
rules += [(0x06, 0, 0, 0x7FFF0000)]
syscalls.install_filter(b"".join(struct.pack("<HBBI", *rule) for rule in rules))
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
SERVER = """
import json, sys
from sandbox.cgroups import CgroupSlots
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest
CgroupSlots.open = lambda cpus: None  # a container cannot write to them
sandbox = Sandbox(SandboxSettings(home=sys.argv[1], memory_bytes=128 << 20))
status = sandbox.status()
code = "def f():\\n    return 1\\n"
run = sandbox.execute(ExecutionRequest(code, test_code="assert f() == 1", lint=False))
many = "import os, time\\nfor _ in range(30):\\n    if os.fork() == 0:\\n        time.sleep(60)\\ntime.sleep(0.4)\\nprint('small')"
shares = sandbox.execute(ExecutionRequest(many, lint=False))
many = many.replace("        time", "        x = bytearray(8 << 20); time").replace("0.4", "9")  # it is ended long before
hogs = sandbox.execute(ExecutionRequest(many, lint=False))
sandbox.close()
print(json.dumps([status.isolation, status.detail, run.verdict, run.isolation, run.result_trust, shares.stdout, hogs.verdict]))
"""


@pytest.mark.skipif(not has_landlock(), reason="there is no landlock here")
@pytest.mark.skipif(
    not Path(SYSTEM_PYTHON).exists(), reason="our own interpreter may lie in a folder that only root can enter"
)
def test_in_a_container_without_namespaces_the_landlock_tier_is_taken() -> None:
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as home:
        Path(home).chmod(0o755)
        done = subprocess.run(
            [SYSTEM_PYTHON, "-c", CONTAINER, SERVER, home],
            env={"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
    assert done.returncode == 0, done.stderr
    isolation, detail, *run = json.loads(done.stdout)
    assert (isolation, run[:3]) == ("landlock", ["OK", "landlock", "isolated"]), detail
    assert run[3:] == [
        "small\n",
        "MEMORY_LIMIT",
    ]  # pages that children share count once, though root cannot trace there
    assert "namespaces: the namespaces tier does not work here" in detail
    assert "bwrap: " in detail
