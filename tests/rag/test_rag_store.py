"""What is on disk: whole after any crash, the same after a restart, and nothing left behind."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hash_embedder import HashEmbedder

import rag.index
from rag.errors import CollectionNotFoundError, RagError
from rag.generation import VERSIONS
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexRequest, RetrieveRequest

PROGRAM = Path(__file__).with_name("crashing_indexer.py")


def reopened(home: Path) -> Retrieval:
    return Retrieval(RagSettings(home=home), HashEmbedder())


def start(home: Path, moment: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(rag.index.__file__).parent.parent)}
    command = [sys.executable, str(PROGRAM), str(home), moment]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def version_found(home: Path) -> int:
    """Open the collection and return the one version that all of it is of."""
    retrieval = reopened(home)
    result = retrieval.retrieve(RetrieveRequest("c", "part version", max_results=100, max_tokens=100_000))
    versions = {hit.text.split("version")[1].split("'")[0] for hit in result.hits}
    status = retrieval.index_status("c")
    assert len(versions) == 1, "an index of two versions at once"
    assert (status.state, status.n_files, status.n_chunks, status.n_dense) == ("ready", 12, 96, 96)
    (version,) = versions
    assert status.fingerprint == version
    return int(version)


@pytest.mark.parametrize(("moment", "survivor"), [("writing", 1), ("renamed", 1), ("before_row", 1), ("after_row", 2)])
def test_a_crash_leaves_the_previous_index_or_the_new_one_whole(tmp_path: Path, moment: str, survivor: int) -> None:
    with start(tmp_path, moment) as process:
        assert process.wait() == -signal.SIGKILL
    assert version_found(tmp_path) == survivor
    retrieval = reopened(tmp_path)
    retrieval.index(IndexRequest("c", documents=(Document("a.py", "x = 1\n"),)))
    assert len(list((tmp_path / "rag" / "collections" / "c").iterdir())) == 1, "leftovers of the crash remain"


def test_kill_9_at_any_moment_leaves_a_whole_index(tmp_path: Path) -> None:
    choose = random.Random(9)  # noqa: S311 - a repeatable choice, not a secret
    for attempt in range(3):
        home = tmp_path / str(attempt)
        with start(home, "never") as process:
            assert process.stdout is not None
            finished = 0
            for _ in range(choose.randrange(1, 12)):
                finished = int(process.stdout.readline())
            process.kill()
            rest = process.stdout.read().split()
        finished = max([finished, *map(int, rest)])
        assert version_found(home) in (finished, finished + 1)


def test_a_restart_keeps_the_answers(tmp_path: Path) -> None:
    first = reopened(tmp_path)
    documents = (Document("a.py", "def open_socket():\n    pass\n"), Document("b.md", "# Bread\nbake it\n"))
    first.index(IndexRequest("c", documents=documents, title="T", metadata={"k": "v"}, fingerprint="f"))
    request = RetrieveRequest("c", "open the socket")
    answer, status = first.retrieve(request), first.index_status("c")
    first.close()
    second = reopened(tmp_path)
    assert second.retrieve(request) == answer
    assert second.index_status("c") == status
    assert (status.title, status.metadata, status.fingerprint) == ("T", {"k": "v"}, "f")


def test_a_second_process_sees_a_new_index_at_once(tmp_path: Path) -> None:
    writer, reader = reopened(tmp_path), reopened(tmp_path)
    for word in ("alpha", "beta"):
        writer.index(IndexRequest("c", documents=(Document("a.txt", word),)))
        assert reader.retrieve(RetrieveRequest("c", word)).hits[0].text == word
    writer.delete_collection("c")
    with pytest.raises(CollectionNotFoundError):
        reader.retrieve(RetrieveRequest("c", "beta"))


def test_only_one_generation_stays_on_disk(tmp_path: Path) -> None:
    retrieval = reopened(tmp_path)
    for number in range(4):
        retrieval.index(IndexRequest("c", documents=(Document("a.txt", f"text {number}"),)))
    assert len(list((tmp_path / "rag" / "collections" / "c").iterdir())) == 1
    retrieval.delete_collection("c")
    assert list((tmp_path / "rag" / "collections").iterdir()) == []


@pytest.mark.parametrize("name", ["manifest.json", "chunks.jsonl", "words.npz", "dense.faiss"])
def test_a_damaged_index_is_said_to_be_so_and_healed_by_indexing(tmp_path: Path, name: str) -> None:
    request = IndexRequest("c", documents=(Document("a.txt", "alpha\n"), Document("b.txt", "beta\n")))
    reopened(tmp_path).index(request)
    (damaged,) = (tmp_path / "rag" / "collections" / "c").glob(f"*/{name}")
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    again = reopened(tmp_path)
    with pytest.raises(RagError, match="index it again"):
        again.retrieve(RetrieveRequest("c", "alpha"))
    again.index(request)
    assert again.retrieve(RetrieveRequest("c", "alpha")).hits[0].text == "alpha"


def test_an_index_of_other_code_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = IndexRequest("c", documents=(Document("a.txt", "alpha\n"),), fingerprint="f")
    retrieval = reopened(tmp_path)
    monkeypatch.setattr("rag.indexing.VERSIONS", "0.0.0")
    monkeypatch.setattr("rag.generation.Manifest.__init__.__defaults__", ("", 0, (), "0.0.0"))
    retrieval.index(request)
    monkeypatch.undo()
    assert retrieval.index(request).n_files_changed == 1
    assert retrieval.index(request).already_synced
    assert VERSIONS


def test_an_index_of_another_embedding_model_is_answered_by_words_and_then_made_anew(tmp_path: Path) -> None:
    request = IndexRequest("c", documents=(Document("a.txt", "alpha\n"),), fingerprint="f")
    reopened(tmp_path).index(request)
    other = Retrieval(RagSettings(home=tmp_path), HashEmbedder(name="other", dimensions=32))
    (hit,) = other.retrieve(RetrieveRequest("c", "alpha")).hits
    assert (hit.dense_rank, hit.sparse_rank) == (None, 1)
    assert not other.index(request).already_synced
    assert other.index_status("c").embedding_model == "other"
    assert other.retrieve(RetrieveRequest("c", "alpha")).hits[0].dense_rank == 1


def test_a_catalogue_that_is_no_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "rag").mkdir()
    (tmp_path / "rag" / "catalog.sqlite3").write_text("no database at all, but long enough to be looked at" * 50)
    with pytest.raises(RagError, match="catalogue"):
        reopened(tmp_path).list_collections()
