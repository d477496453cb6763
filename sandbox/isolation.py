"""What separates a program from this machine, how that is chosen, and how it is proved before it is relied on.

Theory of operation (tier `namespaces`)
    A zygote process builds a template once: a small root of read-only binds (/usr, the interpreter at its own path,
    the harness's packages), an unprivileged user, its own user, pid, mount, ipc, net, uts and cgroup namespaces.
    For each job it clones itself into fresh pid, mount, ipc and net namespaces. The clone becomes the job's init: it
    mounts its own /proc and one sized tmpfs (workspace, /tmp and /dev/shm), moves into a user namespace that owns
    none of the others, sets resource limits, drops every capability, sets no_new_privs and a system-call filter,
    closes every descriptor, and forks the program. The init stays behind, unreadable to the program; when the
    program ends it ends, and the kernel kills whatever was started. Memory is limited for the whole tree by a cgroup
    where one can be made, else by polling proportional set sizes. Output is drained to a bounded tail, results come
    through shared memory, the wall clock is enforced by the zygote with SIGKILL and by the host with a second clock.

Covered
    Host files, other jobs' files, host processes and their signals, the host's and other jobs' networks and IPC,
    privileges (set-uid, capabilities, new namespaces, mounts), terminals, fork bombs, memory, disk, inode,
    descriptor and output floods, programs that outlive their parent, and state left for the next job.

Not covered
    Bugs of the kernel and of allowed system calls; side channels between jobs on shared caches and CPUs; the share of
    CPU that a job takes within its time limit; the memory layout and hash seed, which jobs of one zygote share; what
    a public /proc tells about the machine (CPU model, load, kernel version); a test result when candidate and tests
    share a process (`result_trust` says `in_process`). Installed requirement sets are trusted as their index is.

Tier `none` protects nothing: rlimits and a clean environment, for programs that the operator trusts.
"""

import os
import secrets
import socket
import tempfile
import threading
from typing import Protocol

from sandbox.errors import SandboxUnavailableError
from sandbox.jobs import Job, Outcome
from sandbox.pool import ZygotePool
from sandbox.settings import SandboxSettings
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier, Limits
from sandbox.unconfined import UnconfinedRunner

SELF_TEST_LIMITS = Limits(time_s=10.0)
REQUIREMENTS_INSIDE = "/opt/requirements"

# Each attack prints its token only when it was refused in the way that isolation refuses it, so an attack that did
# not happen at all (a failed import, a crash) is a failed self-test.
_ATTACKS = """
import ctypes, errno, os, socket
token, path, pid, port = {token!r}, {path!r}, {pid}, {port}
def blocked(name, attack, *errors):
    try:
        attack()
    except OSError as error:
        if error.errno in errors:
            print(token, name, flush=True)
blocked("file", lambda: open(path).read(), errno.ENOENT)
blocked("process", lambda: os.kill(pid, 0), errno.ESRCH)
blocked("network", lambda: socket.create_connection(("127.0.0.1", port), 1).close(), errno.ECONNREFUSED)
def mount():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
blocked("mount", mount, errno.EPERM)
"""
_ATTACK_NAMES = ("file", "process", "network", "mount")


class Isolation(Protocol):
    """A tier: something that runs jobs, and says honestly what it is."""

    tier: IsolationTier

    @property
    def memory_control(self) -> str:
        """What enforces the memory limit."""
        ...

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run one job to its end."""
        ...

    def close(self) -> None:
        """End every job and release everything."""
        ...


def open_isolation(settings: SandboxSettings, toolchains: Toolchains) -> Isolation:
    """Start the tier that the settings ask for and prove it. Raises `SandboxUnavailableError` with what to do."""
    if settings.isolation == "none":
        return UnconfinedRunner(settings.requirements_folder, toolchains)
    pool = ZygotePool(settings.requirements_folder, toolchains)
    try:
        prove(pool)
    except BaseException:
        pool.close()
        raise
    return pool


def prove(isolation: Isolation) -> None:
    """Run a few attacks on this very process and demand that each was refused. Takes some 20 ms."""
    token = secrets.token_hex(8)
    with tempfile.NamedTemporaryFile(prefix="cinque-canary-") as secret, socket.create_server(("127.0.0.1", 0)) as door:
        code = _ATTACKS.format(token=token, path=secret.name, pid=os.getpid(), port=door.getsockname()[1])
        arguments = {"files": {"solution.py": code}, "source_name": "solution.py", "requirements_path": None}
        outcome = isolation.run(Job("program", "plain", arguments, SELF_TEST_LIMITS))
    lines = outcome.stdout.decode("utf-8", "replace").splitlines()
    missing = [name for name in _ATTACK_NAMES if f"{token} {name}" not in lines]
    if missing:
        said = outcome.stderr.decode("utf-8", "replace").strip()[-500:]
        raise SandboxUnavailableError(
            f"the self-test of the {isolation.tier} tier failed: not refused: {', '.join(missing)}. {said} "
            "Do not run untrusted programs on this machine; report this with the kernel's version."
        )
