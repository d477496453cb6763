"""One job as the host sees it: what to run, the channels to it, and what came back.

A job is anything that runs behind the wall: a program, its tests, a parse, a rating. Its output comes through pipes
that are always drained, its results through shared memory that survives a kill. Knows nothing of languages, and
nothing of how a job is started (`pool.py`, `unconfined.py`).
"""

import contextlib
import json
import os
import secrets
import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, TypeVar

from sandbox.errors import LostJobError
from sandbox.inside import records, template
from sandbox.types import Limits

ResultT = TypeVar("ResultT")
EndedBy = Literal["exit", "time", "memory", "output", "disk", "cancelled"]

N_ATTEMPTS = 3  # of a job whose zygote dies under it, or while it starts: the next one may die by the same cause
TAIL_BYTES = 64 * 1024  # kept of each stream: 4000 characters of at most 4 bytes, with room
READ_BYTES = 256 * 1024
CANCEL_POLL_S = (
    0.02  # how often a waiting thread looks at the caller's event; the promise is 100 ms, on a busy machine too
)
MEMORY_POLL_S = 0.2  # how often a running job is asked about whether its memory group had to kill
GRACE_S = 5.0  # how long past its deadline the zygote may be silent before it counts as dead
NONCE_BYTES = 16
_RESULT_CHUNK = 8 * 1024
_HANDED_OVER = ("payload", "stdin", "stdout", "stderr", "events")  # ends that only the job holds once it runs


@dataclass(frozen=True)
class Job:
    """What to run behind the wall. `arguments` are plain data for the harness of this `kind`."""

    kind: str
    flavour: str
    arguments: dict[str, Any]
    limits: Limits
    stdin: bytes = b""
    bare: bool = False  # parse only: no namespaces of its own
    requirements: str | None = None  # name of an installed set
    remote: socket.socket | None = None  # channel to a partner job
    is_partner: bool = False  # ended by its partner: being killed is an outcome, not a cancellation
    artefact: bytes | None = None  # of a command: what a build made; of a build: b"", to be filled; else None
    has_events: bool = False  # descriptor 3 is a channel for events of the program's own


def with_host_paths(job: Job, binds: Iterable[tuple[str, str]]) -> Job:
    """Return a job of tools with the paths that toolchains have here, for a tier that cannot bind them elsewhere."""
    here = {inside: path for path, inside in binds}
    environment = {name: here.get(value, value) for name, value in job.arguments["environment"].items()}
    return replace(job, arguments={**job.arguments, "environment": environment})


@dataclass(frozen=True)
class Outcome:
    """How a job ended. Tails hold the last TAIL_BYTES of each stream."""

    ended_by: EndedBy
    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    records: list[dict[str, Any]]
    wall_s: float
    peak_bytes: int | None
    artefact: bytes = b""  # what a build made
    events: bytes = b""  # what was written to the channel for events, its first records.CAPACITY_BYTES

    def find(self, event: str) -> dict[str, Any] | None:
        """Return the first record of this kind."""
        return next((record for record in self.records if record["event"] == event), None)


class JobLostError(Exception):
    """Raised when whoever ran the job went away without saying how it ended."""


class JobSetupError(Exception):
    """Raised when the job could not be started; the message is the zygote's."""


def repeated(run: Callable[[], ResultT]) -> ResultT:
    """Run jobs of which none can be repeated without the other; all of them again when one was lost.

    Raises:
        LostJobError: whoever ran one of them died N_ATTEMPTS times.
    """
    for _ in range(1, N_ATTEMPTS):
        with contextlib.suppress(LostJobError):
            return run()
    return run()


