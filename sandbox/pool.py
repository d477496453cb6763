"""Warm interpreters: one zygote process per flavour, started on first use, replaced when it dies.

The `namespaces` tier. A flavour says what is imported before jobs are forked: nothing but the standard library for
plain programs, pytest for tests, pylint for ratings. A job whose zygote dies under it is run once more by a new one.
Thread-safe; knows nothing of languages or verdicts.
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import IO

from packaging.requirements import Requirement

from sandbox.cgroups import CgroupSlots, Slot
from sandbox.errors import ExecutionCancelledError, SandboxError, SandboxUnavailableError
from sandbox.jobs import Channels, Job, JobLostError, JobSetupError, Outcome
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier

START_TIMEOUT_S = 60.0  # importing pylint on a busy machine takes several seconds
STOP_TIMEOUT_S = 5.0
N_ATTEMPTS = 2
MAX_MESSAGE_BYTES = 64 * 1024
DIAGNOSTIC_BYTES = 2000
# Standard modules that programs import most; warm ones cost a job nothing.
WARM_MODULES = (
    "abc argparse array asyncio base64 bisect cmath collections.abc concurrent.futures contextlib copy csv dataclasses "
    "datetime decimal enum fractions functools glob hashlib heapq html inspect io itertools json linecache logging "
    "math numbers operator os pathlib pickle pprint queue random re secrets shutil statistics string struct subprocess "
    "tempfile textwrap threading time timeit traceback typing unicodedata urllib.parse uuid weakref zlib"
)
_BOOTSTRAP = (
    "import json,os,sys;c=json.load(sys.stdin);os.dup2(os.open(os.devnull,os.O_RDONLY),0);"
    "sys.path.insert(0,c['source_root']);from sandbox.inside import zygote;zygote.main(c)"
)


@dataclass(frozen=True)
class Flavour:
    """What one zygote has ready: distributions to bind, modules to import, functions to call."""

    name: str
    distributions: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    is_python: bool = True  # imports what Python programs import


FLAVOURS = {
    "plain": Flavour("plain"),
    "tests": Flavour("tests", ("pytest",), ("sandbox.inside.under_pytest:warm",)),
    "lint": Flavour("lint", ("pylint",), ("sandbox.inside.linter:warm",)),
    "tools": Flavour("tools", is_python=False),
}


def interpreter() -> tuple[str, str]:
    """Return the base interpreter behind any virtual environment, and its prefix, both without links."""
    executable = getattr(sys, "_base_executable", None) or sys.executable
    return os.path.realpath(executable), os.path.realpath(sys.base_prefix)


def package_paths(distributions: Iterable[str]) -> tuple[str, ...]:
    """Return the top-level files and folders of the distributions and all that they require."""
    pending, seen, paths = list(distributions), set[str](), set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise SandboxUnavailableError(f"the package {name!r} is not installed; install it with pip") from error
        for file in distribution.files or ():
            top = file.parts[0]
            if top != ".." and not top.endswith(".pth") and top != "__pycache__":
                paths.add(str(distribution.locate_file(top)))
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return tuple(sorted(paths))


def _covered_paths(prefix: str) -> tuple[str, ...]:
    """Return the folders of installed packages that the base interpreter could see."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = {
        f"{root}/lib/{python}/{name}"
        for root in (prefix, "/usr", "/usr/local")
        for python in (version, "python3")
        for name in ("site-packages", "dist-packages")
    }
    return tuple(sorted(folder for folder in folders if Path(folder).is_dir()))


