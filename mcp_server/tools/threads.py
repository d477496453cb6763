"""Runs the synchronous cores in worker threads, with cancellation that reaches them.

A core blocks; a tool must not. The thread is abandoned when the caller is cancelled, but its `cancelled` event is set
first, so that the core kills its work and returns soon. One limiter a family of tools: a full sandbox never starves
retrieval.
"""

import functools
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

T = TypeVar("T")
Report = Callable[[float, float, str], Coroutine[Any, Any, None]]

SANDBOX_THREADS = 2048  # more than run and wait at their highest settings, so that the sandbox itself refuses the rest
RETRIEVAL_THREADS = 8  # searches are CPU-bound and short; more only fight over the cores
MODEL_THREADS = 4  # downloads and folder listings
PROGRESS_INTERVAL_S = 0.1  # progress is for people; more often costs messages and tells nothing
LEAST_GROWTH = 1e-3  # of progress that stands still: the protocol wants each to be greater, whatever its unit


class Threads:
    """A bounded family of worker threads; made once a toolset, lives as long as the server."""

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, function: Callable[..., T], *args: object, cancelled: threading.Event | None = None) -> T:
        """Run *function* in a thread; when this task is cancelled, set *cancelled* and leave the thread to end."""
        if self._limiter is None:  # a limiter belongs to the event loop that it is made in
            self._limiter = anyio.CapacityLimiter(self._n_threads)
        try:
            return await anyio.to_thread.run_sync(
                functools.partial(function, *args), abandon_on_cancel=True, limiter=self._limiter
            )
        except anyio.get_cancelled_exc_class():
            if cancelled is not None:
                cancelled.set()
            raise


class Progress:
    """Carries progress from a worker thread to an async reporter, at most every `PROGRESS_INTERVAL_S`."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last_s = 0.0
        self._progress = 0.0

    def __call__(self, done: float, total: float, message: str, *, is_urgent: bool = False) -> None:
        """Report *done* of *total*; called in the worker thread. The protocol wants progress to grow, so it does.

        What *is_urgent* is told however little time has passed: the next may be long in coming.
        """
        now_s = time.monotonic()
        if now_s - self._last_s < PROGRESS_INTERVAL_S and done < total and not is_urgent:
            return
        self._last_s = now_s
        self._progress = max(self._progress + LEAST_GROWTH, done)
        anyio.from_thread.run(self._report, self._progress, max(total, self._progress), message)
