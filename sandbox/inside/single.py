"""Pid 1 of a bubblewrap sandbox: warms up, waits for one job, watches it, and ends the sandbox with it.

Started by `launcher.py` inside walls that bubblewrap has built; the root, the namespaces and the sizes are its doing.
Here the program gets its limits and its filter. A sandbox for parsing, where nothing is executed, serves many.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Collection
from typing import Any, NoReturn

from sandbox.inside import guarded, job, seccomp, syscalls, template, watchdog, zygote
from sandbox.inside.guard import Duties

CONTROL_FD = 3
MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 12


def main(config: dict[str, Any]) -> NoReturn:
    """Serve this sandbox's job; never returns."""
    control = socket.socket(fileno=CONTROL_FD)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # parsers that ended need nobody to wait for them
    syscalls.machine()
    job.load_harnesses(config["kinds"])
    sys.path[:] = [path for path in sys.path if path != config["source_root"]]
    job.remember_path()
    sys.path.append(template.HARNESS)
    zygote.warm(config["warm"], config["hooks"])
    gc.collect()
    gc.freeze()
    bpf = seccomp.assemble()
    control.send(b'{"ready": true}')
    while True:
        message, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, MAX_FDS)
        if not message:
            os._exit(0)
        request = json.loads(message)
        named = dict(zip(request["fds"], fds, strict=True))
        if request["bare"] and os.fork():
            for fd in fds:
                os.close(fd)
            continue
        guarded.run(request, named, control.fileno(), _confinement(request, named, bpf))
        os._exit(0)


def _confinement(request: dict[str, Any], fds: dict[str, int], bpf: bytes) -> guarded.Confinement:
    bare = request["bare"]
    duties = Duties(
        limits=request["limits"],
        memory=None if bare or "cgroup" in fds else _memory,
        files=None if bare else _files,
        kill_all=_kill_one if bare else _kill_everything,
    )

    def withdraw() -> bytes:
        syscalls.drop_capabilities()
        return bpf

    return guarded.Confinement(duties, lambda: bpf, withdraw, lambda: None, request["limits"]["n_processes"])


def _memory(pids: Collection[int]) -> int:
    """Return the bytes of processes of this sandbox, and of its sockets, which no process needs to hold open."""
    own = os.getpid()
    return sum(map(watchdog.process_memory, pids)) + watchdog.socket_memory(own) + watchdog.tcp_memory(own)


def _files() -> tuple[int, int]:
    """Return the files of the job's tmpfs, whose size the kernel limits but whose number bubblewrap cannot."""
    found = os.statvfs(template.BOX)
    return 0, found.f_files - found.f_ffree


def _kill_one(program: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(program, signal.SIGKILL)


def _kill_everything(_: int) -> None:
    if os.getpid() != 1:
        raise RuntimeError("not the first process of a pid namespace: refusing to kill everything")
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
