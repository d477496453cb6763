"""How many requests run and wait at once: first come, first served, and refusal at the limit."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from sandbox.errors import ExecutionCancelledError, SandboxBusyError

CANCEL_POLL_S = 0.04


class Gate:
    """A bounded number of places and a bounded number of waiting threads."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._n_running = 0
        self._queue: deque[threading.Event] = deque()  # one a waiting thread; set when a place is passed on to it

    @contextlib.contextmanager
    def enter(self, cancelled: threading.Event | None) -> Iterator[None]:
        """Hold a place while the block runs; who came first is served first.

        Raises:
            SandboxBusyError: at once, when every place and every waiting place is taken.
            ExecutionCancelledError: the event was set while waiting.
        """
        if cancelled is not None and cancelled.is_set():
            raise ExecutionCancelledError("the execution was cancelled before it started")
        turn = self._take_place()
        if turn is not None:
            self._await(turn, cancelled)
        try:
            yield
        finally:
            self._pass_on()

    def _take_place(self) -> threading.Event | None:
        """Take a free place, or else a place in the queue: the event that is set when a place was passed on to us."""
        with self._lock:
            if self._n_running < self._max_running:
                self._n_running += 1
                return None
            if len(self._queue) >= self._max_waiting:
                raise SandboxBusyError(
                    f"{self._n_running} programs run and {len(self._queue)} wait, which is the limit; try again later"
                )
            turn = threading.Event()
            self._queue.append(turn)
            return turn

    def _await(self, turn: threading.Event, cancelled: threading.Event | None) -> None:
        try:
            while not turn.wait(None if cancelled is None else CANCEL_POLL_S):
                if cancelled is not None and cancelled.is_set():
                    raise ExecutionCancelledError("the execution was cancelled while it waited")  # noqa: TRY301 - its place in the queue is given up below
        except BaseException:
            with self._lock:
                is_queued = turn in self._queue
                if is_queued:
                    self._queue.remove(turn)
            if not is_queued:  # a place was passed on to us meanwhile
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Give our place to the first in the queue, or leave it free."""
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._n_running -= 1

    def counts(self) -> tuple[int, int]:
        """Return (running, waiting)."""
        with self._lock:
            return self._n_running, len(self._queue)
