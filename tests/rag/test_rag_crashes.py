"""Killed at any instant, of indexing, of filling in and of joining parts: what is reopened is whole."""

import multiprocessing
import random
import signal
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from crashing_indexer import documents_of, index_until_killed
from hash_embedder import HashEmbedder

import rag.index
from rag.chunking import chunk_document
from rag.index import Retrieval
from rag.opening import open_store
from rag.settings import RagSettings
from rag.types import IndexRequest, RetrieveRequest

Start = Callable[..., tuple[BaseProcess, Connection]]
FORKS = multiprocessing.get_context("forkserver")  # one process imports everything, the others are copies of it


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Index in processes that begin as copies of one that has imported everything; give their versions as they come."""

    def start(home: Path, *death: object) -> tuple[BaseProcess, Connection]:
        versions, finished = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=index_until_killed, args=(RagSettings(home=home), finished, death or None))
        process.start()
        finished.close()  # so that the end of the process is the end of its versions
        return process, versions

    FORKS.set_forkserver_preload(["crashing_indexer", "faiss", "numpy", "psycopg", "tree_sitter"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(rag.index.__file__).parent.parent}")
        forkserver.ensure_running()
    yield start
    forkserver._forkserver._stop()  # there is no public way; it would live as long as the tests


def version_found(home: Path) -> int:
    """Open the collection as it was left and return the one version that all of it is of."""
    row, generation = open_store(RagSettings(home=home, max_open_collections=1)).load("c")
    expected = {chunk for document in documents_of(int(row.fingerprint)) for chunk in chunk_document(document)}
    assert set(generation.chunks) == expected, "an index of two versions at once, or with a ghost"
    assert len(generation.chunks) == row.n_chunks == len(expected)
    assert int(generation.has_dense.sum()) == row.n_dense
    assert np.count_nonzero(generation.sparse.scores("part version")) == row.n_chunks
    if generation.dense is not None:
        keys, _ = generation.dense.search(np.ones(64, dtype=np.float32) / 8, row.n_chunks)
        assert sorted(keys.tolist()) == sorted(generation.keys[generation.has_dense].tolist())
    return int(row.fingerprint)


def check_that_indexing_goes_on(home: Path) -> None:
    """Index what the collection says it has: its missing vectors come, and nothing else remains on disk."""
    version = version_found(home)
    retrieval = Retrieval(RagSettings(home=home), HashEmbedder())
    request = IndexRequest("c", documents=documents_of(version), fingerprint=str(version))
    assert retrieval.index(request).n_dense == retrieval.index_status("c").n_chunks == 96
    found = retrieval.retrieve(RetrieveRequest("c", "version part", max_results=100, max_tokens=100_000)).hits
    assert all(hit.dense_rank for hit in found)
    retrieval.close()


@pytest.mark.parametrize("commit", [1, 2, 3])
@pytest.mark.parametrize("moment", ["writing", "renamed", "described", "before_row", "after_row"])
def test_a_crash_in_a_commit_leaves_the_previous_index_or_the_new_one(
    start: Start, tmp_path: Path, moment: str, commit: int
) -> None:
    process, versions = start(tmp_path, moment, commit)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    versions.close()
    assert version_found(tmp_path) == (1 if commit == 1 and moment != "after_row" else 2)
    check_that_indexing_goes_on(tmp_path)
    retrieval = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    retrieval.index(IndexRequest("c", documents=()))
    assert [file.suffix for file in (tmp_path / "rag" / "collections" / "c").iterdir()] == [".json"]
    retrieval.close()


def received(versions: Connection) -> Iterator[int]:
    """Read all that a process had sent when it ended, and close."""
    with versions:
        while versions.poll():
            try:
                yield versions.recv()
            except EOFError:
                return


def kill_again_and_again(start: Start, home: Path, n_times: int, seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    finished = 0
    for attempt in range(n_times):
        process, versions = start(home)
        finished = versions.recv()
        process.join(choose.random())
        process.kill()
        process.join()
        finished = max([finished, *received(versions)])
        assert version_found(home) in (finished, finished + 1)
        if attempt % 2:  # the next one finds what this one left, or an index that is whole
            check_that_indexing_goes_on(home)


@pytest.mark.usefixtures("either_store")
def test_kill_9_at_any_instant_leaves_a_whole_index(start: Start, tmp_path: Path) -> None:
    kill_again_and_again(start, tmp_path, 3, 9)


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_kills_at_any_instant_leave_a_whole_index(start: Start, tmp_path: Path, seed: int) -> None:
    kill_again_and_again(start, tmp_path, 20, seed)
