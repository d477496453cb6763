"""Killed at any instant, of indexing, of filling in and of joining parts: what is reopened is whole."""

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hash_embedder import HashEmbedder

import rag.index
from rag.chunking import chunk_document
from rag.index import Retrieval
from rag.opening import open_store
from rag.settings import RagSettings
from rag.types import IndexRequest, RetrieveRequest

PROGRAM = Path(__file__).with_name("crashing_indexer.py")
_spec = importlib.util.spec_from_file_location("crashing_indexer", PROGRAM)
assert _spec is not None
assert _spec.loader is not None
crashing_indexer = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(crashing_indexer)
documents_of = crashing_indexer.documents_of


def start(home: Path, *death: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(rag.index.__file__).parent.parent)}
    command = [sys.executable, str(PROGRAM), str(home), *(death or ("never",))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


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
def test_a_crash_in_a_commit_leaves_the_previous_index_or_the_new_one(tmp_path: Path, moment: str, commit: int) -> None:
    with start(tmp_path, moment, str(commit)) as process:
        assert process.wait() == -signal.SIGKILL
    assert version_found(tmp_path) == (1 if commit == 1 and moment != "after_row" else 2)
    check_that_indexing_goes_on(tmp_path)
    retrieval = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    retrieval.index(IndexRequest("c", documents=()))
    assert [file.suffix for file in (tmp_path / "rag" / "collections" / "c").iterdir()] == [".json"]
    retrieval.close()


def kill_again_and_again(home: Path, n_times: int, seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    finished = 0
    for attempt in range(n_times):
        with start(home) as process:
            assert process.stdout is not None
            finished = int(process.stdout.readline())
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(choose.random())
            process.kill()
            finished = max([finished, *map(int, process.stdout.read().split())])
        assert version_found(home) in (finished, finished + 1)
        if attempt % 2:  # the next one finds what this one left, or an index that is whole
            check_that_indexing_goes_on(home)


@pytest.mark.usefixtures("either_store")
def test_kill_9_at_any_instant_leaves_a_whole_index(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 3, 9)


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_kills_at_any_instant_leave_a_whole_index(tmp_path: Path, seed: int) -> None:
    kill_again_and_again(tmp_path, 20, seed)
