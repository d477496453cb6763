"""Pid namespaces with an init each, made ahead for the zygote by a small process beside it.

An init does two things: its end is the end of everything in its namespace, and it reaps orphans. Neither needs code, so
ours is a task that sleeps in libc's `pause` for all its life, ignores SIGCHLD, by which the kernel reaps for it, and
shares the memory of the process that makes inits. A copy of the zygote in its place took a fifth of a job's time. The
maker is forked before anything is imported, holds nothing of any job, and cannot be looked at from inside.
"""

import contextlib
import mmap
import os
import signal
import socket
import struct
from dataclasses import dataclass
from typing import NoReturn

from sandbox.inside import syscalls

N_READY = 4  # made ahead of need
STACK_BYTES = 1 << 16  # all inits have the same one: none of them ever returns to it
OWN_NAMESPACE = "/proc/self/ns/pid"
NEXT_NAMESPACE = "/proc/self/ns/pid_for_children"
_PID = struct.Struct("<i")
_MAX_ERROR_BYTES = 1024


@dataclass(frozen=True)
class Init:
    """The first process of a pid namespace."""

    pid: int
    pid_fd: int
    namespace_fd: int

    def kill(self) -> None:
        """End it, and with it everything in its namespace."""
        with contextlib.suppress(ProcessLookupError):  # it has ended, and nobody waits for it
            signal.pidfd_send_signal(self.pid_fd, signal.SIGKILL)


class Inits:
    """Those that are ready. Used by the zygote alone, which ends when the maker does: see `maker_fd`."""

    def __init__(self) -> None:
        """Start the maker; the caller is single-threaded."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._own = os.open(OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.dup2(theirs.fileno(), 0)
            syscalls.close_from(1)
            _make()
        theirs.close()
        self.maker_fd = os.pidfd_open(pid)  # readable when it has died
        for _ in range(N_READY):
            self._order()

    def take(self) -> Init:
        """Give one, and have another made. Raises `OSError` when the kernel has refused to."""
        message, fds, _, _ = socket.recv_fds(self._socket, _MAX_ERROR_BYTES, 2)
        self._order()
        if len(fds) != 2:  # noqa: PLR2004 - those of an init
            raise OSError(f"making a pid namespace: {message.decode('utf-8', 'replace') or 'its maker has died'}")
        return Init(*_PID.unpack(message), *fds)

    def fork(self, init: Init) -> int:
        """Fork into the namespace of an init; 0 in the new process, its pid here.

        Raises `OSError`; the init is gone then.
        """
        pid = -1
        try:
            syscalls.enter_pid_namespace(init.namespace_fd)
            pid = os.fork()
        finally:
            if pid:
                syscalls.enter_pid_namespace(self._own)
                os.close(init.namespace_fd)
            if pid < 0:
                init.kill()
                os.close(init.pid_fd)
        return pid

    def _order(self) -> None:
        self._socket.send(b"1")


def _make() -> NoReturn:
    """Make an init for every message on descriptor 0, until its other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ours, and as it is inherited every init's: nobody is waited for
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    own = os.open(OWN_NAMESPACE, os.O_RDONLY)
    stack = mmap.mmap(-1, STACK_BYTES)
    with socket.socket(fileno=0) as orders:
        while orders.recv(1):
            try:
                pid, *fds = _make_one(own, stack)
            except OSError as error:
                orders.send(str(error).encode()[:_MAX_ERROR_BYTES])
                continue
            socket.send_fds(orders, [_PID.pack(pid)], fds)
            for fd in fds:
                os.close(fd)
    os._exit(0)


def _make_one(own: int, stack: mmap.mmap) -> tuple[int, int, int]:
    """Return pid, a descriptor of the process and one of the namespace."""
    syscalls.unshare(syscalls.CLONE_NEWPID)
    try:
        pid = syscalls.start_pausing(stack)
        os.setpgid(pid, pid)  # a group for the job, whose own process then need not lead one
        return pid, os.pidfd_open(pid), os.open(NEXT_NAMESPACE, os.O_RDONLY)
    finally:
        syscalls.enter_pid_namespace(own)
