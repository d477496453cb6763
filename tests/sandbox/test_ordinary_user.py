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
sandbox = Sandbox(SandboxSettings(memory_bytes=128 << 20, isolation=sys.argv[3], bwrap_ready=1))
found = {{"status": sandbox.status().detail}}
secret = os.path.join(sys.argv[1], "secret")
open(secret, "w").write("mine")
for name, (code, tests, *language) in json.loads(sys.argv[2]).items():
    code = code.replace("FILE", secret).replace("OWNER", str(os.getpid()))
    r = sandbox.execute(ExecutionRequest(code, *language, test_code=tests, timeout_s=8, lint=False))
    found[name] = [r.stdout, r.verdict, r.result_trust, r.isolation]
sandbox.close()
found["secret"] = [open(secret).read(), oct(os.stat(secret).st_mode & 0o777)]
print(json.dumps(found))
"""
TRY = """
    import ctypes, errno, os, resource, socket, struct
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
    attempt(lambda: os.kill(PARENT, 0), errno.ESRCH, errno.EPERM)
    attempt(lambda: os.listdir("/home"), errno.ENOENT, errno.EACCES)
    attempt(lambda: open("/usr/x", "w"), errno.EROFS, errno.EACCES)
    attempt(lambda: open(os.__file__, "a"), errno.EROFS, errno.EACCES)
    attempt(lambda: open("/proc/1/environ").read(), errno.EACCES, errno.EPERM)
    attempt(lambda: socket.create_connection(("1.1.1.1", 53), 2), errno.ENETUNREACH, errno.EPERM)
    attempt(lambda: os.memfd_create("x"), errno.EPERM)
    attempt(lambda: open("FILE").read(), errno.ENOENT, errno.EACCES)
    attempt(lambda: os.chmod("FILE", 0o777), errno.ENOENT, errno.EPERM)
    attempt(lambda: os.utime("FILE"), errno.ENOENT, errno.EPERM)
    attempt(lambda: os.truncate("FILE", 0), errno.ENOENT, errno.EPERM, errno.EACCES)
    attempt(lambda: resource.prlimit(OWNER, resource.RLIMIT_CORE, (0, 0)), errno.ESRCH, errno.EPERM)
    attempt(lambda: os.sched_setaffinity(OWNER, {0}), errno.ESRCH, errno.EPERM)
    attempt(lambda: os.kill(OWNER, 0), errno.ESRCH, errno.EPERM)
    sets = ctypes.create_string_buffer(24)
    libc.capget(struct.pack("Ii", 0x20080522, 0), sets)
    print("BLOCKED" if sets.raw == bytes(24) else sets.raw)
    try:
        pids = [p for p in os.listdir("/proc") if p.isdigit()]
    except PermissionError:
        pids = []
    print("BLOCKED" if len(pids) in (0, 2) else "OTHER")
"""
BOMB = (
    "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60)\n        n += 1\n"
    "except BlockingIOError:\n    print('BLOCKED' if 10 < n <= 128 else n)"  # landlock counts a user's other processes, which may end meanwhile
)
HOGS = (
    "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        x = bytearray(60 << 20); time.sleep(60)\n"
    "print('BLOCKED', flush=True)\ntime.sleep(60)"
)
# Each pair holds what is written to it; every process of its own has as many as it may have descriptors.
SOCKETS = """
import os, socket, time
print("BLOCKED", flush=True)
for _ in range(50):
    if os.fork() == 0:
        pairs = []
        try:
            while True:
                pairs.append(socket.socketpair())
                for end in pairs[-1]:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
                    end.setblocking(False)
                    try:
                        while True:
                            end.send(b"x" * 65536)
                    except BlockingIOError:
                        pass
        except OSError:
            time.sleep(60)
time.sleep(60)
"""
# The kernel lets the buffers of a connection grow to megabytes, where nobody bounds them.
CONNECTIONS = """
import socket, time
door, kept = socket.create_server(("127.0.0.1", 0)), []
print("BLOCKED", flush=True)
for _ in range(25):
    kept += [socket.create_connection(door.getsockname()), door.accept()[0]]
    for end in kept[-2:]:
        end.setblocking(False)
        try:
            while True:
                end.send(b"x" * 65536)
        except BlockingIOError:
            pass
time.sleep(0.5)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; as a user the other tests show it")
@pytest.mark.skipif(not Path(SYSTEM_PYTHON).exists(), reason=f"{SYSTEM_PYTHON} is not there for another user to run")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("tier", ["namespaces", "bwrap", "landlock"])
def test_an_ordinary_user_gets_the_same_walls(tier: str, tmp_path: Path) -> None:
    home = Path("/var/tmp") / f"cinque-test-{tmp_path.name}-{os.getpid()}"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    programs = {
        "attacks": [textwrap.dedent(TRY).replace("PARENT", str(os.getpid())), None],
        "bomb": [BOMB, None],
        "hogs": [HOGS, None],
        "sockets": [SOCKETS, None],
        "connections": [CONNECTIONS, None],
        "script": ["cat <<< BLOCKED", None, "bash"],
        "compiled": ['#include <stdio.h>\nint main(void) { puts("BLOCKED"); return 0; }', None, "c"],
        "tests": ["def f():\n    return 1\n", "assert f() == 1\n"],
        "fixtures": ["def f():\n    return 1\n", "def test_f(tmp_path):\n    assert f() == 1\n"],
    }
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    try:
        done = subprocess.run(
            [SYSTEM_PYTHON, "-c", SCRIPT.format(uid=NOBODY_IN_PARTICULAR), str(home), json.dumps(programs), tier],
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
    assert found["attacks"] == ["BLOCKED\n" * 17, "OK", "not_tested", tier]
    assert found["secret"] == ["mine", "0o644"]
    assert found["bomb"][:2] == ["BLOCKED\n", "OK"]
    assert found["hogs"][:2] == ["BLOCKED\n", "MEMORY_LIMIT"]
    assert found["sockets"][:2] == ["BLOCKED\n", "MEMORY_LIMIT"]
    if tier != "landlock":  # which has none
        verdict = "OK" if tier == "namespaces" else "MEMORY_LIMIT"  # bounded in the one, counted in the other
        assert found["connections"][:2] == ["BLOCKED\n", verdict]
    assert found["script"] == found["compiled"] == ["BLOCKED\n", "OK", "not_tested", tier]
    assert found["tests"][1:] == ["OK", "isolated", tier]
    assert found["fixtures"][1:] == ["OK", "in_process", tier]
    assert f"the {tier} tier passed its self-test" in found["status"]
