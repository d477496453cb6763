"""Requirements for an ordinary user, who has no privileges to build pip's sandbox with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.package_index import write_wheel

ROOT = Path(__file__).resolve().parents[2]
NOBODY_IN_PARTICULAR = 43211  # a uid that owns nothing
SYSTEM_PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"  # our own may lie in a folder that only root can enter
SCRIPT = """
import json, os, sys
os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest
sandbox = Sandbox(SandboxSettings(home=sys.argv[1]))
found = []
for code, name in (("import plain; print(plain.VALUE)", "plain"), ("", "absent")):
    r = sandbox.execute(ExecutionRequest(code, requirements=(name,), lint=False))
    found.append([r.stdout, r.error_type, r.isolation])
sandbox.close()
print(json.dumps(found))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; as a user the other tests show it")
@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason=f"{SYSTEM_PYTHON} is not there for another user to run")
@pytest.mark.timeout(60)
def test_an_ordinary_user_gets_requirements_from_the_same_sandbox(tmp_path: Path) -> None:
    home = Path("/var/tmp") / f"cinque-test-{tmp_path.name}-{os.getpid()}"
    wheels = home / "wheels"
    wheels.mkdir(parents=True)
    for folder in (home, wheels):
        folder.chmod(0o777)
    write_wheel(wheels, "plain", {"plain.py": "VALUE = 7\n"})
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    environment = {"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HOME": str(home), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    try:
        done = subprocess.run(
            [SYSTEM_PYTHON, "-c", SCRIPT.format(uid=NOBODY_IN_PARTICULAR), str(home / "data")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
    finally:
        subprocess.run(["/bin/rm", "-rf", str(home)], check=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["7\n", None, "namespaces"], ["", "DependencyError", "namespaces"]]
