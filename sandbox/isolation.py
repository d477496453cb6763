"""What separates a program from this machine, how that is chosen, and how it is proved before it is relied on.

A tier is chosen by the setting, or with `auto` the first of `TIERS` whose self-test (`proof.py`) passes.

Tier `namespaces`: theory of operation
    A zygote process builds a template once: a small root of read-only binds (/usr, the interpreter at its own path, the
    harness's packages), an unprivileged user, its own user, pid, mount, ipc, net, uts and cgroup namespaces. For each
    job it forks into a pid namespace made ahead (`inside/inits.py`). The fork goes into fresh mount, ipc and net
    namespaces, mounts its own /proc and one sized tmpfs (workspace, /tmp and /dev/shm), moves into a user namespace
    that owns none of the others, sets resource limits, drops every capability, sets no_new_privs and a system-call
    filter, closes every descriptor, and only then becomes the program. The init of its pid namespace shares no memory
    with any job and cannot be looked at; the zygote kills it when the program ends, and the kernel all that is left.
    Memory is limited for the whole tree by a cgroup where one can be made, else by polling (`inside/watchdog.py`);
    processors only by a cgroup, and on request. Output is drained to a bounded tail, results come through shared
    memory, the wall clock is enforced by the zygote with SIGKILL and by the host with a second clock.

    Programs of other languages are two such jobs: one runs the compiler, whose files travel on as bytes, and one
    becomes the program. Their zygote also binds the toolchains that lie outside /usr, read-only.

Covered
    Host files, other jobs' files, host processes and their signals, the host's and other jobs' networks and IPC,
    privileges (set-uid, capabilities, new namespaces, mounts), terminals, fork bombs, memory, disk, inode,
    descriptor and output floods, programs that outlive their parent, and state left for the next job.

Not covered
    Bugs of the kernel and of allowed system calls; side channels between jobs on shared caches and CPUs; the share of
    CPU that a job takes within its time limit where no cgroup can be made or none was asked for; what a watch of memory
    cannot see (the kernel's own objects but sockets and page tables), or sees too late; the memory layout and hash
    seed, which jobs of one zygote share; what a public /proc tells about the machine (CPU model, load, kernel version);
    a test result when candidate and tests share a process (`result_trust` says `in_process`). Installed requirement
    sets are trusted as their index is.

Tier `bwrap`: the same view, built by bubblewrap
    For hosts where only bubblewrap may make a user namespace (Ubuntu 24.04 and its AppArmor profile). A launcher that
    has given up root starts sandboxes ahead; each takes one job and ends with it. Pid 1 of a sandbox is a guard that
    owns the clock and reports; the program beside it has no capabilities, the same filter and the same limits.
    Otherwise than above: the number of files is watched 20 times a second instead of limited (OUTPUT_LIMIT instead of
    ENOSPC), loopback is up but a sandbox must be started for every job, so sustained load is slower.

Tier `landlock`: rules instead of namespaces
    For containers in which no namespace can be made. A guard outside the job's landlock domain watches it and kills
    what it leaves by a signal that landlock (ABI 6, Linux 6.12) or the job's own user id confines. Every socket family
    is refused, with System V and POSIX message queues and shared memory, inotify, and calls that name other processes.
    Holds: reading and writing host files, other jobs' files, signals, networks, IPC, privileges, terminals, memory,
    time, output, descriptors, programs that outlive their parent. It cannot hold, and nothing here pretends it does:
    that a host file exists, its size and times (stat is no right of landlock); reading installed packages of the
    interpreter and all of /usr; file sizes and numbers beyond a watch that looks 20 times a second (what is written
    between two looks, and what was deleted while open, is bounded by RLIMIT_FSIZE and descriptors alone); a private
    /tmp, /dev/shm and /proc, which are refused (TMPDIR names a folder of the job; no POSIX semaphores or process
    lists). As an ordinary user moreover: processes are counted with all others of that user; chmod, chown, utime and
    extended attributes are refused to programs, and during a build, where compilers need them, not; before ABI 6 a
    program cannot signal its children, and what a guard leaves is hunted from /proc.

Tier `none` protects nothing: rlimits and a clean environment, for programs that the operator trusts.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from sandbox import leftovers
from sandbox.bwrap import BwrapPool
from sandbox.errors import SandboxError, SandboxUnavailableError
from sandbox.jobs import Job, Outcome
from sandbox.landlock import LandlockPool
from sandbox.pool import ZygotePool
from sandbox.proof import prove
from sandbox.settings import SandboxSettings
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier
from sandbox.unconfined import UnconfinedRunner

REQUIREMENTS_INSIDE = "/opt/requirements"


class Isolation(Protocol):
    """A tier: something that runs jobs, and says honestly what it is."""

    tier: IsolationTier
    refused: tuple[str, ...]  # stronger tiers that were tried before this one, each with the reason

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


_Opener = Callable[[SandboxSettings, Toolchains], Isolation]
# Strongest first; the order in which `auto` tries them.
TIERS: dict[IsolationTier, _Opener] = {
    "namespaces": lambda settings, tools: ZygotePool(settings.requirements_folder, tools, settings.cpus),
    "bwrap": lambda settings, tools: BwrapPool(
        settings.requirements_folder, tools, settings.bwrap_ready, settings.cpus
    ),
    "landlock": lambda settings, tools: LandlockPool(
        settings.requirements_folder, tools, settings.landlock_first_uid, settings.cpus
    ),
}


def open_isolation(settings: SandboxSettings, toolchains: Toolchains) -> Isolation:
    """Start the tier that the settings ask for and prove it.

    With `auto` that is the first of `TIERS` that starts and passes its self-test; why others did not stays with it.
    Raises `SandboxUnavailableError` with what to do.
    """
    leftovers.remove()
    if settings.isolation == "none":
        return UnconfinedRunner(settings.requirements_folder, toolchains)
    if settings.isolation != "auto":
        return _open_proved(TIERS[settings.isolation], settings, toolchains)
    refused: list[str] = []
    for name, opener in TIERS.items():
        try:
            isolation = _open_proved(opener, settings, toolchains)
        except SandboxError as error:
            refused.append(f"{name}: {error.message}")
            continue
        isolation.refused = tuple(refused)
        return isolation
    raise SandboxUnavailableError("no isolation works here. " + " | ".join(refused))


def _open_proved(opener: _Opener, settings: SandboxSettings, toolchains: Toolchains) -> Isolation:
    isolation = opener(settings, toolchains)
    try:
        prove(isolation)
    except BaseException:
        isolation.close()
        raise
    return isolation
