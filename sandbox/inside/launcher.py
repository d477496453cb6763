"""Starts bubblewrap sandboxes on request and buries them; the one parent of them all, so they die with it.

As root it first gives up root for good, in a mount namespace where the unprivileged id can reach what must be bound
(`reach.py`). Each request carries a command line and the descriptors that become 3, 4, ... of it; the first is the
sandbox's control socket, of which a copy stays here: when its other end is closed, the sandbox is killed.
"""

import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from sandbox.inside import job, reach, single, syscalls
from sandbox.inside.template import NOBODY

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 8
FIRST_FD = single.CONTROL_FD
_OUT_OF_THE_WAY = 64  # descriptors are moved here before they are put in their places
EXEC_FAILED = 127


class Launcher:
    """The event loop. One instance per process, for its whole life."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._by_pid_fd: dict[int, tuple[int, int]] = {}  # -> pid, copy of its control socket
        self._by_copy: dict[int, int] = {}  # -> pid

    def serve(self) -> NoReturn:
        """Serve until the host goes away, and every sandbox with it."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._control.fileno():
                    self._accept()
                elif fd in self._by_pid_fd:
                    self._bury(fd)
                elif fd in self._by_copy:
                    self._poll.unregister(fd)
                    os.kill(self._by_copy.pop(fd), signal.SIGKILL)  # not yet waited for: the id is still its own

    def _accept(self) -> None:
        message, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, MAX_FDS)
        if not message:
            for pid, _ in self._by_pid_fd.values():
                os.kill(pid, signal.SIGKILL)
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            _execute(json.loads(message)["argv"], fds)
        copy, *others = fds
        for fd in others:
            os.close(fd)
        pid_fd = os.pidfd_open(pid)
        self._by_pid_fd[pid_fd] = pid, copy
        self._by_copy[copy] = pid
        self._poll.register(pid_fd, select.POLLIN)
        self._poll.register(copy, 0)  # asks for nothing, so it tells of a hang-up only

    def _bury(self, pid_fd: int) -> None:
        pid, copy = self._by_pid_fd.pop(pid_fd)
        self._poll.unregister(pid_fd)
        if self._by_copy.pop(copy, None) is not None:
            self._poll.unregister(copy)
        os.waitpid(pid, 0)
        os.close(pid_fd)
        os.close(copy)


def _execute(argv: list[str], fds: list[int]) -> NoReturn:
    """Become the command, with these descriptors from 3 on and no others."""
    try:
        moved: list[int] = []
        for fd in fds:
            os.dup2(fd, _OUT_OF_THE_WAY + len(moved), inheritable=False)
            moved.append(_OUT_OF_THE_WAY + len(moved))
        for number, fd in enumerate(moved, FIRST_FD):
            os.dup2(fd, number, inheritable=True)
        syscalls.close_from(FIRST_FD + len(fds))
        os.execve(argv[0], argv, {})  # noqa: S606 - no shell is what we want
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(EXEC_FAILED)


def main(config: dict[str, Any]) -> NoReturn:
    """Give up root, say so, and serve. Never returns."""
    control = socket.socket(fileno=config["control_fd"])
    job.load_harnesses()  # compiled here once, where that can be kept: a sandbox cannot write what it compiles
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if os.getuid() == 0:
            reach.reveal(config["paths"])
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        os._exit(1)
    os.chdir("/")
    control.send(b'{"ready": true}')
    Launcher(control).serve()
