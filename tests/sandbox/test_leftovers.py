"""What a killed server leaves is removed when the next one starts, and nothing that is in use is."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sandbox import leftovers
from sandbox.cgroups import CgroupSlots
from sandbox.runner import Sandbox
from tests.sandbox.machine import ROOT, settings_with, wait_until

GROUP = """
from sandbox.cgroups import CgroupSlots
slots = CgroupSlots.open()
if slots is not None:
    slots.take(64 << 20)
    print(slots._place.memory, flush=True)
    input()
"""


def _killed(code: str) -> str:
    """Run code in a process that is killed once it has said a line; return that line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    return said.strip()


def test_folders_of_a_killed_server_go_when_the_next_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\nfrom sandbox import leftovers\n"
    code += "import os\nos.makedirs(tempfile.mkdtemp(prefix=leftovers.prefix('job')) + '/work/deep')\n"
    code += (
        "open(tempfile.mkstemp(prefix=leftovers.prefix('canary'))[1], 'w').close()\nprint('made', flush=True)\ninput()"
    )
    assert _killed(code) == "made"
    own = Path(tempfile.mkdtemp(prefix=leftovers.prefix("job")))
    other = tmp_path / "cinque-job-1-999999999-of-another-namespace"
    other.mkdir()
    assert len(list(tmp_path.glob("cinque-*"))) == 4
    sandbox = Sandbox(settings_with(tmp_path / "home", isolation="none"))
    try:
        sandbox.status()
    finally:
        sandbox.close()
    assert sorted(tmp_path.glob("cinque-*")) == sorted([own, other])


def test_the_group_of_a_killed_server_goes_when_the_next_one_starts() -> None:
    said = _killed(GROUP)
    if not said:
        pytest.skip("no control groups can be made here")
    group = Path(said)
    assert list(group.glob("slot-*"))
    wait_until(lambda: not (group / "cgroup.procs").read_text())
    slots = CgroupSlots.open()
    assert slots is not None
    slots.close()
    assert not group.exists()