def memory_file(name: str, content: bytes = b"") -> int:
    """Return a descriptor of an anonymous file that holds the content, positioned at its start."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@dataclass
class _Stream:
    fd: int
    tail: bytearray = field(default_factory=bytearray)
    keeps_head: bool = False

    def take(self) -> int:
        """Read what is there; return its size, 0 at the end."""
        content = os.read(self.fd, READ_BYTES)
        if self.keeps_head:
            self.tail += content[: max(0, records.CAPACITY_BYTES - len(self.tail))]
            return len(content)
        self.tail += content
        if len(self.tail) > 2 * TAIL_BYTES:
            del self.tail[:-TAIL_BYTES]
        return len(content)


class Channels:
    """The descriptors of one job, both ends. Use as a context manager; leaving it closes all that is still open."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._nonce = secrets.token_hex(NONCE_BYTES)
        self._open: set[int] = set()
        self.host, self._peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._open_all(job)
        except BaseException:  # too many open files: those that there are already must not stay
            self.__exit__()
            raise

    def _open_all(self, job: Job) -> None:
        payload = self._own(memory_file("payload", json.dumps({**job.arguments, "nonce": self._nonce}).encode()))
        result = self._own(memory_file("result"))
        os.ftruncate(result, records.CAPACITY_BYTES)
        stdin = self._own(memory_file("stdin", job.stdin))
        stdout, stdout_write = (self._own(fd) for fd in os.pipe())
        stderr, stderr_write = (self._own(fd) for fd in os.pipe())
        if os.geteuid() == 0:  # else a program, which is not root, could not open /dev/stdout and /dev/stderr
            for fd in (stdout, stderr):
                os.fchown(fd, template.NOBODY, template.NOBODY)
        self._result = result
        self._streams = (_Stream(stdout), _Stream(stderr))
        self.fds = {
            "payload": payload,
            "result": result,
            "stdin": stdin,
            "stdout": stdout_write,
            "stderr": stderr_write,
            "host": self._peer.fileno(),
        }
        if job.remote is not None:
            self.fds["remote"] = job.remote.fileno()
        self._events: _Stream | None = None
        if job.has_events:
            events, self.fds["events"] = (self._own(fd) for fd in os.pipe())
            self._events = _Stream(events, keeps_head=True)
        if job.artefact is not None:
            self.fds["artefact"] = self._own(memory_file("artefact", job.artefact))

    def _own(self, fd: int) -> int:
        self._open.add(fd)
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()
        self.host.close()
        self._peer.close()

    def peer(self) -> socket.socket:
        """Return a duplicate of the job's end of the control socket, for a supervisor on this side."""
        return self._peer.dup()

    def started(self) -> None:
        """Close the ends that the job now holds."""
        for fd in [self.fds[name] for name in _HANDED_OVER if name in self.fds]:
            self._open.discard(fd)
            os.close(fd)
        self._peer.close()
        if self._job.remote is not None:
            self._job.remote.close()  # else its partner would not hear the job end

    def collect(self, cancelled: threading.Event | None, over_memory: Callable[[], bool] | None = None) -> Outcome:
        """Drain the job until it has ended.

        The job is killed when `cancelled` is set, when it wrote too much, or when `over_memory` says so.
        Raises `JobLostError` or `JobSetupError`.
        """
        reply, killed_for = self._pump(cancelled, over_memory)
        if "error" in reply:
            raise JobSetupError(reply["error"])
        ended_by = reply["ended_by"]
        return Outcome(
            ended_by=killed_for if killed_for is not None and ended_by == "cancelled" else ended_by,
            exit_code=reply["exit_code"],
            signal=reply["signal"],
            stdout=bytes(self._streams[0].tail[-TAIL_BYTES:]),
            stderr=bytes(self._streams[1].tail[-TAIL_BYTES:]),
            records=records.parse(self._read_result(), self._nonce),
            wall_s=reply["wall_s"],
            peak_bytes=reply["peak_bytes"] or None,
            artefact=self._read_artefact(),
            events=b"" if self._events is None else bytes(self._events.tail),
        )

    def _pump(
        self, cancelled: threading.Event | None, over_memory: Callable[[], bool] | None
    ) -> tuple[dict[str, Any], EndedBy | None]:
        """Move bytes until the reply is here and both streams have ended; return it, and why we killed the job."""
        poll = select.poll()
        streams = {stream.fd: stream for stream in (*self._streams, self._events) if stream is not None}
        for fd in (*streams, self.host.fileno()):
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + self._job.limits.time_s + GRACE_S
        look_at_s = CANCEL_POLL_S if cancelled is not None else MEMORY_POLL_S
        reply: dict[str, Any] | None = None
        n_bytes = 0
        killed_for: EndedBy | None = None
        while streams or reply is None:
            ready = poll.poll(look_at_s * 1000)
            for fd, _ in ready:
                if fd == self.host.fileno():
                    reply = self._read_reply()
                    poll.unregister(fd)
                    continue
                n_read = streams[fd].take()
                n_bytes += n_read
                if n_read == 0:
                    poll.unregister(fd)
                    del streams[fd]
            if killed_for is None:
                killed_for = self._why_kill(n_bytes, cancelled, over_memory if not ready else None)
            if time.monotonic() > deadline:
                raise JobLostError("the job's end was not reported in time")
        return reply, killed_for

    def _why_kill(
        self, n_bytes: int, cancelled: threading.Event | None, over_memory: Callable[[], bool] | None
    ) -> EndedBy | None:
        """Return why the job must end now, after asking for it; None while it may go on."""
        why: EndedBy | None = None
        if cancelled is not None and cancelled.is_set():
            why = "cancelled"
        elif n_bytes > self._job.limits.output_bytes:
            why = "output"
        elif over_memory is not None and over_memory():
            why = "memory"
        if why is not None:
            self._ask_to_kill()
        return why

    def _ask_to_kill(self) -> None:
        # Hanging up one way is the request: a message that nobody read would reset the reply away.
        with contextlib.suppress(OSError):  # it has just ended by itself
            self.host.shutdown(socket.SHUT_WR)

    def _read_reply(self) -> dict[str, Any]:
        try:
            message = self.host.recv(READ_BYTES)
        except ConnectionResetError:
            message = b""
        if not message:
            raise JobLostError("the process that ran the job went away")
        reply: dict[str, Any] = json.loads(message)
        return reply

    def _read_artefact(self) -> bytes:
        """Return what a build left in its channel; its size is bounded by the job's limit on files."""
        if self._job.kind != "build":
            return b""
        fd = self.fds["artefact"]
        os.lseek(fd, 0, os.SEEK_SET)
        with open(fd, "rb", closefd=False) as file:
            return file.read(self._job.limits.workspace_bytes)

    def _read_result(self) -> bytes:
        found = bytearray()
        while len(found) < records.CAPACITY_BYTES:
            chunk = os.pread(self._result, _RESULT_CHUNK, len(found))
            found += chunk
            if not chunk or chunk[-1] == 0:
                break
        return bytes(found)
