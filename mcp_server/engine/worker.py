"""The one thread that owns the native contexts: commands in, events out.

It steps the host while there is work and sleeps on its inbox when there is none. If anything but a request's own
failure happens, it logs the traceback, closes the inbox and reports its end; a new worker takes its place. Knows
nothing of event loops: `deliver` is called in this thread and must hand over by itself.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Protocol

from mcp_server.engine.jobs import Abort, Event, Job
from mcp_server.engine.types import EngineStatistics, LoadedModel

MAX_SLEEP_S = 3600.0  # a client names deadlines and keep-alives; a wait of 10^10 s overflows the clock of the queue

_log = logging.getLogger(__name__)


class _Wake(Enum):
    """Nothing to apply: look again."""

    UP = 1


class Host(Protocol):
    """What the worker steps."""

    @property
    def has_work(self) -> bool:
        """Tell whether a step would do anything."""
        ...

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Have this called, from any thread, when there is work again."""
        ...

    def next_step_s(self) -> float | None:
        """How long until a step is due though nothing happens; None: never."""
        ...

    def submit(self, job: Job) -> None:
        """Take a job."""
        ...

    def abort(self, request_id: int) -> None:
        """Forget a job."""
        ...

    def step(self) -> list[Event]:
        """Run one beat."""
        ...

    def statistics(self) -> EngineStatistics:
        """Count."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class Worker:
    """A thread around a host that it makes, steps and closes."""

    def __init__(
        self,
        make_host: Callable[[], Host],
        deliver: Callable[["Worker", list[Event]], None],
        report_end: Callable[["Worker", Exception | None], None],
    ) -> None:
        """Start the thread.

        Args:
            make_host: called in the thread, so that heavy imports happen there.
            deliver: called in the thread after a step that had events.
            report_end: called in the thread as its last act, with what ended it (None: `stop`).
        """
        self._make_host = make_host
        self._deliver = deliver
        self._report_end = report_end
        self._inbox: queue.SimpleQueue[Job | Abort | _Wake | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # so that nothing is put into an inbox that nobody will read
        self._is_closed = False
        self._statistics = (time.perf_counter(), EngineStatistics())  # replaced after every step, never changed
        self._thread = threading.Thread(target=self._run, name="cinque-engine", daemon=True)
        self._thread.start()

    def put(self, command: Job | Abort) -> bool:
        """Hand over a command; False when the worker has ended."""
        with self._lock:
            if not self._is_closed:
                self._inbox.put(command)
            return not self._is_closed

    def wake(self) -> None:
        """Have the host stepped though no command comes; callable from any thread."""
        self._inbox.put(_Wake.UP)

    def statistics(self) -> EngineStatistics:
        """Give the counts of the last step, with keep-alives as of now; callable from any thread."""
        counted_at, statistics = self._statistics
        elapsed = time.perf_counter() - counted_at
        return replace(statistics, loaded_models=tuple(_aged(m, elapsed) for m in statistics.loaded_models))

    def stop(self) -> None:
        """End after the current step; what runs is aborted."""
        self._inbox.put(None)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            host = self._make_host()
            host.wake_by(self.wake)
            try:
                self._step_until_stopped(host)
            finally:
                host.close()
        except Exception as error:  # noqa: BLE001  # the thread's boundary: whatever it is, who waits must hear of it
            _log.exception("the engine's worker failed")
            failure = error
        with self._lock:
            self._is_closed = True
        counted_at, counted = self._statistics
        self._statistics = counted_at, replace(counted, n_running=0, n_waiting=0, loaded_models=(), models=())
        self._report_end(self, failure)

    def _step_until_stopped(self, host: Host) -> None:
        while self._apply_commands(host):
            events = host.step()
            self._statistics = time.perf_counter(), host.statistics()
            if events:
                self._deliver(self, events)

    def _apply_commands(self, host: Host) -> bool:
        """Apply what is in the inbox; False on `stop`.

        An idle host is waited for until the first command, or until a step of it is due by the clock.
        """
        is_patient = not host.has_work
        due_s = host.next_step_s() if is_patient else None
        wait_s = None if due_s is None else min(max(0.0, due_s), MAX_SLEEP_S)
        try:
            while (command := self._inbox.get(is_patient, wait_s)) is not None:
                is_patient = False
                if isinstance(command, Job):
                    host.submit(command)
                elif isinstance(command, Abort):
                    host.abort(command.request_id)
        except queue.Empty:
            return True
        return False


def _aged(model: LoadedModel, seconds: float) -> LoadedModel:
    """Give what is left of a keep-alive after as long."""
    if model.expires_in_s is None:
        return model
    return replace(model, expires_in_s=max(0.0, model.expires_in_s - seconds))
