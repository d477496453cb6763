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
from rag.types import Document, IndexRequest, RetrieveRequest


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


def test_queries_during_an_indexing_answer_from_the_previous_one(gated: tuple[Retrieval, _Gate]) -> None:
    retrieval, gate = gated
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "old text"),)))
    gate.is_shut = True
    worker = threading.Thread(
        target=retrieval.index, args=(IndexRequest("c", documents=(Document("a.txt", "gated new text"),)),)
    )
    worker.start()
    assert gate.reached.wait(10)
    assert retrieval.index_status("c").state == "indexing"
    assert retrieval.list_collections().collections[0].state == "indexing"
    assert retrieval.retrieve(RetrieveRequest("c", "text")).hits[0].text == "old text"
    gate.go_on.set()
    worker.join()
    assert retrieval.index_status("c").state == "ready"
    assert retrieval.retrieve(RetrieveRequest("c", "text")).hits[0].text == "gated new text"


def test_a_first_indexing_has_a_status_before_it_is_done(gated: tuple[Retrieval, _Gate]) -> None:
    retrieval, gate = gated
    gate.is_shut = True
    worker = threading.Thread(
        target=retrieval.index, args=(IndexRequest("c", documents=(Document("a.txt", "gated"),)),)
    )
    worker.start()
    assert gate.reached.wait(10)
    status = retrieval.index_status("c")
    assert (status.state, status.n_chunks) == ("indexing", 0)
    gate.go_on.set()
    worker.join()


def test_a_cancelled_indexing_leaves_the_previous_index(gated: tuple[Retrieval, _Gate]) -> None:
    retrieval, gate = gated
    retrieval.index(IndexRequest("c", documents=(Document("a.txt", "old text"),)))
    before = retrieval.index_status("c")
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
    assert retrieval.index_status("c") == before
    assert retrieval.retrieve(RetrieveRequest("c", "text")).hits[0].text == "old text"


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
