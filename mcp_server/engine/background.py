"""Native work that needs no context, done beside the worker's thread so that running streams do not wait for it.

Loading a model takes seconds and tokenizing a megabyte half a second; neither touches what the worker steps. What comes
of it is handed back in the worker's own thread, by `collect`. Knows nothing of models or requests.
"""

import queue
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mcp_server.engine.jobs import Event

N_THREADS = 2  # one may load while the other tokenizes; more would take cores from the streams

ResultT = TypeVar("ResultT")


class Background:
    """A few threads for one worker; all methods but the work itself run in that worker's thread."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(N_THREADS, thread_name_prefix="cinque-engine-background")
        self._done: queue.SimpleQueue[tuple[Future[Any], Callable[[Future[Any]], list[Event]]]] = queue.SimpleQueue()
        self.wake: Callable[[], None] = _nobody_waits  # called in any thread when there is something to collect

    @property
    def has_results(self) -> bool:
        """Tell whether `collect` would do anything."""
        return not self._done.empty()

    def run(self, work: Callable[[], ResultT], then: Callable[[Future[ResultT]], list[Event]]) -> None:
        """Start work.

        Args:
            work: runs in a thread of its own and may touch nothing that the worker changes.
            then: gets the finished future in the worker's thread, and says what happened.
        """

        def hand_back(future: Future[ResultT]) -> None:
            self._done.put((future, then))
            self.wake()

        self._pool.submit(work).add_done_callback(hand_back)

    def collect(self) -> list[Event]:
        """Take what is done; give what happened."""
        events: list[Event] = []
        while self.has_results:
            future, then = self._done.get_nowait()
            events += then(future)
        return events

    def close(self) -> None:
        """Wait for what runs; `collect` has it afterwards. Idempotent."""
        self._pool.shutdown(wait=True)


def _nobody_waits() -> None:
    """Wake nobody: whoever steps without a worker collects by himself."""
