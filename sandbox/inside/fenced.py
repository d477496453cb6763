"""The warm process of the landlock tier: forks each job's guard, whose program gets a user id and landlock rules.

For machines where no namespace can be made, default Docker among them. As root every job runs under a user id of its
own that owns nothing but its workspace; as an ordinary user it runs under that user's, and landlock and the filter
alone stand between. The zygote outlives guards that are killed and ends what they leave; guards end their jobs when
the zygote is gone, by a pipe that only it holds open. What is not covered stands in `sandbox/isolation.py`.
"""

import contextlib
import gc
import json
import os
import platform
import pwd
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from sandbox.inside import fence_filter, guarded, job, landlock, reach, seccomp, syscalls, watchdog, workspace, zygote
from sandbox.inside.guard import Duties

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 12
GUARD_GRACE_S = 2.0  # how long past its deadline a guard may take to end its job before it counts as stuck
SWEEP_S = 2.0  # how long what a dead guard left is hunted
IDLE_POLL_S = 60.0
UID_NAME = "\0cinque-sandbox-uid-{}"  # an abstract socket of this name is the lock on a user id
N_UIDS = 478  # from the default first one on, those that systemd's table of ids calls unused
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# What this tier lets a job read of /proc: facts about the machine, nothing about processes.
PUBLIC_PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime")


@dataclass
class Guarded:
    """One guard in flight, as the zygote sees it."""

    pid: int
    deadline: float
    folder: str
    uid: int | None
    uid_lock: socket.socket | None


class Fenced:
    """The event loop. One instance per process, for its whole life."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._config = config
        self._lifeline, self._held_open = os.pipe()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._by_pid_fd: dict[int, Guarded] = {}
        self._n_jobs = 0

    def serve(self) -> NoReturn:
        """Serve until the host goes away."""
        while True:
            for fd, _ in self._poll.poll(self._wait_ms()):
                if fd == self._control.fileno():
                    self._accept()
                elif fd in self._by_pid_fd:
                    self._finish(fd)
            for guard in self._by_pid_fd.values():
                if guard.deadline <= time.monotonic():
                    os.kill(guard.pid, signal.SIGKILL)
                    guard.deadline += IDLE_POLL_S

    def _wait_ms(self) -> float:
        wait = IDLE_POLL_S
        if self._by_pid_fd:
            wait = min(guard.deadline for guard in self._by_pid_fd.values()) - time.monotonic()
        return max(0.0, wait) * 1000 + 1

    def _accept(self) -> None:
        message, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, MAX_FDS)
        if not message:
            self._end()
        request = json.loads(message)
        named = dict(zip(request["fds"], fds, strict=True))
        self._n_jobs += 1
        folder = f"{self._config['folder']}/{os.getpid()}-{self._n_jobs}"
        try:
            uid, lock = self._take_uid()
            pid = os.fork()
        except OSError as error:
            zygote.answer(socket.socket(fileno=named.pop("host")), {"error": f"starting a job: {error}"})
            for fd in named.values():
                os.close(fd)
            return
        if pid == 0:
            self._guard(request, named, folder, uid)
        for fd in fds:
            os.close(fd)
        deadline = time.monotonic() + request["limits"]["time_s"] + GUARD_GRACE_S
        pid_fd = os.pidfd_open(pid)
        self._by_pid_fd[pid_fd] = Guarded(pid, deadline, folder, uid, lock)
        self._poll.register(pid_fd, select.POLLIN)

    def _end(self) -> NoReturn:
        """Tell every guard to end its job, wait until they have, and exit."""
        os.close(self._held_open)
        for pid_fd in list(self._by_pid_fd):
            self._finish(pid_fd)
        os._exit(0)

    def _take_uid(self) -> tuple[int | None, socket.socket | None]:
        """As root, return a user id that nobody has and nobody else uses, and what reserves it."""
        if os.getuid() != 0:
            return None, None
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        first: int = self._config["first_uid"]
        for uid in range(first, first + N_UIDS):
            if _is_somebody(uid):
                continue
            with contextlib.suppress(OSError):  # another job's
                lock.bind(UID_NAME.format(uid))
                return uid, lock
        lock.close()
        raise OSError(f"every user id from {first} to {first + N_UIDS - 1} is in use")

    def _guard(self, request: dict[str, Any], fds: dict[str, int], folder: str, uid: int | None) -> NoReturn:
        """As a job's guard: run it and end."""
        status = 1
        try:
            os.close(self._held_open)
            self._control.close()
            for pid_fd, other in self._by_pid_fd.items():
                os.close(pid_fd)
                if other.uid_lock is not None:
                    other.uid_lock.close()
            os.setsid()
            try:
                confined = confinement(request, fds, folder, uid, self._config)
            except OSError as error:
                zygote.answer(socket.socket(fileno=fds["host"]), {"error": f"confining a job: {error}"})
            else:
                guarded.run(request, fds, self._lifeline, confined)
                status = 0
        except BaseException:  # noqa: BLE001 - the process ends here whatever happened; the host reads the log
            traceback.print_exc()
        finally:
            os._exit(status)

    def _finish(self, pid_fd: int) -> None:
        """A guard has ended; where it did not end by itself, do what it left undone."""
        guard = self._by_pid_fd.pop(pid_fd)
        self._poll.unregister(pid_fd)
        os.close(pid_fd)
        _, status = os.waitpid(guard.pid, 0)
        if status != 0:
            self._sweep(guard)
            with contextlib.suppress(OSError):
                workspace.remove(guard.folder)
        if guard.uid_lock is not None:
            guard.uid_lock.close()

    def _sweep(self, guard: Guarded) -> None:
        """Kill what a dead guard left: orphans become our children, because we are their subreaper."""
        if guard.uid is not None:
            kill_user(guard.uid)
        end = time.monotonic() + SWEEP_S
        known = {other.pid for other in self._by_pid_fd.values()}
        while time.monotonic() < end:
            orphans = children_of(os.getpid()) - known
            if not orphans:
                return
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _is_somebody(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def children_of(pid: int) -> set[int]:
    """Return the children of a process that has one thread."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return {int(word) for word in file.read().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()


def kill_user(uid: int) -> None:
    """As root: kill every process of a user id that we reserved, by becoming it. Returns when the signal is sent."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(OSError):
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)  # as this user the kernel lets us reach nobody else
        os._exit(0)
    os.waitpid(pid, 0)


