"""Dense vectors that fill in behind: searchable at once, resumed after anything, stopped when asked."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hash_embedder import HashEmbedder
from numpy.typing import NDArray

from rag import filling
from rag.errors import EmbeddingUnavailableError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexProgress, IndexRequest, RetrieveRequest

on_either_store = pytest.mark.usefixtures("either_store")

N_CHUNKS = 200
DOCUMENTS = tuple(Document(f"{number}.txt", f"text number {number}") for number in range(N_CHUNKS))


class _Steps(HashEmbedder):
    """An embedder whose every call for documents waits until it is let on."""

    def __init__(self, free_calls: int) -> None:
        super().__init__()
        self.calls = threading.Semaphore(free_calls)
        self.is_at_the_end_of_its_calls = threading.Event()
        self.fails = False

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fails:
            raise EmbeddingUnavailableError("no weights")
        is_query = "\n" not in texts[0]  # a chunk's text has its path above it
        if not is_query and not self.calls.acquire(blocking=False):
            self.is_at_the_end_of_its_calls.set()
            assert self.calls.acquire(timeout=10)
        return super().embed(texts)


@pytest.fixture(autouse=True)
def _commit_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "FIRST_COMMIT_S", 0.0)
    monkeypatch.setattr(filling, "MAX_COMMIT_S", 0.0)
    monkeypatch.setattr(filling, "_CHUNKS_PER_STEP", 16)


@pytest.fixture
def opened() -> Iterator[list[Retrieval]]:
    """Everything in here is closed at the end."""
    retrievals: list[Retrieval] = []
    yield retrievals
    for retrieval in retrievals:
        retrieval.close()


def wait_until_filled(retrieval: Retrieval) -> None:
    """Index the same again, which waits for whoever fills it in."""
    retrieval.index(IndexRequest("c", documents=DOCUMENTS))


def test_what_was_indexed_without_waiting_is_found_by_words_at_once(tmp_path: Path, opened: list[Retrieval]) -> None:
    embedder = _Steps(3)
    retrieval = Retrieval(RagSettings(home=tmp_path), embedder)
    opened.append(retrieval)
    report = retrieval.index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    assert (report.n_chunks, report.n_dense) == (N_CHUNKS, 0)
    assert embedder.is_at_the_end_of_its_calls.wait(10)
    status = retrieval.index_status("c")
    assert (status.state, status.n_dense, status.n_pending) == ("embedding", 48, N_CHUNKS - 48)
    hits = retrieval.retrieve(RetrieveRequest("c", "number 150", max_results=5)).hits
    assert (hits[0].path, hits[0].sparse_rank, hits[0].dense_rank) == ("150.txt", 1, None)
    embedder.calls.release(1_000)
    wait_until_filled(retrieval)
    status = retrieval.index_status("c")
    assert (status.state, status.n_dense, status.n_pending) == ("ready", N_CHUNKS, 0)
    assert retrieval.retrieve(RetrieveRequest("c", "number 150")).hits[0].dense_rank == 1


@on_either_store
def test_a_close_stops_filling_in_within_a_step_and_a_restart_goes_on(tmp_path: Path, opened: list[Retrieval]) -> None:
    embedder = _Steps(2)
    retrieval = Retrieval(RagSettings(home=tmp_path), embedder)
    retrieval.index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    assert embedder.is_at_the_end_of_its_calls.wait(10)
    closing = threading.Thread(target=retrieval.close)
    closing.start()
    embedder.calls.release(1)
    closing.join(10)
    assert not closing.is_alive()
    assert len(embedder.embedded) <= 48
    again = HashEmbedder()
    opened.append(Retrieval(RagSettings(home=tmp_path), again))
    assert opened[0].index_status("c").n_dense >= 32  # the first call after a restart wakes the filling
    wait_until_filled(opened[0])
    assert opened[0].index_status("c").n_pending == 0
    assert len(again.embedded) == N_CHUNKS - len(embedder.embedded), "what had been embedded was embedded again"


@on_either_store
def test_an_edit_meanwhile_is_not_kept_waiting_and_is_filled_in_too(tmp_path: Path, opened: list[Retrieval]) -> None:
    embedder = _Steps(3)
    retrieval = Retrieval(RagSettings(home=tmp_path), embedder)
    opened.append(retrieval)
    retrieval.index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    assert embedder.is_at_the_end_of_its_calls.wait(10)
    edited = (Document("0.txt", "edited zero"), *DOCUMENTS[2:], Document("new.txt", "brand new"))
    report = retrieval.index(IndexRequest("c", documents=edited, wait_for_dense=False))
    assert (report.n_files_changed, report.n_files_deleted, report.n_dense) == (2, 1, 46)
    embedder.calls.release(1_000)
    assert retrieval.index(IndexRequest("c", documents=edited)).n_dense == N_CHUNKS
    hits = retrieval.retrieve(RetrieveRequest("c", "brand new", max_results=1)).hits
    assert [(hit.path, hit.dense_rank) for hit in hits] == [("new.txt", 1)]


def test_waiting_tells_progress_to_the_end(tmp_path: Path, opened: list[Retrieval]) -> None:
    opened.append(Retrieval(RagSettings(home=tmp_path), HashEmbedder()))
    seen: list[IndexProgress] = []
    report = opened[0].index(IndexRequest("c", documents=DOCUMENTS), seen.append)
    assert report.n_dense == N_CHUNKS
    embedding = [(progress.done, progress.total) for progress in seen if progress.stage == "embedding"]
    assert embedding[0][0] == 0
    assert embedding[-1] == (N_CHUNKS, N_CHUNKS)
    assert {total for _, total in embedding} == {N_CHUNKS}
    assert [done for done, _ in embedding] == sorted(done for done, _ in embedding)


@on_either_store
def test_a_collection_deleted_while_it_is_filled_in_stays_deleted(tmp_path: Path, opened: list[Retrieval]) -> None:
    embedder = _Steps(1)
    retrieval = Retrieval(RagSettings(home=tmp_path), embedder)
    opened.append(retrieval)
    retrieval.index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    assert embedder.is_at_the_end_of_its_calls.wait(10)
    retrieval.delete_collection("c")
    embedder.calls.release(1_000)
    retrieval.index(IndexRequest("d", documents=DOCUMENTS[:3]))
    retrieval.close()
    assert [folder.name for folder in (tmp_path / "rag").glob("**/collections/*")] == ["d"]


def test_without_weights_filling_in_gives_up_until_somebody_asks_again(tmp_path: Path, opened: list[Retrieval]) -> None:
    embedder = _Steps(1_000)
    embedder.fails = True
    retrieval = Retrieval(RagSettings(home=tmp_path), embedder)
    opened.append(retrieval)
    retrieval.index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    with pytest.raises(EmbeddingUnavailableError):
        wait_until_filled(retrieval)
    assert retrieval.index_status("c").n_pending == N_CHUNKS
    assert retrieval.retrieve(RetrieveRequest("c", "number 7")).hits[0].path == "7.txt"
    embedder.fails = False
    wait_until_filled(retrieval)
    assert retrieval.index_status("c").n_pending == 0


@on_either_store
def test_two_processes_fill_one_collection_one_after_the_other(tmp_path: Path, opened: list[Retrieval]) -> None:
    first, second = _Steps(2), HashEmbedder()
    opened.append(Retrieval(RagSettings(home=tmp_path), first))
    opened[0].index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    assert first.is_at_the_end_of_its_calls.wait(10)
    opened.append(Retrieval(RagSettings(home=tmp_path), second))  # stands for a process
    assert opened[1].index_status("c").state == "embedding"

    def on_progress(progress: IndexProgress) -> None:
        if progress.stage == "embedding":  # which is told while the other one does it
            assert progress.total == N_CHUNKS
            first.calls.release(1_000)

    assert opened[1].index(IndexRequest("c", documents=DOCUMENTS), on_progress).n_dense == N_CHUNKS
    assert not [text for text in second.embedded if text in first.embedded and "text number" in text]


def test_queries_beside_filling_in_always_find_everything(tmp_path: Path, opened: list[Retrieval]) -> None:
    retrieval = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    opened.append(retrieval)
    failures: list[BaseException] = []
    is_over = threading.Event()

    def ask() -> None:
        reader = Retrieval(RagSettings(home=tmp_path), HashEmbedder("another"))  # stands for a process: words only
        try:
            while not is_over.is_set():
                for one in (retrieval, reader):
                    hits = one.retrieve(RetrieveRequest("c", "number 77", max_results=1)).hits
                    assert [hit.path for hit in hits] == ["77.txt"]
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)
        finally:
            reader.close()

    retrieval.index(IndexRequest("c", documents=DOCUMENTS[70:80]))
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(4):
        more = tuple(Document(f"{number}/{other}.txt", f"more of {other}") for other in range(20))
        retrieval.index(IndexRequest("c", documents=DOCUMENTS + more))
    is_over.set()
    for thread in threads:
        thread.join()
    assert failures == []
