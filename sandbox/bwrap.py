"""The `bwrap` tier: bubblewrap sandboxes for one job each, started ahead so that no job waits for the start.

For hosts where only bubblewrap may make a user namespace. A launcher process, which as root has given up root, starts
them; in each one a warm interpreter waits for its job, and the sandbox ends with it. Sandboxes that only parse serve
many. Thread-safe; knows nothing of languages or verdicts.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox.errors import SandboxError, SandboxUnavailableError
from sandbox.flavours import FLAVOURS, Binds, Flavour
from sandbox.jobs import Job, JobLostError, memory_file
from sandbox.pool import (
    MAX_MESSAGE_BYTES,
    START_TIMEOUT_S,
    UNPROTECTED,
    TakesJobs,
    ZygotePool,
    ZygoteProcess,
    bound_sending,
    request_of,
)
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier
from sandbox.walls import Shape, bound_paths, command, files_of_etc


class Launcher(ZygoteProcess):
    """The process that starts sandboxes."""

    module = "launcher"

    def __init__(self, cache: Path, binds: Binds) -> None:
        super().__init__(Flavour("launcher"), cache, binds)

    def _configuration(self, root: str) -> dict[str, Any]:
        del root  # bubblewrap makes its own
        return {"paths": bound_paths(self._cache, self._binds)}

    def _advise(self, reason: str) -> str:
        return _advice(reason)

    def launch(self, argv: Sequence[str], fds: Sequence[int]) -> None:
        """Start one command. Raises `JobLostError` when the launcher is gone."""
        try:
            with self._lock:
                if self._closed:
                    raise JobLostError("the launcher was closed")
                socket.send_fds(self._control, [json.dumps({"argv": argv}).encode()], list(fds))
        except OSError as error:
            raise JobLostError(f"the launcher is gone: {error}") from error


def _advice(reason: str) -> str:
    return (
        f"the bwrap tier does not work here ({reason}). Install bubblewrap (apt install bubblewrap), and let it make "
        "user namespaces: on Ubuntu its own AppArmor profile does, in a container nothing may forbid them. "
        f"{UNPROTECTED}"
    )


class SingleUse:
    """One sandbox, started or starting, and the control socket to it."""

    def __init__(self, bwrap: str, shape: Shape, launcher: Launcher) -> None:
        self._launcher = launcher
        self._is_ready = False
        self._lock = threading.Lock()
        self._control, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        bound_sending(self._control)
        files = [memory_file(path, text.encode()) for path, text in files_of_etc().items()]
        try:
            with peer:
                launcher.launch(command(bwrap, shape), [peer.fileno(), *files])
        except BaseException:
            self._control.close()
            raise
        finally:
            for fd in files:
                os.close(fd)

    def submit(self, job: Job, fds: dict[str, int]) -> None:
        """Hand over a job, waiting for the sandbox if it is still starting. Raises `JobLostError` when it is gone."""
        try:
            with self._lock:
                self._await_ready()
                socket.send_fds(self._control, [request_of(job, fds)], list(fds.values()))
        except OSError as error:
            raise JobLostError(f"the sandbox is gone: {error}") from error

    def _await_ready(self) -> None:
        if self._is_ready:
            return
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        message = b""
        with contextlib.suppress(ConnectionResetError):
            if poll.poll(START_TIMEOUT_S * 1000):
                message = self._control.recv(MAX_MESSAGE_BYTES)
        if not message:
            raise JobLostError(_advice(f"a sandbox died while starting: {self._launcher.diagnostics()}"))
        self._is_ready = True

    def is_ready(self) -> bool:
        """Tell whether a job would start at once."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        return self._is_ready or bool(poll.poll(0))

    def is_alive(self) -> bool:
        """Tell whether the sandbox has not ended, nor is about to because its launcher has."""
        poll = select.poll()
        poll.register(self._control, 0)
        return self._launcher.is_alive() and not poll.poll(0)

    def close(self) -> None:
        """Let the launcher kill the sandbox, if it has not ended. May be called twice."""
        self._control.close()


class BwrapPool(ZygotePool):
    """The bwrap tier: a job runs in a sandbox of its shape that nobody used before."""

    tier: IsolationTier = "bwrap"

    def __init__(self, cache: Path, toolchains: Toolchains, n_ready: int, cpus: float = 0.0) -> None:
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise SandboxUnavailableError(_advice("bubblewrap is not installed"))
        super().__init__(cache, toolchains, cpus)
        self._bwrap = bwrap
        self._n_ready = n_ready
        self._lock = threading.Lock()
        self._ready: dict[Shape, deque[SingleUse]] = {}
        self._launchers: dict[Binds, Launcher] = {}

    def zygote_pids(self) -> dict[str, int]:
        """Return the process ids of the launchers, the parents of every sandbox."""
        live = [launcher.pid for launcher in self._launchers.values() if launcher.is_alive()]
        return {f"launcher-{number}": pid for number, pid in enumerate(live)}

    def _shape(self, job: Job) -> Shape:
        requirements = None if job.requirements is None else str(self._cache / job.requirements)
        flavour = FLAVOURS[job.flavour]
        return Shape(job.kind, flavour, job.limits.workspace_bytes, requirements, job.bare, self._binds(flavour))

    def _zygote(self, job: Job) -> SingleUse:
        """Return a sandbox for the job, and start another in its place before it is missed."""
        shape = self._shape(job)
        with self._lock:
            if self._closed:
                raise SandboxError("the sandbox is closed; make a new one")
            ready = self._ready.setdefault(shape, deque())
            while ready and not ready[0].is_alive():
                ready.popleft().close()
            if not ready:
                ready.append(self._launch(shape))
            if shape.for_parsing:
                return ready[0]
            sandbox = ready.popleft()
            n_ready = self._n_ready if shape.requirements is None else 0
            while len(ready) < n_ready:
                ready.append(self._launch(shape))
            return sandbox

    def _launch(self, shape: Shape) -> SingleUse:
        launcher = self._launchers.get(shape.binds)
        if launcher is None or not launcher.is_alive():
            if launcher is not None:
                launcher.close()
            launcher = self._launchers[shape.binds] = Launcher(self._cache, shape.binds)
        return SingleUse(self._bwrap, shape, launcher)

    def _release(self, job: Job, zygote: TakesJobs) -> None:
        if not job.bare:
            zygote.close()

    def _discard(self, job: Job, zygote: TakesJobs) -> None:
        """Let go of a sandbox that lost its job; `_zygote` passes over others that have died."""
        with self._lock:
            ready = self._ready.get(self._shape(job), deque())
            if isinstance(zygote, SingleUse) and zygote in ready:
                ready.remove(zygote)
        zygote.close()

    def close(self) -> None:
        """End every sandbox, and with them every job. May be called twice."""
        with self._lock:
            self._closed = True
            launchers = list(self._launchers.values())
            self._launchers.clear()
            for ready in self._ready.values():
                while ready:
                    ready.popleft().close()
        for launcher in launchers:
            launcher.close()
        super().close()
