"""Work beside the worker's thread: how many at once, and what is left of its threads."""

import threading
from concurrent.futures import Future

from mcp_server.engine.background import N_THREADS, Background
from mcp_server.engine.jobs import Event

PATIENCE_S = 5.0


def nothing_happened(_future: Future[object]) -> list[Event]:
    return []


def test_a_thread_ends_with_its_work() -> None:
    background, is_done = Background(), threading.Event()
    background.wake = is_done.set
    threads: list[threading.Thread] = []
    background.run(lambda: threads.append(threading.current_thread()), nothing_happened)
    assert is_done.wait(PATIENCE_S)
    threads[0].join(PATIENCE_S)
    assert not threads[0].is_alive()
    assert background.collect() == []


def test_no_more_work_runs_at_once_than_there_are_threads_for() -> None:
    background, lock = Background(), threading.Lock()
    running, seen = 0, []

    def work() -> None:
        nonlocal running
        with lock:
            running += 1
            seen.append(running)
        with lock:
            running -= 1

    for _ in range(50):
        background.run(work, nothing_happened)
    background.close()
    assert len(seen) == 50
    assert max(seen) <= N_THREADS


def test_closing_waits_for_what_runs_and_its_outcome_can_still_be_collected() -> None:
    background, may_end, outcomes = Background(), threading.Event(), []

    def note(future: Future[bool]) -> list[Event]:
        outcomes.append(future.result())
        return []

    background.run(lambda: may_end.wait(PATIENCE_S), note)
    may_end.set()
    background.close()
    background.close()
    background.collect()
    assert outcomes == [True]
