"""Watching folders and following them: nothing is missed, the folder may vanish, and a stop is a stop."""

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rag import watching
from rag.errors import IndexCancelledError, InvalidRequestError
from rag.following import Following
from rag.index import Retrieval
from rag.types import IndexRequest, RetrieveRequest
from rag.watching import Watcher, _is_of_interest

PATIENCE_S = 10


class Calls:
    """Records calls, and lets a test wait for the next one."""

    def __init__(self) -> None:
        self._queue: queue.Queue[threading.Event] = queue.Queue()

    def __call__(self, stop: threading.Event) -> None:
        self._queue.put(stop)

    def next(self) -> threading.Event:
        return self._queue.get(timeout=PATIENCE_S)

    def until(self, is_done: Callable[[], bool]) -> None:
        """Wait for calls until one finds things as they should be: a burst may be seen as several changes."""
        self.next()
        while not is_done():
            self.next()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LOOK_MS", 50)
    monkeypatch.setattr(watching, "_LOST_POLL_S", 0.05)
    monkeypatch.setattr(watching, "_BLIND_POLL_S", 0.05)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def following() -> Iterator[Following]:
    made = Following()
    yield made
    made.close()


@pytest.fixture
def watcher(root: Path, calls: Calls) -> Iterator[Watcher]:
    made = Watcher(root, calls)
    calls.next()  # it sees from here on
    yield made
    made.stop()
    assert not made.is_alive


@pytest.mark.usefixtures("watcher")
def test_a_change_anywhere_below_is_told(root: Path, calls: Calls) -> None:
    (root / "a.py").write_text("x\n")
    calls.next()
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "b.py").write_text("x\n")
    calls.next()


def test_a_stopped_watcher_calls_no_more(root: Path, calls: Calls, watcher: Watcher) -> None:
    watcher.stop()
    watcher.stop()
    assert not watcher.is_alive
    (root / "a.py").write_text("x\n")
    assert calls._queue.empty()


@pytest.mark.usefixtures("watcher")
def test_a_folder_that_vanishes_and_comes_back_is_watched_again(root: Path, calls: Calls) -> None:
    shutil.rmtree(root)
    root.mkdir()
    (root / "a.py").write_text("x\n")
    calls.until((root / "a.py").exists)
    (root / "b.py").write_text("x\n")
    calls.next()


def test_a_watch_of_a_folder_that_is_away_can_be_stopped(root: Path, watcher: Watcher) -> None:
    root.rename(root.with_name("elsewhere"))
    watcher.stop()
    assert not watcher.is_alive


def test_a_watch_may_be_stopped_from_within_its_call(root: Path) -> None:
    done = threading.Event()

    def stop_it(stop: threading.Event) -> None:
        made.get(timeout=PATIENCE_S).stop()
        assert stop.is_set()
        done.set()

    made: queue.Queue[Watcher] = queue.Queue()
    made.put(Watcher(root, stop_it))
    assert done.wait(PATIENCE_S)


def test_where_the_system_refuses_to_watch_it_calls_all_the_same(
    root: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: object, **_options: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr("watchfiles.watch", refuse)
    watcher = Watcher(root, calls)
    calls.next()
    calls.next()
    watcher.stop()
    assert not watcher.is_alive


@pytest.mark.parametrize(
    ("path", "is_of_interest"),
    [
        ("a.py", True),
        (".gitignore", True),
        ("src/.github/x.yml", True),
        (".git/info/exclude", True),
        (".git/index.lock", False),
        ("src/__pycache__/a.pyc", False),
        ("node_modules/x/index.js", False),
        ("", True),
    ],
)
def test_caches_and_what_git_writes_for_itself_are_no_change(path: str, *, is_of_interest: bool) -> None:
    root = Path("/home/me/node_modules/project")
    assert _is_of_interest(root, str(root / path)) == is_of_interest


def test_a_followed_collection_is_updated_after_a_failure_too(root: Path, following: Following) -> None:
    calls = Calls()
    failures = iter([InvalidRequestError("gone"), IndexCancelledError("stopped")])

    def update(stop: threading.Event) -> None:
        calls(stop)
        for failure in failures:
            raise failure

    following.follow("c", root, update)
    calls.next()
    (root / "a.py").write_text("x\n")
    calls.next()
    (root / "b.py").write_text("x\n")
    calls.next()
    assert following.is_followed("c")


def test_a_collection_follows_one_folder_at_a_time(root: Path, tmp_path: Path, following: Following) -> None:
    first, second = Calls(), Calls()
    following.follow("c", root, first)
    stop = first.next()
    following.follow("c", root, second)  # the same folder: nothing changes
    following.follow("c", tmp_path, second)
    second.next()
    assert stop.is_set()
    (root / "a.py").write_text("x\n")
    second.next()
    assert first._queue.empty()


def test_unfollowing_stops_a_running_update_and_closing_stops_all(root: Path, following: Following) -> None:
    started, ended = threading.Event(), threading.Event()

    def update(stop: threading.Event) -> None:
        started.set()
        assert stop.wait(PATIENCE_S)
        ended.set()

    following.follow("c", root, update)
    assert started.wait(PATIENCE_S)
    following.unfollow("c")
    following.unfollow("c")
    assert ended.is_set()
    assert not following.is_followed("c")
    following.follow("d", root, Calls())
    following.close()
    following.close()
    following.follow("e", root, Calls())
    assert not following.is_followed("d")
    assert not following.is_followed("e")


def test_a_collection_of_a_watched_folder_follows_it_until_asked_otherwise(retrieval: Retrieval, root: Path) -> None:
    (root / "a.py").write_text("def before():\n    return 1\n")
    request = IndexRequest("c", root=str(root), watch=True)
    retrieval.index(request)
    assert retrieval.index_status("c").is_watched
    (root / "b.py").write_text("def afterwards():\n    return 2\n")
    deadline = time.monotonic() + PATIENCE_S
    while not any(hit.path == "b.py" for hit in retrieval.retrieve(RetrieveRequest("c", "afterwards")).hits):
        assert time.monotonic() < deadline, "the change was not followed"
        threading.Event().wait(0.02)
    retrieval.index(replace(request, watch=False))
    assert not retrieval.index_status("c").is_watched


def test_documents_cannot_be_watched(retrieval: Retrieval) -> None:
    with pytest.raises(InvalidRequestError, match="only a folder can be watched"):
        retrieval.index(IndexRequest("c", documents=(), watch=True))
