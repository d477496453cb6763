"""Queries while the embedding model is fetched or converted: answered at once, told of, and stopped by a close."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hash_embedder import HashEmbedder

from rag import conversions, converted_model, embedding
from rag.errors import EmbeddingUnavailableError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.text_model import Lanes
from rag.types import Document, Hit, IndexProgress, IndexRequest, RetrieveRequest

DOCUMENTS = tuple(Document(f"{number}.txt", f"text number {number}") for number in range(20))
TIMEOUT_S = 10
ROOT = Path(converted_model.__file__).parents[1]


class Conversion:
    """A conversion that takes until it is let on, or fails; it looks whether it is wanted as a real one does."""

    def __init__(self, settings: RagSettings) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()
        self.is_loaded = threading.Event()
        self.failure = ""
        self.n_begun = 0
        self._settings = settings
        self._is_done = False

    def is_converted(self, _settings: RagSettings) -> bool:
        return self._is_done

    def prepare(self, _settings: RagSettings, check: Callable[[], None], tell: Callable[[], None]) -> None:
        if self._is_done:
            return
        tell()
        self.n_begun += 1
        lock = conversions.lock_file(self._settings)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with converted_model._exclusive(lock, check):
            self.has_begun.set()
            while not self.may_end.wait(0.01):
                check()
            if self.failure:
                raise EmbeddingUnavailableError(self.failure)
            self._is_done = True

    def open_converted(self, _settings: RagSettings) -> tuple[str, Lanes]:
        assert self._is_done, "a query would have waited for a conversion"
        self.is_loaded.set()
        return "hashed", Lanes(HashEmbedder(), HashEmbedder)


@pytest.fixture
def conversion(settings: RagSettings, monkeypatch: pytest.MonkeyPatch) -> Conversion:
    """Let the model of this test's settings be converted by one that the test holds in its hands."""
    made = Conversion(settings)
    for name in ("is_converted", "prepare", "open_converted"):
        monkeypatch.setattr(embedding, name, getattr(made, name))
    return made


@pytest.fixture
def retrieval(settings: RagSettings, conversion: Conversion) -> Iterator[Retrieval]:
    """A retrieval whose collection has dense vectors of a model that, on this machine, is not converted."""
    model = HashEmbedder(settings.embedding_model)
    before = Retrieval(settings, model, static_embedder())
    before.index(IndexRequest("c", documents=DOCUMENTS))
    before.close()
    made = Retrieval(settings, None, static_embedder())
    yield made
    conversion.may_end.set()
    made.close()


def static_embedder() -> HashEmbedder:
    return HashEmbedder("static", 32)


def found(retrieval: Retrieval) -> Hit:
    return retrieval.retrieve(RetrieveRequest("c", "number 7", max_results=1)).hits[0]


def test_a_query_does_not_wait_for_a_conversion_and_later_ones_use_what_it_made(
    retrieval: Retrieval, conversion: Conversion
) -> None:
    hit = found(retrieval)
    assert (hit.path, hit.dense_rank, hit.sparse_rank, hit.static_rank) == ("7.txt", None, 1, 1)
    assert conversion.has_begun.wait(TIMEOUT_S)
    assert found(retrieval).dense_rank is None
    conversion.may_end.set()
    assert conversion.is_loaded.wait(TIMEOUT_S)
    hit = found(retrieval)
    assert (hit.path, hit.dense_rank, hit.static_rank) == ("7.txt", 1, None)
    assert conversion.n_begun == 1


def test_a_conversion_is_told_by_the_status_of_a_collection_and_of_the_whole(
    retrieval: Retrieval, conversion: Conversion, settings: RagSettings
) -> None:
    assert (retrieval.index_status("c").state, retrieval.status().is_converting) == ("ready", False)
    found(retrieval)
    assert conversion.has_begun.wait(TIMEOUT_S)
    other = Retrieval(settings)  # stands for another process
    for one in (retrieval, other):
        status = one.index_status("c")
        assert (status.state, status.progress) == ("embedding", IndexProgress("model", 0, 1))
        assert one.status().is_converting
    conversion.may_end.set()
    other.close()
    assert conversion.is_loaded.wait(TIMEOUT_S)
    status = retrieval.index_status("c")
    assert (status.state, status.progress, retrieval.status().is_converting) == ("ready", None, False)


def test_a_close_ends_a_conversion_that_a_query_began(retrieval: Retrieval, conversion: Conversion) -> None:
    found(retrieval)
    assert conversion.has_begun.wait(TIMEOUT_S)
    retrieval.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "rag-embedding-model"]


def test_a_failed_conversion_leaves_words_and_static_vectors_and_is_not_tried_with_every_query(
    retrieval: Retrieval, conversion: Conversion
) -> None:
    conversion.failure = "no weights"
    conversion.may_end.set()
    found(retrieval)
    for thread in threading.enumerate():
        if thread.name == "rag-embedding-model":
            thread.join(TIMEOUT_S)
    assert found(retrieval).path == "7.txt"
    assert conversion.n_begun == 1


def test_looking_at_a_collection_opens_a_converted_model_and_converts_none(
    retrieval: Retrieval, conversion: Conversion
) -> None:
    retrieval.index_status("c")
    retrieval.outline("c", "7.txt")
    retrieval.close()
    assert (conversion.n_begun, conversion.is_loaded.is_set()) == (0, False)
    conversion.may_end.set()
    conversion.prepare(RagSettings(), lambda: None, lambda: None)
    again = Retrieval(conversion._settings)
    again.list_collections()
    assert conversion.is_loaded.wait(TIMEOUT_S)
    again.close()


def test_words_alone_and_texts_to_match_need_no_model(retrieval: Retrieval, conversion: Conversion) -> None:
    (hit,) = retrieval.retrieve(RetrieveRequest("c", "number 7", mode="exact", max_results=1)).hits
    assert hit.path == "7.txt"
    assert conversion.n_begun == 0


def test_a_close_kills_the_process_of_a_conversion(
    settings: RagSettings, conversion_process: Callable[[], int]
) -> None:
    retrieval = Retrieval(settings)
    report = retrieval.index(IndexRequest("c", documents=DOCUMENTS, wait_for_dense=False))
    assert report.n_dense == 0
    process = conversion_process()
    status = retrieval.index_status("c")
    assert (status.state, status.progress) == ("embedding", IndexProgress("model", 0, 1))
    retrieval.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_conversion_ends_with_the_process_that_started_it_even_when_that_is_killed(tmp_path: Path) -> None:
    pipe, program = tmp_path / "pipe", tmp_path / "python"
    os.mkfifo(pipe)
    holding = f"import rag.conversion as c, time; pipe = open({str(pipe)!r}, 'w'); c.end_with_parent(); "
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "{holding}pipe.write(chr(10)); pipe.flush(); time.sleep(600)"\n'
    )
    program.chmod(0o700)
    starting = (
        f"import sys; from rag import converted_model; sys.executable = {str(program)!r}; "
        "converted_model._run_conversion({'folder': '', 'source': ''}, lambda: None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", starting], env=environment) as starter, pipe.open() as held:
        assert held.readline() == "\n", "the conversion runs, and holds the pipe open"
        starter.kill()
        assert held.read() == "", "the conversion is gone"