def kill_descendants() -> None:
    """Kill every descendant of this subreaper, again and again until a look finds none that lives."""
    end = time.monotonic() + SWEEP_S
    while time.monotonic() < end:
        found: set[int] = set()
        frontier = children_of(os.getpid())
        while frontier:
            found |= frontier
            frontier = set().union(*(children_of(pid) for pid in frontier)) - found
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            return


def _memory_seen_by(uid: int | None) -> Callable[[Collection[int]], int]:
    """Return how a guard counts the memory of processes of this user, its own for None."""

    def memory(pids: Collection[int]) -> int:
        with syscalls.looking_as(uid):  # root in a container may not look at the memory of others otherwise
            return sum(map(watchdog.process_memory, pids)) + watchdog.open_socket_memory(pids)

    return memory


def confinement(
    request: dict[str, Any], fds: dict[str, int], folder: str, uid: int | None, config: dict[str, Any]
) -> guarded.Confinement:
    """In a job's guard: make its workspace and its rules, keep signals in, and return how its program is confined."""
    limits = request["limits"]
    workspace.make(folder, uid)
    requirements = None if request["requirements"] is None else f"{config['cache']}/{request['requirements']}"
    readable = [*config["readable"], *PUBLIC_PROC, *([] if requirements is None else [requirements])]
    rule_set = landlock.rules(readable, [folder], list(DEVICES), scopes=config["scopes"])
    zygote_pid = os.getppid()
    scoped = config["scopes"] and landlock.keep_signals_in()
    if scoped:
        try:
            os.kill(zygote_pid, 0)
        except PermissionError:
            pass
        else:
            raise OSError("landlock says that it keeps signals in, and does not")
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    fence = fence_filter.Fence(
        has_own_user=uid is not None,
        keeps_signals_in=scoped,
        knows_truncate=landlock.abi() >= landlock.ABI_WITH_TRUNCATE,
        may_change_modes=request["kind"] == "build",
    )

    def enter() -> bytes:
        os.chdir(f"{folder}/{workspace.WORK}")
        syscalls.drop_bounding_set()
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        landlock.restrict(rule_set)
        machine = platform.machine()
        return seccomp.assemble(machine, fence_filter.instructions(machine, fence, os.getpid()))

    def withdraw() -> bytes:
        os.close(rule_set)
        return b""

    def kill_all(_: int) -> None:
        if scoped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # checked above: it stays in this job
        elif uid is not None:
            kill_user(uid)
        else:
            kill_descendants()

    return guarded.Confinement(
        duties=Duties(
            limits, None if "cgroup" in fds else _memory_seen_by(uid), lambda: workspace.usage(folder), kill_all
        ),
        enter=enter,
        withdraw=withdraw,
        clean=lambda: workspace.remove(folder),
        n_processes=limits["n_processes"] + (0 if uid is not None else n_tasks_of(os.getuid())),
        environment={
            **job.ENVIRONMENT,
            "HOME": f"{folder}/{workspace.WORK}",
            "TMPDIR": f"{folder}/{workspace.TEMPORARY}",
        },
        requirements_path=requirements,
    )


def n_tasks_of(uid: int) -> int:
    """Return how many processes and threads a user has now: the kernel counts them against a job's limit too."""
    n_tasks = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # ended while we looked
                if os.stat(f"/proc/{name}").st_uid == uid:
                    n_tasks += len(os.listdir(f"/proc/{name}/task"))
    return n_tasks


def main(config: dict[str, Any]) -> NoReturn:
    """Look at what the kernel offers, warm up, say so, and serve. Never returns."""
    control = socket.socket(fileno=config["control_fd"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job.load_harnesses()
    try:
        syscalls.machine()
        landlock.abi()
        if os.getuid() == 0:
            reach.reveal([*config["readable"], config["cache"]])
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        os._exit(1)
    sys.path[:] = [path for path in sys.path if path != config["source_root"]]
    job.remember_path()
    sys.path.append(config["harness"])
    sys.dont_write_bytecode = True
    zygote.warm(config["warm"], config["hooks"])
    gc.collect()
    gc.freeze()
    control.send(b'{"ready": true}')
    Fenced(control, config).serve()
