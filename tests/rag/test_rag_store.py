"""What is on disk: the same after a restart, found out when damaged, and nothing left behind."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hash_embedder import HashEmbedder

from rag.catalog import Catalog
from rag.errors import CollectionNotFoundError, RagError
from rag.generation import FORMAT_VERSION
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexRequest, RetrieveRequest


def reopened(home: Path) -> Retrieval:
    return Retrieval(RagSettings(home=home), HashEmbedder())


@pytest.mark.usefixtures("either_store")
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


@pytest.mark.usefixtures("either_store")
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
    (generation,) = (tmp_path / "rag" / "collections" / "c").glob("generation-*.json")
    described = json.loads(generation.read_text())
    named = {*(part["name"] for part in described["parts"]), *described["segments"], generation.name}
    assert {file.name for file in generation.parent.iterdir()} == named
    retrieval.delete_collection("c")
    assert list((tmp_path / "rag" / "collections").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["generation-*.json", "files.jsonl", "chunks.jsonl", "rows.npz", "dense.faiss", "keys.npy"]
)
def test_a_damaged_index_is_said_to_be_so_and_healed_by_indexing(tmp_path: Path, name: str) -> None:
    request = IndexRequest("c", documents=(Document("a.txt", "alpha\n"), Document("b.txt", "beta\n")))
    reopened(tmp_path).index(request)
    (damaged,) = (tmp_path / "rag" / "collections" / "c").rglob(name)
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    again = reopened(tmp_path)
    with pytest.raises(RagError, match="index it again"):
        again.retrieve(RetrieveRequest("c", "alpha"))
    again.index(request)
    assert again.retrieve(RetrieveRequest("c", "alpha")).hits[0].text == "alpha"


@pytest.mark.usefixtures("either_store")
def test_an_index_of_other_code_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = IndexRequest("c", documents=(Document("a.txt", "alpha\n"),), fingerprint="f")
    retrieval = reopened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("rag.indexing.VERSIONS", f"{FORMAT_VERSION}.0.0")
        reopened(tmp_path).index(request)
    assert len(retrieval.retrieve(RetrieveRequest("c", "alpha")).hits) == 1
    assert retrieval.index(request).n_files_changed == 1
    assert retrieval.index(request).already_synced


def test_an_index_of_another_format_is_said_to_be_so_and_made_anew(tmp_path: Path) -> None:
    request = IndexRequest("c", documents=(Document("a.txt", "alpha\n"),), fingerprint="f")
    retrieval = reopened(tmp_path)
    retrieval.index(request)
    catalog = Catalog(tmp_path / "rag" / "catalog.sqlite3")
    row = catalog.find("c")
    assert row is not None
    catalog.put(replace(row, versions="1.1.1", generation="01763800000000000000-0123abcd"))
    with pytest.raises(RagError, match="another release"):
        retrieval.retrieve(RetrieveRequest("c", "alpha"))
    assert retrieval.index(request).n_files_changed == 1
    assert len(retrieval.retrieve(RetrieveRequest("c", "alpha")).hits) == 1


@pytest.mark.usefixtures("either_store")
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
