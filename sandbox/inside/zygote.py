"""The warm process that starts every job: waits for requests, forks a job into fresh namespaces, reports its end.

Single-threaded, pid 1 of the template's pid namespace, started by `sandbox/pool.py`, which owns the other end of the
control socket. When that end closes, however its owner died, the zygote exits and the kernel ends every job with it.
Per job it holds a private socket to the host: the job's end is reported there, and closing it kills the job.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sandbox.inside import job, seccomp, syscalls, template, watchdog
from sandbox.inside.inits import Init, Inits

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 12
WATCH_INTERVAL_S = 0.05  # how often memory is polled when no cgroup does it
IDLE_POLL_S = 60.0  # never wait for ever: a lost event must not hang the service


@dataclass
class Running:
    """One job in flight, as the zygote sees it."""

    pid: int
    pid_fd: int
    init: Init | None  # of its pid namespace; None: it has no namespaces
    host: socket.socket
    status_fd: int
    started: float
    deadline: float
    memory_bytes: int  # 0: a cgroup counts
    peak_bytes: int = 0
    ended_by: str = "exit"
    ending: dict[str, Any] = field(default_factory=dict)  # how the program ended, once it has

    def kill(self) -> None:
        """Kill it, and all that it started."""
        if self.init is not None:
            self.init.kill()
        elif not self.ending:
            signal.pidfd_send_signal(self.pid_fd, signal.SIGKILL)


class Zygote:
    """The event loop. One instance per process, for its whole life."""

    def __init__(self, control: socket.socket, inits: Inits) -> None:
        self._control = control
        self._inits = inits
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(inits.maker_fd, select.POLLIN)
        self._by_pid_fd: dict[int, Running] = {}
        self._by_host_fd: dict[int, Running] = {}
        self._filter = seccomp.assemble()
        syscalls.lay_out_filter(self._filter)  # here, not in every job

    def serve(self) -> NoReturn:
        """Serve until the host goes away."""
        while True:
            for fd, _ in self._poll.poll(self._wait_ms()):
                if fd == self._control.fileno():
                    self._accept()
                elif fd == self._inits.maker_fd:
                    os._exit(1)
                elif fd in self._by_pid_fd:
                    self._note_end(self._by_pid_fd[fd], fd)
                elif fd in self._by_host_fd:
                    self._kill(self._by_host_fd[fd], "cancelled")
            self._enforce()

    def _wait_ms(self) -> float:
        if not self._by_pid_fd:
            return IDLE_POLL_S * 1000
        now = time.monotonic()
        wait = min(running.deadline for running in self._by_pid_fd.values()) - now
        if any(running.memory_bytes for running in self._by_pid_fd.values()):
            wait = min(wait, WATCH_INTERVAL_S)
        return max(0.0, wait) * 1000 + 1

    def _accept(self) -> None:
        message, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, MAX_FDS)
        if not message:
            os._exit(0)
        request = json.loads(message)
        named = dict(zip(request["fds"], fds, strict=True))
        host = socket.socket(fileno=named.pop("host"))
        status_read, status_write = os.pipe()
        started = time.monotonic()
        try:
            init = None if request["bare"] else self._inits.take()
            pid = os.fork() if init is None else self._inits.fork(init)
        except OSError as error:
            answer(host, {"error": f"starting a job: {error}"})
            for fd in (*named.values(), status_read, status_write):
                os.close(fd)
            return
        if pid == 0:
            host.close()
            job.start(request, named, status_write, self._filter)
        for fd in (*named.values(), status_write):
            os.close(fd)
        limits = request["limits"]
        running = Running(
            pid=pid,
            pid_fd=os.pidfd_open(pid),
            init=init,
            host=host,
            status_fd=status_read,
            started=started,
            deadline=started + limits["time_s"],
            memory_bytes=0 if "cgroup" in named or request["bare"] else limits["memory_bytes"],
        )
        self._by_pid_fd[running.pid_fd] = running
        self._by_host_fd[host.fileno()] = running
        self._poll.register(running.pid_fd, select.POLLIN)
        self._poll.register(host, select.POLLIN)

    def _kill(self, running: Running, why: str) -> None:
        """Kill a job now; its end is reported when the kernel has taken all of it apart."""
        if running.ended_by == "exit" and not running.ending:
            running.ended_by = why
        running.deadline = time.monotonic() + IDLE_POLL_S
        running.kill()
        if self._by_host_fd.pop(running.host.fileno(), None) is not None:
            self._poll.unregister(running.host)

    def _enforce(self) -> None:
        now = time.monotonic()
        watched: dict[int, Running] = {}
        for running in list(self._by_pid_fd.values()):
            if running.deadline <= now:
                self._kill(running, "time")
            elif running.memory_bytes and not running.ending:
                watched[running.pid] = running
        if not watched:
            return
        for pid, used_bytes in _memory(watched.values()).items():
            running = watched[pid]
            running.peak_bytes = max(running.peak_bytes, used_bytes)
            if used_bytes > running.memory_bytes:
                self._kill(running, "memory")

    def _note_end(self, running: Running, fd: int) -> None:
        """Note that the program has ended, and take down its namespace; or that this is done, and report."""
        self._poll.unregister(fd)
        del self._by_pid_fd[fd]
        os.close(fd)
        if running.ending:
            self._report(running)
            return
        _, status, usage = os.wait4(running.pid, 0)
        running.ending = _ending(os.read(running.status_fd, MAX_MESSAGE_BYTES), status)
        os.close(running.status_fd)
        if running.memory_bytes:
            running.peak_bytes = max(running.peak_bytes, usage.ru_maxrss * 1024)
        if running.init is None:
            self._report(running)
        else:
            self._by_pid_fd[running.init.pid_fd] = running
            self._poll.register(running.init.pid_fd, select.POLLIN)
            running.kill()

    def _report(self, running: Running) -> None:
        if self._by_host_fd.pop(running.host.fileno(), None) is not None:
            self._poll.unregister(running.host)
        reply = {
            "ended_by": running.ended_by,
            "wall_s": time.monotonic() - running.started,
            "peak_bytes": running.peak_bytes,
            **running.ending,
        }
        answer(running.host, reply)


def _memory(watched: Iterable[Running]) -> dict[int, int]:
    """Return the bytes of each program and all that it started, by its pid: orphans are children of its init."""
    inits = {running.pid: running.init.pid for running in watched if running.init is not None}
    trees = watchdog.trees([*inits, *inits.values()])
    totals = {}
    for pid, init in inits.items():
        its = (trees[pid] | trees[init]) - {init}
        totals[pid] = sum(map(watchdog.process_memory, its)) + watchdog.socket_memory(pid)
    return totals


def answer(host: socket.socket, reply: dict[str, Any]) -> None:
    """Send the one reply about a job and hang up."""
    with host, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the host no longer waits
        host.send(json.dumps(reply).encode())


def _ending(message: bytes, status: int) -> dict[str, Any]:
    """Turn what the job wrote while it was set up, or the way it ended, into the fields of a reply."""
    if message:
        return {"error": message.decode("utf-8", "replace")}
    code = os.waitstatus_to_exitcode(status)
    return {"exit_code": code if code >= 0 else None, "signal": -code if code < 0 else None}


def warm(modules: list[str], hooks: list[str]) -> None:
    """Import what jobs are likely to import, and run the harness's own warm-up."""
    for name in modules:
        importlib.import_module(name)
    for name in hooks:
        module, _, function = name.partition(":")
        getattr(importlib.import_module(module), function)()


def main(config: dict[str, Any]) -> NoReturn:
    """Enter the template, warm up, say so, and serve. Never returns."""
    control = socket.socket(fileno=config["control_fd"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job.load_harnesses()
    try:
        syscalls.machine()
        template.enter(template.TemplateConfig(**config["template"]), control.fileno())
        inits = Inits()
    except (template.SetupError, OSError) as error:
        control.send(json.dumps({"error": str(error)}).encode())
        os._exit(1)
    sys.path[:] = [path for path in sys.path if path != config["source_root"]]
    job.remember_path()
    sys.path.append(template.HARNESS)
    sys.dont_write_bytecode = True
    warm(config["warm"], config["hooks"])
    job.look_fresh()
    zygote = Zygote(control, inits)
    gc.collect()
    gc.freeze()  # fewer pages are copied when a job touches the collector
    control.send(b'{"ready": true}')
    zygote.serve()
