"""The self-test of a tier: a few attacks on this very process, each of which must be refused as the tier refuses it.

An attack prints its token only when the kernel answered with the error that the tier promises, so one that did not
happen at all (a failed import, a crash) is a failed self-test. None does harm where it is not refused: a mount has no
such target, a signal is number 0. Knows of tiers only what they promise.
"""

import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Protocol

from sandbox import leftovers
from sandbox.errors import SandboxUnavailableError
from sandbox.jobs import Job, Outcome
from sandbox.types import IsolationTier, Limits

LIMITS = Limits(time_s=10.0)
_PUBLIC = ("/tmp", "/dev/shm")  # noqa: S108 - where a job without walls would leave its marks
_ATTACKS = """
import ctypes, errno, os, platform, socket
token, path, pid, port, mark = {token!r}, {path!r}, {pid}, {port}, {mark!r}
libc = ctypes.CDLL(None, use_errno=True)
def blocked(name, attack, *errors):
    try:
        attack()
    except OSError as error:
        if errno.errorcode[error.errno] in errors:
            print(token, name, flush=True)
        else:
            print(name, repr(error), flush=True)
def called(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
def look():
    above = os.path.dirname(os.path.dirname(os.getcwd()))
    places = [".", "/tmp", "/dev/shm", os.environ["TMPDIR"], above]
    beside = [os.path.join(above, name, "work") for name in os.listdir(above)]
    if any(os.path.exists(os.path.join(place, mark)) for place in places + beside):
        raise FileExistsError(errno.EEXIST, "found")
    raise FileNotFoundError(errno.ENOENT, "nothing there")
blocked("file", lambda: open(path).read(), {file!r})
blocked("process", lambda: os.kill(pid, 0), {process!r})
blocked("network", lambda: socket.create_connection(("127.0.0.1", port), 1).close(), {network!r})
blocked("mount", lambda: called(libc.mount(b"tmpfs", b"/no/such/folder", b"tmpfs", 0, None)), "EPERM")
blocked("ipc", lambda: called(libc.shmget(42, 4096, 0)), "EPERM")
blocked("neighbour", look, {neighbour!r})
"""
_NAMES = ("file", "process", "network", "mount", "ipc", "neighbour")
_LEAVE_MARKS = """
import os
for folder in (".", "/tmp", "/dev/shm", os.environ["TMPDIR"]):
    try:
        open(os.path.join(folder, {mark!r}), "w").close()
    except OSError:
        continue
"""
# The error that each tier answers an attack with: what is not there, or what is there and refused.
_IN_NAMESPACES = {"file": "ENOENT", "process": "ESRCH", "network": "ECONNREFUSED", "neighbour": "ENOENT"}
_ANSWERS: dict[IsolationTier, dict[str, str]] = {
    "namespaces": _IN_NAMESPACES,
    "bwrap": _IN_NAMESPACES,
    "landlock": {"file": "EACCES", "process": "EPERM", "network": "EPERM", "neighbour": "EACCES"},
}


class RunsJobs(Protocol):
    """What is to be proved."""

    tier: IsolationTier

    def run(self, job: Job) -> Outcome:
        """Run one job to its end."""
        ...


def _program(code: str) -> Job:
    arguments = {"files": {"solution.py": code}, "source_name": "solution.py", "requirements_path": None}
    return Job("program", "plain", arguments, LIMITS)


def prove(isolation: RunsJobs) -> None:
    """Run the attacks and demand that each was refused. Takes two jobs. Raises `SandboxUnavailableError`."""
    token, mark = secrets.token_hex(8), f"cinque-mark-{secrets.token_hex(8)}"
    try:
        isolation.run(_program(_LEAVE_MARKS.format(mark=mark)))
        outcome = _attack(isolation, token, mark)
    finally:
        for folder in _PUBLIC:
            Path(folder, mark).unlink(missing_ok=True)
    lines = outcome.stdout.decode("utf-8", "replace").splitlines()
    missing = [name for name in _NAMES if f"{token} {name}" not in lines]
    if missing:
        said = (outcome.stdout + outcome.stderr).decode("utf-8", "replace").replace(token, "").strip()[-500:]
        raise SandboxUnavailableError(
            f"the self-test of the {isolation.tier} tier failed: not refused: {', '.join(missing)}. {said} "
            "Do not run untrusted programs behind it; report this with the kernel's version."
        )


def _attack(isolation: RunsJobs, token: str, mark: str) -> Outcome:
    canary = tempfile.NamedTemporaryFile(prefix=leftovers.prefix("canary"))  # noqa: SIM115 - the next line closes it
    with canary as secret, socket.create_server(("127.0.0.1", 0)) as door:
        os.fchmod(secret.fileno(), 0o644)  # readable by everybody: only the wall can stand before it
        facts = {"token": token, "path": secret.name, "pid": os.getpid(), "port": door.getsockname()[1], "mark": mark}
        return isolation.run(_program(_ATTACKS.format(**facts, **_ANSWERS[isolation.tier])))
