"""The private channel on which a test driver reports: one socket, held here at one end and as descriptor 3 by the job.

The first line that the job can read is the nonce which signs its reports. A report is kept the moment it arrives, so
a program can neither read nor change it afterwards. A tests' job may also call a program's job over it: those lines
are passed on, and the program's answers passed back as plain data.
"""

import contextlib
import json
import socket
import threading
from secrets import token_hex
from typing import Any, Self

from sandbox.inside import records

MAX_BYTES = 4 << 20  # of one job's reports, and of one line; a driver that says more is cut off, so it does not pass
READ_BYTES = 64 * 1024
NONCE_BYTES = 16
PASSED_ON = {"call"}  # events that are questions for the partner's job


class EventChannel(threading.Thread):
    """Collects what one job reports. Use as a context manager; `records` are complete once it is left.

    Attributes:
        job_end: the socket to hand to the job.
    """

    def __init__(self, partner: socket.socket | None = None) -> None:
        super().__init__(name="sandbox-events", daemon=True)
        self._host, self.job_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._partner = partner
        self._answers = b""
        self._nonce = token_hex(NONCE_BYTES)
        self._kept = bytearray()

    def __enter__(self) -> Self:
        self._host.sendall(f"{self._nonce}\n".encode())
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.job_end.close()
        for end in (self._host, self._partner):
            _hang_up(end)  # what has arrived can still be read; nobody waits for what has not
        self.join()
        self._host.close()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every report that carried the nonce, in order."""
        return records.parse(bytes(self._kept), self._nonce)

    def run(self) -> None:
        """Read lines until the job's last process has closed its end."""
        pending = b""
        while len(self._kept) + len(pending) <= MAX_BYTES:
            try:
                received = self._host.recv(READ_BYTES)
            except OSError:
                return
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                if not self._answer(line):
                    self._kept += line + b"\n"
        _hang_up(self._host)

    def _answer(self, line: bytes) -> bool:
        """Pass a question on to the partner and its answer back; return whether the line was one."""
        if self._partner is None:
            return False
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not (isinstance(record, dict) and record.get("event") in PASSED_ON and record.get("nonce") == self._nonce):
            return False
        del record["nonce"]
        try:
            self._partner.sendall(json.dumps(record).encode() + b"\n")
            answer = self._read_answer()
            self._host.sendall(answer + b"\n")
        except OSError:
            _hang_up(self._host)  # the tests are gone, or the program is: neither can go on
        return True

    def _read_answer(self) -> bytes:
        """Return the partner's next line; `null` when it has ended or said too much."""
        assert self._partner is not None  # noqa: S101 - the caller looked
        while b"\n" not in self._answers:
            received = self._partner.recv(READ_BYTES)
            if not received or len(self._answers) > MAX_BYTES:
                return b"null"
            self._answers += received
        line, _, self._answers = self._answers.partition(b"\n")
        return line


def _hang_up(end: socket.socket | None) -> None:
    """End both directions of a socket, whoever holds its other end; does nothing when it is closed."""
    if end is not None:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
