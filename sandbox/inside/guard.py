"""The parent of one program: sees it end or ends it, and leaves no process of it behind.

For the tiers in which every job has a supervisor of its own: pid 1 of a bubblewrap sandbox, and the process outside a
landlock domain. It owns the clock, the memory and disk watches where the kernel counts neither, and the job's end of
the host's socket; it reports once, when everything that the program started is dead. Knows nothing of how the program
was confined (`single.py`, `fenced.py`).
"""

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sandbox.inside import watchdog
from sandbox.inside.zygote import answer

WATCH_INTERVAL_S = 0.05  # how often memory and files are looked at
WATCH_SHARE = 10  # a look that takes long is followed by a rest this many times as long
ERROR_BYTES = 4096
LOST = "lost"  # nobody is left to report to: who started the guard is gone, and the host will run the job again
SETUP_ERROR = b"!"  # what a program's process writes before the reason when it could not be set up


@dataclass(frozen=True)
class Duties:
    """What a guard watches over besides the clock, and how it ends what the program left."""

    limits: dict[str, Any]
    memory: Callable[[Collection[int]], int] | None  # returns the bytes of processes; None: a control group counts
    files: Callable[[], tuple[int, int]] | None  # returns (bytes, files) of the workspace; None: the kernel limits both
    kill_all: Callable[[int], None]  # kills the program, given its id, and all that it started


class Guard:
    """Watches one program. `lifeline` reads as ended when whoever started the guard is gone."""

    def __init__(self, duties: Duties, host: socket.socket, lifeline: int) -> None:
        self._duties = duties
        self._host = host
        self._lifeline = lifeline
        self._woken, waker = os.pipe()
        for fd in (self._woken, waker):
            os.set_blocking(fd, False)
        # A handler, so that the end of a child interrupts the wait; the byte says that it happened before one too.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._status: int | None = None
        self._own_peak_kib = 0
        self._peak_bytes = 0
        self._look_at = 0.0

    def forget(self) -> None:
        """In the program's process: let go of what belongs to the guard alone."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def watch(self, program: int, started: float) -> str:
        """Wait for the program or end it; return why it ended. `started` is of the monotonic clock."""
        deadline = started + self._duties.limits["time_s"]
        self._look_at = started + WATCH_INTERVAL_S
        poll = select.poll()
        for fd in (self._woken, self._host.fileno(), self._lifeline):
            poll.register(fd, select.POLLIN)
        while True:
            now = time.monotonic()
            ready = {fd for fd, _ in poll.poll(max(0.0, min(deadline, self._wake_at(deadline)) - now) * 1000 + 1)}
            self._reap(program, wait=False)
            why = "exit" if self._status is not None else self._why_end(ready, deadline)
            if why is not None:
                break
        self._duties.kill_all(program)
        self._reap(program, wait=True)
        return why

    def _wake_at(self, deadline: float) -> float:
        watches = self._duties.memory is not None or self._duties.files is not None
        return self._look_at if watches else deadline

    def _why_end(self, ready: set[int], deadline: float) -> str | None:
        if self._lifeline in ready:
            return LOST
        if self._host.fileno() in ready:
            return "cancelled"
        now = time.monotonic()
        if now >= deadline:
            return "time"
        if now < self._look_at:
            return None
        why = self._over_limit()
        spent = time.monotonic() - now
        self._look_at = now + max(WATCH_INTERVAL_S, WATCH_SHARE * spent)
        return why

    def _over_limit(self) -> str | None:
        limits = self._duties.limits
        if self._duties.memory is not None:
            own = os.getpid()
            used = self._duties.memory(watchdog.trees([own])[own] - {own})
            self._peak_bytes = max(self._peak_bytes, used)
            if used > limits["memory_bytes"]:
                return "memory"
        if self._duties.files is not None:
            n_bytes, n_files = self._duties.files()
            if n_bytes > limits["workspace_bytes"] or n_files > limits["n_files"]:
                return "disk"
        return None

    def _reap(self, program: int, *, wait: bool) -> None:
        """Collect children that ended, or all of them; orphans of the program are ours too."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, ERROR_BYTES)
        while True:
            try:
                pid, status, usage = os.wait3(0 if wait else os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == program:
                self._status = status
                self._own_peak_kib = usage.ru_maxrss

    def report(self, ended_by: str, wall_s: float, error_fd: int) -> None:
        """Tell the host how the job ended, or why it never began; a job that was lost ends in silence."""
        if ended_by == LOST:
            self._host.close()
            return
        reply: dict[str, Any] = {"ended_by": ended_by, "wall_s": wall_s}
        os.set_blocking(error_fd, False)
        try:
            error = os.read(error_fd, ERROR_BYTES)
        except BlockingIOError:
            error = b""
        if error.startswith(SETUP_ERROR):
            reply = {"error": error[1:].decode("utf-8", "replace")}
        else:
            code = os.waitstatus_to_exitcode(self._status or 0)
            peak = max(self._peak_bytes, self._own_peak_kib * 1024) if self._duties.memory is not None else 0
            reply |= {
                "exit_code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "peak_bytes": peak,
            }
        answer(self._host, reply)
