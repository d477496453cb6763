"""Warm interpreters: one zygote process per flavour, started on first use, replaced when it dies.

The `namespaces` tier. A flavour says what is imported before jobs are forked: nothing but the standard library for
plain programs, pytest for tests, pylint for ratings. A job whose zygote dies under it is run again by a new one, twice
at most. Thread-safe; knows nothing of languages or verdicts.
"""

import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, Protocol

from sandbox import leftovers
from sandbox.cgroups import CgroupSlots, Slot
from sandbox.errors import ExecutionCancelledError, LostJobError, SandboxError, SandboxUnavailableError
from sandbox.flavours import FLAVOURS, Binds, Flavour, covered_paths, interpreter, package_paths, warm_modules
from sandbox.jobs import N_ATTEMPTS, Channels, Job, JobLostError, JobSetupError, Outcome
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier

START_TIMEOUT_S = 60.0  # importing pylint on a busy machine takes several seconds
STOP_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 5  # handing over a job takes microseconds; whoever does not take it for so long counts as dead
MAX_MESSAGE_BYTES = 64 * 1024
DIAGNOSTIC_BYTES = 2000
SOURCE_ROOT = str(Path(__file__).resolve().parents[1])
_BOOTSTRAP = (
    "import json,os,sys;c=json.load(sys.stdin);os.dup2(os.open(os.devnull,os.O_RDONLY),0);"
    "sys.path.insert(0,c['source_root']);from sandbox.inside import {module} as m;m.main(c)"
)


class TakesJobs(Protocol):
    """A process that runs jobs: a zygote, or a sandbox that takes one."""

    def submit(self, job: Job, fds: dict[str, int]) -> None:
        """Hand over one job. Raises `JobLostError` when the process is gone."""
        ...

    def close(self) -> None:
        """End it and every job of it."""
        ...


def bound_sending(control: socket.socket) -> None:
    """Let sending fail with an `OSError` when nobody takes what was sent; else one thread would wait for ever."""
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_TIMEOUT_S, 0))


def request_of(job: Job, fds: dict[str, int]) -> bytes:
    """Return the message that hands over a job, beside its descriptors."""
    request = {
        "kind": job.kind,
        "bare": job.bare,
        "requirements": job.requirements,
        "limits": asdict(job.limits),
        "fds": list(fds),
    }
    return json.dumps(request).encode()


