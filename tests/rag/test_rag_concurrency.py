"""Indexing beside queries, beside other indexings, and stopped half-way."""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hash_embedder import HashEmbedder
from numpy.typing import NDArray

from rag.errors import IndexCancelledError, RagError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexProgress, IndexRequest, IndexStatus, RetrieveRequest

pytestmark = pytest.mark.usefixtures("either_store")


class _Gate(HashEmbedder):
    """An embedder that waits at its first document until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on, self.is_shut = threading.Event(), threading.Event(), False

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.is_shut and "gated" in "".join(texts):
            self.reached.set()
            assert self.go_on.wait(10)
        return super().embed(texts)


@pytest.fixture
def gated(settings: RagSettings) -> Iterator[tuple[Retrieval, _Gate]]:
    gate = _Gate()
    yield Retrieval(settings, gate), gate
    gate.go_on.set()


def test_new_text_is_found_by_words_while_its_vectors_are_made(gated: tuple[Retrieval, _Gate]) -> None:
    retrieval, gate = gated
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "old text"),)))
    gate.is_shut = True
    worker = threading.Thread(
        target=retrieval.index, args=(IndexRequest("c", documents=(Document("a.txt", "gated new text"),)),)
    )
    worker.start()
    assert gate.reached.wait(10)
    status = retrieval.index_status("c")
    assert (status.state, status.n_dense, status.n_pending) == ("embedding", 0, 1)
    assert retrieval.list_collections().collections == (status,)
    (hit,) = retrieval.retrieve(RetrieveRequest("c", "text")).hits
    assert (hit.text, hit.dense_rank, hit.sparse_rank) == ("gated new text", None, 1)
    gate.go_on.set()
    worker.join()
    status = retrieval.index_status("c")
    assert (status.state, status.n_dense, status.n_pending) == ("ready", 1, 0)
    assert retrieval.retrieve(RetrieveRequest("c", "text")).hits[0].text == "gated new text"


def test_a_first_indexing_has_a_status_before_it_is_done(retrieval: Retrieval) -> None:
    statuses: list[IndexStatus] = []

    def on_progress(progress: IndexProgress) -> None:
        if progress.stage == "chunking":
            statuses.append(retrieval.index_status("c"))

    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "text"),)), on_progress)
    assert {(status.state, status.n_chunks) for status in statuses} == {("indexing", 0)}


def test_queries_answer_from_the_previous_index_until_the_new_one_is_committed(retrieval: Retrieval) -> None:
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "old text"),)))
    found: list[str] = []

    def on_progress(progress: IndexProgress) -> None:
        if progress.stage == "chunking":
            found.append(retrieval.retrieve(RetrieveRequest("c", "text")).hits[0].text)

    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "new text"),)), on_progress)
    assert set(found) == {"old text"}
    assert retrieval.retrieve(RetrieveRequest("c", "text")).hits[0].text == "new text"


def test_an_indexing_cancelled_before_its_commit_leaves_the_previous_index(retrieval: Retrieval) -> None:
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "old text"),)))
    before = retrieval.index_status("c")
    cancelled = threading.Event()
    with pytest.raises(IndexCancelledError, match="previous index"):
        retrieval.index(IndexRequest("c", documents=()), lambda _: cancelled.set(), cancelled)
    assert retrieval.index_status("c") == before


def test_an_indexing_cancelled_while_it_embeds_can_be_searched_by_words(gated: tuple[Retrieval, _Gate]) -> None:
    retrieval, gate = gated
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "old text"),)))
    cancelled = threading.Event()
    documents = tuple(Document(f"{number}.txt", f"gated {number}") for number in range(200))
    failures: list[RagError] = []

    def index() -> None:
        try:
            retrieval.index(IndexRequest("c", documents=documents), cancelled=cancelled)
        except RagError as error:
            failures.append(error)

    gate.is_shut = True
    worker = threading.Thread(target=index)
    worker.start()
    assert gate.reached.wait(10)
    cancelled.set()
    gate.go_on.set()
    worker.join()
    assert [type(failure) for failure in failures] == [IndexCancelledError]
    assert len(gate.embedded) < 100, "it went on after the cancellation"
    status = retrieval.index_status("c")
    assert (status.state, status.n_dense, status.n_pending) == ("ready", 0, 200)
    assert retrieval.retrieve(RetrieveRequest("c", "gated 7")).hits[0].path == "7.txt"
    retrieval.index(IndexRequest("c", documents=documents))
    assert retrieval.index_status("c").n_pending == 0


def test_an_indexing_that_waits_for_another_can_be_cancelled(gated: tuple[Retrieval, _Gate]) -> None:
    retrieval, gate = gated
    gate.is_shut = True
    worker = threading.Thread(
        target=retrieval.index, args=(IndexRequest("c", documents=(Document("a.txt", "gated"),)),)
    )
    worker.start()
    assert gate.reached.wait(10)
    cancelled = threading.Event()
    cancelled.set()
    for instance in (retrieval, Retrieval(retrieval._settings, HashEmbedder())):  # a second one stands for a process
        with pytest.raises(IndexCancelledError):
            instance.index(IndexRequest("c", documents=()), cancelled=cancelled)
    gate.go_on.set()
    worker.join()


def test_many_threads_may_index_query_and_list_at_once(retrieval: Retrieval) -> None:
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "start 0"),)))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(6):
                name = "c" if number % 2 else f"own-{number}"
                retrieval.index(IndexRequest(name, documents=(Document("a.txt", f"start {number} {turn}"),)))
                assert len(retrieval.retrieve(RetrieveRequest("c", "start")).hits) == 1
                assert retrieval.list_collections().collections
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(retrieval.list_collections().collections) == 4
