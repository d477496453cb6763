"""The same walls for an ordinary user, who has no privileges to build them with and no memory groups."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY_IN_PARTICULAR = 43210  # a uid that owns nothing
SYSTEM_PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"  # our own may lie in a folder that only root can enter

SCRIPT = """
import json, os, sys
os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
os.environ["HOME"] = sys.argv[1]
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest
os.environ["CINQUE_HOME"] = sys.argv[1]
sandbox = Sandbox(SandboxSettings(memory_bytes=128 << 20))
found = {{"status": sandbox.status().detail}}
for name, (code, tests, *language) in json.loads(sys.argv[2]).items():
    r = sandbox.execute(ExecutionRequest(code, *language, test_code=tests, timeout_s=8, lint=False))
    found[name] = [r.stdout, r.verdict, r.result_trust]
sandbox.close()
print(json.dumps(found))
"""
TRY = """
    import ctypes, errno, os, socket
    libc = ctypes.CDLL(None, use_errno=True)
    def attempt(action, *codes):
        try:
            action()
        except OSError as error:
            print("BLOCKED" if error.errno in codes else f"OTHER {error!r}")
        else:
            print("ESCAPED")
    def mount():
        if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None):
            raise OSError(ctypes.get_errno(), "mount")
    attempt(mount, errno.EPERM)
    attempt(lambda: os.kill(PARENT, 0), errno.ESRCH)
    attempt(lambda: os.stat("/home"), errno.ENOENT)
    attempt(lambda: open("/usr/x", "w"), errno.EROFS, errno.EACCES)
    attempt(lambda: open(os.__file__, "a"), errno.EROFS, errno.EACCES)
    attempt(lambda: open("/proc/1/environ").read(), errno.EACCES, errno.EPERM)
    attempt(lambda: socket.create_connection(("1.1.1.1", 53), 2), errno.ENETUNREACH)
    attempt(lambda: os.memfd_create("x"), errno.EPERM)
    caps = {line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")}
    print("BLOCKED" if caps == {"0" * 16} else caps)
    print("BLOCKED" if len([p for p in os.listdir("/proc") if p.isdigit()]) == 2 else "OTHER")
"""
BOMB = (
    "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60)\n        n += 1\n"
    "except BlockingIOError:\n    print('BLOCKED' if 10 < n < 64 else n)"
)
HOGS = (
    "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(60 << 20); time.sleep(60)\n"
    "print('BLOCKED', flush=True)\ntime.sleep(60)"
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; as a user the other tests show it")
@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason=f"{SYSTEM_PYTHON} is not there for another user to run")
@pytest.mark.timeout(60)
def test_an_ordinary_user_gets_the_same_walls(tmp_path: Path) -> None:
    home = Path("/var/tmp") / f"cinque-test-{tmp_path.name}-{os.getpid()}"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    programs = {
        "attacks": [textwrap.dedent(TRY).replace("PARENT", str(os.getpid())), None],
        "bomb": [BOMB, None],
        "hogs": [HOGS, None],
        "script": ["cat <<< BLOCKED", None, "bash"],
        "compiled": ['#include <stdio.h>\nint main(void) { puts("BLOCKED"); return 0; }', None, "c"],
        "tests": ["def f():\n    return 1\n", "assert f() == 1\n"],
        "fixtures": ["def f():\n    return 1\n", "def test_f(tmp_path):\n    assert f() == 1\n"],
    }
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    try:
        done = subprocess.run(
            [SYSTEM_PYTHON, "-c", SCRIPT.format(uid=NOBODY_IN_PARTICULAR), str(home), json.dumps(programs)],
            env={"PYTHONPATH": ":".join(paths), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
    finally:
        subprocess.run(["/bin/rm", "-rf", str(home)], check=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["attacks"] == ["BLOCKED\n" * 10, "OK", "not_tested"]
    assert found["bomb"][:2] == ["BLOCKED\n", "OK"]
    assert found["hogs"][:2] == ["BLOCKED\n", "MEMORY_LIMIT"]
    assert found["script"] == found["compiled"] == ["BLOCKED\n", "OK", "not_tested"]
    assert found["tests"][1:] == ["OK", "isolated"]
    assert found["fixtures"][1:] == ["OK", "in_process"]
    assert "namespaces tier passed its self-test" in found["status"]