class ZygoteProcess:
    """One zygote and the control socket to it. `submit` may be called from any thread."""

    module = "zygote"  # of sandbox.inside; its `main` gets the configuration

    def __init__(self, flavour: Flavour, cache: Path, binds: Binds = ()) -> None:
        self._flavour = flavour
        self._cache = cache
        self._binds = binds
        self._lock = threading.Lock()
        self._closed = False
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process that writes it
        self._control, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bound_sending(self._control)
        root = tempfile.mkdtemp(prefix=leftovers.prefix("root"))
        try:
            with peer:
                self._process = self._spawn(peer, root)
            self._await_ready()
        except BaseException:
            self.close()
            raise
        finally:
            # The zygote has left it behind by now; on failure it was mounted in a namespace that is gone.
            with contextlib.suppress(OSError):
                Path(root).rmdir()

    @property
    def pid(self) -> int:
        """Process id of the zygote's outer process."""
        return self._process.pid

    def _spawn(self, peer: socket.socket, root: str) -> "subprocess.Popen[bytes]":
        config = {
            "control_fd": peer.fileno(),
            "source_root": SOURCE_ROOT,
            "warm": warm_modules(self._flavour),
            "hooks": self._flavour.hooks,
            **self._configuration(root),
        }
        process = subprocess.Popen(
            [interpreter()[0], "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP.format(module=self.module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=(peer.fileno(),),
            env={},
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 - we asked for a pipe
        with process.stdin as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(json.dumps(config).encode())
        return process

    def _configuration(self, root: str) -> dict[str, Any]:
        """Return what the process must know besides what every flavour's must."""
        _, prefix = interpreter()
        template = {
            "root": root,
            "prefix": prefix,
            "covered": covered_paths(prefix),
            "packages": package_paths(self._flavour.distributions),
            "cache": str(self._cache),
            "binds": self._binds,
        }
        return {"template": template}

    def _advise(self, reason: str) -> str:
        """Return what to tell somebody whose machine refused to start this process."""
        return _advice(reason)

    def _await_ready(self) -> None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(START_TIMEOUT_S * 1000):
            raise SandboxError(
                f"the {self._flavour.name} zygote was not ready within {START_TIMEOUT_S:.0f} s; try again"
            )
        try:
            message = self._control.recv(MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            message = b""
        if not message:
            raise JobLostError(f"the {self._flavour.name} zygote died while starting: {self.diagnostics()}")
        reply = json.loads(message)
        if "error" in reply:
            raise SandboxUnavailableError(self._advise(reply["error"]))

    def diagnostics(self) -> str:
        """Return the end of what the process said on its standard error."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - DIAGNOSTIC_BYTES))
        return self._log.read().decode("utf-8", "replace").strip() or "it said nothing"

    def submit(self, job: Job, fds: dict[str, int]) -> None:
        """Hand over one job. Raises `JobLostError` when the zygote is gone."""
        try:
            with self._lock:
                if self._closed:
                    raise JobLostError("the zygote was closed")
                socket.send_fds(self._control, [request_of(job, fds)], list(fds.values()))
        except OSError as error:
            raise JobLostError(f"the zygote is gone: {error}") from error

    def is_alive(self) -> bool:
        """Tell whether the zygote runs."""
        return not self._closed and self._process.poll() is None

    def close(self) -> None:
        """End the zygote and with it every job of it. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._control.close()
        process = getattr(self, "_process", None)
        if process is not None:
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()


UNPROTECTED = "CINQUE_SANDBOX_ISOLATION=none runs programs without any protection."


def _advice(reason: str) -> str:
    return (
        f"the namespaces tier does not work here ({reason}). Allow unprivileged user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
        "user.max_user_namespaces>0), run on Linux 5.12 or later, or in a container started with --privileged. "
        f"{UNPROTECTED}"
    )


class ZygotePool:
    """The namespaces tier: runs jobs in the zygote of their flavour."""

    tier: IsolationTier = "namespaces"
    refused: tuple[str, ...] = ()

    def __init__(self, cache: Path, toolchains: Toolchains, cpus: float = 0.0) -> None:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailableError(f"this is {sys.platform}, not Linux. {UNPROTECTED}")
        cache.mkdir(parents=True, exist_ok=True)
        self._cache = cache
        self._toolchains = toolchains
        self._zygotes: dict[str, ZygoteProcess] = {}
        self._locks = {name: threading.Lock() for name in FLAVOURS}
        self._closed = False
        self._slots = CgroupSlots.open(cpus)

    @property
    def memory_control(self) -> str:
        """What enforces the memory limit: `cgroup` or `watchdog`."""
        return "watchdog" if self._slots is None else "cgroup"

    def zygote_pids(self) -> dict[str, int]:
        """Return the outer process id of every live zygote by flavour."""
        return {name: zygote.pid for name, zygote in self._zygotes.items() if zygote.is_alive()}

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run one job to its end. Raises `ExecutionCancelledError` when the event was set, else `SandboxError`."""
        for attempt in range(1, N_ATTEMPTS + 1):
            zygote: TakesJobs | None = None
            try:
                zygote = self._zygote(job)
                outcome = self._run_in(zygote, job, cancelled)
            except JobLostError as error:
                if zygote is not None:
                    self._discard(job, zygote)
                if attempt == N_ATTEMPTS or self._closed or job.remote is not None:
                    raise LostJobError(f"a job was lost {attempt} times: {error}; try again") from error
            except (JobSetupError, OSError) as error:  # too many open files, among others
                raise SandboxError(f"a job could not be started: {error}") from error
            else:
                if outcome.ended_by == "cancelled" and not job.is_partner:
                    raise ExecutionCancelledError("the execution was cancelled; its program was killed")
                return outcome
            finally:
                if zygote is not None:
                    self._release(job, zygote)
        raise AssertionError("unreachable")

    def _run_in(self, zygote: TakesJobs, job: Job, cancelled: threading.Event | None) -> Outcome:
        slot = None if job.bare or self._slots is None else self._slots.take(job.limits.memory_bytes)
        try:
            with Channels(job) as channels:
                fds = dict(channels.fds)
                if slot is not None:
                    fds |= slot.fds
                zygote.submit(job, fds)
                channels.started()
                outcome = channels.collect(cancelled, None if slot is None else slot.has_killed)
            return outcome if slot is None else _with_memory(outcome, slot)
        finally:
            if slot is not None and self._slots is not None:
                self._slots.give_back(slot)

    def _binds(self, flavour: Flavour) -> Binds:
        return () if flavour.is_python else self._toolchains.binds()

    def _start(self, flavour: Flavour) -> ZygoteProcess:
        return ZygoteProcess(flavour, self._cache, self._binds(flavour))

    def _zygote(self, job: Job) -> TakesJobs:
        """Return the process that is to run the job, starting it if there is none."""
        flavour = job.flavour
        with self._locks[flavour]:
            if self._closed:
                raise SandboxError("the sandbox is closed; make a new one")
            zygote = self._zygotes.get(flavour)
            if zygote is None or not zygote.is_alive():
                if zygote is not None:
                    zygote.close()
                zygote = self._start(FLAVOURS[flavour])
                self._zygotes[flavour] = zygote
            return zygote

    def _release(self, job: Job, zygote: TakesJobs) -> None:
        """Note that a process has ended its job; a zygote just waits for the next."""

    def _discard(self, job: Job, zygote: TakesJobs) -> None:
        """Let go of a process that lost its job."""
        with self._locks[job.flavour]:
            if self._zygotes.get(job.flavour) is zygote:
                del self._zygotes[job.flavour]
        zygote.close()

    def close(self) -> None:
        """End every zygote, and with them every job. May be called twice."""
        self._closed = True
        for name, lock in self._locks.items():
            with lock:
                zygote = self._zygotes.pop(name, None)
            if zygote is not None:
                zygote.close()
        if self._slots is not None:
            self._slots.close()


def _with_memory(outcome: Outcome, slot: Slot) -> Outcome:
    """Add what the job's control group counted."""
    ended_by = "memory" if outcome.ended_by == "exit" and slot.has_killed() else outcome.ended_by
    return replace(outcome, peak_bytes=slot.peak_bytes() or outcome.peak_bytes, ended_by=ended_by)