class ZygoteProcess:
    """One zygote and the control socket to it. `submit` may be called from any thread."""

    def __init__(self, flavour: Flavour, cache: Path, binds: tuple[tuple[str, str], ...] = ()) -> None:
        self._flavour = flavour
        self._lock = threading.Lock()
        self._closed = False
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process that writes it
        self._control, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = tempfile.mkdtemp(prefix="cinque-root-")
        try:
            with peer:
                self._process = self._spawn(peer, root, cache, binds)
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

    def _spawn(
        self, peer: socket.socket, root: str, cache: Path, binds: tuple[tuple[str, str], ...]
    ) -> "subprocess.Popen[bytes]":
        executable, prefix = interpreter()
        config = {
            "control_fd": peer.fileno(),
            "source_root": str(Path(__file__).resolve().parents[1]),
            "template": {
                "root": root,
                "prefix": prefix,
                "covered": _covered_paths(prefix),
                "packages": package_paths(self._flavour.distributions),
                "cache": str(cache),
                "binds": binds,
            },
            "warm": WARM_MODULES.split() if self._flavour.is_python else [],
            "hooks": self._flavour.hooks,
        }
        process = subprocess.Popen(
            [executable, "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP],
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
            raise SandboxError(f"the {self._flavour.name} zygote died while starting: {self._diagnostics()}")
        reply = json.loads(message)
        if "error" in reply:
            raise SandboxUnavailableError(_advice(reply["error"]))

    def _diagnostics(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - DIAGNOSTIC_BYTES))
        return self._log.read().decode("utf-8", "replace").strip() or "it said nothing"

    def submit(self, job: Job, fds: dict[str, int]) -> None:
        """Hand over one job. Raises `JobLostError` when the zygote is gone."""
        request = {
            "kind": job.kind,
            "bare": job.bare,
            "requirements": job.requirements,
            "limits": asdict(job.limits),
            "fds": list(fds),
        }
        try:
            with self._lock:
                if self._closed:
                    raise JobLostError("the zygote was closed")
                socket.send_fds(self._control, [json.dumps(request).encode()], list(fds.values()))
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


def _advice(reason: str) -> str:
    return (
        f"the namespaces tier does not work here ({reason}). Allow unprivileged user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
        "user.max_user_namespaces>0), run on Linux 5.12 or later, or in a container started with --privileged. "
        "CINQUE_SANDBOX_ISOLATION=none runs programs without any protection."
    )


class ZygotePool:
    """The namespaces tier: runs jobs in the zygote of their flavour."""

    tier: IsolationTier = "namespaces"

    def __init__(self, cache: Path, toolchains: Toolchains) -> None:
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailableError(_advice(f"this is {sys.platform}, not Linux"))
        cache.mkdir(parents=True, exist_ok=True)
        self._cache = cache
        self._toolchains = toolchains
        self._zygotes: dict[str, ZygoteProcess] = {}
        self._locks = {name: threading.Lock() for name in FLAVOURS}
        self._closed = False
        self._slots = CgroupSlots.open()

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
            zygote = self._zygote(job.flavour)
            try:
                outcome = self._run_in(zygote, job, cancelled)
            except JobLostError as error:
                self._discard(job.flavour, zygote)
                if attempt == N_ATTEMPTS or self._closed or job.remote is not None:
                    raise SandboxError(f"a job was lost {attempt} times: {error}; try again") from error
            except JobSetupError as error:
                raise SandboxError(f"a job could not be started: {error}") from error
            else:
                if outcome.ended_by == "cancelled" and not job.is_partner:
                    raise ExecutionCancelledError("the execution was cancelled; its program was killed")
                return outcome
        raise AssertionError("unreachable")

    def _run_in(self, zygote: ZygoteProcess, job: Job, cancelled: threading.Event | None) -> Outcome:
        slot = None if job.bare or self._slots is None else self._slots.take()
        try:
            with Channels(job) as channels:
                fds = dict(channels.fds)
                if slot is not None:
                    slot.arm(job.limits.memory_bytes)
                    fds["cgroup"] = slot.procs_fd
                zygote.submit(job, fds)
                channels.started()
                outcome = channels.collect(cancelled, None if slot is None else slot.has_killed)
            return outcome if slot is None else _with_memory(outcome, slot)
        finally:
            if slot is not None and self._slots is not None:
                self._slots.give_back(slot)

    def _zygote(self, flavour: str) -> ZygoteProcess:
        with self._locks[flavour]:
            if self._closed:
                raise SandboxError("the sandbox is closed; make a new one")
            zygote = self._zygotes.get(flavour)
            if zygote is None or not zygote.is_alive():
                if zygote is not None:
                    zygote.close()
                binds = self._toolchains.binds() if flavour == "tools" else ()
                zygote = ZygoteProcess(FLAVOURS[flavour], self._cache, binds)
                self._zygotes[flavour] = zygote
            return zygote

    def _discard(self, flavour: str, zygote: ZygoteProcess) -> None:
        with self._locks[flavour]:
            if self._zygotes.get(flavour) is zygote:
                del self._zygotes[flavour]
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
