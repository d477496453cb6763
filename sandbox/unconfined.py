"""The `none` tier: a plain subprocess with rlimits and a clean environment. It protects nothing.

For programs that the operator trusts, on machines without namespaces, and only when CINQUE_SANDBOX_ISOLATION=none was
set. The same harnesses run in it, so results have the same form; they say `isolation: none`.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox import leftovers
from sandbox.errors import ExecutionCancelledError, SandboxError
from sandbox.flavours import FLAVOURS, interpreter, package_paths
from sandbox.jobs import Channels, Job, JobLostError, JobSetupError, Outcome, with_host_paths
from sandbox.toolchains import Toolchains
from sandbox.types import IsolationTier

POLL_S = 0.02
_BOOTSTRAP = (
    "import json,sys;c=json.loads(sys.argv.pop());sys.path.insert(0,c['source_root']);"
    "from sandbox.inside import bare;bare.main(c)"
)


class UnconfinedRunner:
    """Runs every job in a subprocess of its own. Thread-safe."""

    tier: IsolationTier = "none"
    refused: tuple[str, ...] = ()
    memory_control = "rlimit"

    def __init__(self, cache: Path, toolchains: Toolchains) -> None:
        self._cache = cache
        self._toolchains = toolchains
        self._closed = threading.Event()

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run one job to its end. Raises `ExecutionCancelledError` when the event was set, else `SandboxError`."""
        if self._closed.is_set():
            raise SandboxError("the sandbox is closed; make a new one")
        if job.flavour == "tools":
            job = with_host_paths(job, self._toolchains.binds())
        folder = tempfile.mkdtemp(prefix=leftovers.prefix("job"))
        try:
            with Channels(job) as channels:
                process = self._spawn(job, channels, folder)
                supervisor = threading.Thread(target=self._supervise, args=(job, process, channels.peer()))
                supervisor.start()
                channels.started()
                try:
                    outcome = channels.collect(cancelled)
                finally:
                    channels.host.close()
                    supervisor.join()
        except (JobLostError, JobSetupError) as error:
            raise SandboxError(f"a job could not be run: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # a program may have made folders that cannot be removed
        if outcome.ended_by == "cancelled" and not job.is_partner:
            raise ExecutionCancelledError("the execution was cancelled; its program was killed")
        return outcome

    def _spawn(self, job: Job, channels: Channels, folder: str) -> "subprocess.Popen[bytes]":
        work = Path(folder, "work")
        work.mkdir()
        flavour = FLAVOURS[job.flavour]
        fds = {name: fd for name, fd in channels.fds.items() if name != "host"}
        config: dict[str, Any] = {
            "source_root": str(Path(__file__).resolve().parents[1]),
            "fds": fds,
            "kind": job.kind,
            "limits": asdict(job.limits),
            "folder": folder,
            "packages": sorted({str(Path(path).parent) for path in package_paths(flavour.distributions)}),
            "hooks": flavour.hooks,
            "requirements": str(self._cache / job.requirements) if job.requirements else None,
        }
        return subprocess.Popen(
            [interpreter()[0], "-I", "-S", "-X", "utf8", "-c", _BOOTSTRAP, json.dumps(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=tuple(fds.values()),
            env={},
            cwd=work,
            start_new_session=True,
        )

    def _supervise(self, job: Job, process: "subprocess.Popen[bytes]", peer: socket.socket) -> None:
        """Wait for the program, its deadline, or a word from the host; then kill its group and report."""
        started = time.monotonic()
        ended_by = "exit"
        poll = select.poll()
        poll.register(peer, select.POLLIN)
        while process.poll() is None:
            if time.monotonic() - started > job.limits.time_s:
                ended_by = "time"
            elif self._closed.is_set() or poll.poll(POLL_S * 1000):
                ended_by = "cancelled"
            if ended_by != "exit":
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        reply = {
            "ended_by": ended_by,
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "wall_s": time.monotonic() - started,
            "peak_bytes": 0,
        }
        with peer, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.send(json.dumps(reply).encode())

    def close(self) -> None:
        """Kill every running program. May be called twice."""
        self._closed.set()
