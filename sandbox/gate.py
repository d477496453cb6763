"""How many requests run and wait at once. First come is not promised; refusal at the limit is."""

import contextlib
import threading
from collections.abc import Iterator

from sandbox.errors import ExecutionCancelledError, SandboxBusyError

CANCEL_POLL_S = 0.04


class Gate:
    """A bounded number of places and a bounded number of waiting threads."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._n_running = 0
        self._n_waiting = 0

    @contextlib.contextmanager
    def enter(self, cancelled: threading.Event | None) -> Iterator[None]:
        """Hold a place while the block runs.

        Raises:
            SandboxBusyError: at once, when every place and every waiting place is taken.
            ExecutionCancelledError: the event was set while waiting.
        """
        with self._changed:
            self._take_place(cancelled)
        try:
            yield
        finally:
            with self._changed:
                self._n_running -= 1
                self._changed.notify()

    def _take_place(self, cancelled: threading.Event | None) -> None:
        if cancelled is not None and cancelled.is_set():
            raise ExecutionCancelledError("the execution was cancelled before it started")
        if self._n_running >= self._max_running:
            if self._n_waiting >= self._max_waiting:
                raise SandboxBusyError(
                    f"{self._n_running} programs run and {self._n_waiting} wait, which is the limit; try again later"
                )
            self._n_waiting += 1
            try:
                while self._n_running >= self._max_running:
                    self._changed.wait(None if cancelled is None else CANCEL_POLL_S)
                    if cancelled is not None and cancelled.is_set():
                        self._changed.notify()  # pass on a wake-up that we may have taken
                        raise ExecutionCancelledError("the execution was cancelled while it waited")
            finally:
                self._n_waiting -= 1
        self._n_running += 1

    def counts(self) -> tuple[int, int]:
        """Return (running, waiting)."""
        with self._changed:
            return self._n_running, self._n_waiting
