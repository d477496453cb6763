"""Native work that needs no context, done beside the worker's thread so that running streams do not wait for it.

Loading a model takes seconds and tokenizing a megabyte half a second; neither touches what the worker steps. What comes
of it is handed back in the worker's own thread, by `collect`. Knows nothing of models or requests.

Each work has a thread that ends with it. One that loaded a model and stayed would keep its threads of OpenMP, and with
more of those than cores the ones that compute sleep at every barrier instead of spinning: on two cores a 0.5B
model then decodes one stream at 20 tokens/s, not 40.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from mcp_server.engine.jobs import Event

N_THREADS = 2  # at once; one may load while the other tokenizes; more would take cores from the streams

ResultT = TypeVar("ResultT")


class Background:
    """A few threads at a time for one worker; all methods but the work itself run in that worker's thread."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(N_THREADS)
        self._threads: dict[Future[Any], ThreadPoolExecutor] = {}  # one each, of what is not collected yet
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

        def work_in_turn() -> ResultT:
            with self._places:
                return work()

        thread = ThreadPoolExecutor(1, thread_name_prefix="cinque-engine-background")
        future = thread.submit(work_in_turn)
        thread.shutdown(wait=False)  # ends when the work does
        self._threads[future] = thread
        future.add_done_callback(hand_back)

    def collect(self) -> list[Event]:
        """Take what is done; give what happened."""
        events: list[Event] = []
        while self.has_results:
            future, then = self._done.get_nowait()
            del self._threads[future]
            events += then(future)
        return events

    def close(self) -> None:
        """Wait for what runs; `collect` has it afterwards. Idempotent."""
        for thread in self._threads.values():
            thread.shutdown(wait=True)


def _nobody_waits() -> None:
    """Wake nobody: whoever steps without a worker collects by himself."""
