"""A disk that is full, read-only or damaged: said in a sentence, and what can still be done is done."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hash_embedder import HashEmbedder

from rag import durable
from rag.embedding_cache import CachedEmbedder
from rag.errors import InvalidRequestError, StoreUnavailableError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexRequest, RetrieveRequest

ALPHA = (Document("a.py", "def alpha():\n    return 1\n"),)
BETA = (Document("b.py", "def beta():\n    return 2\n"),)
TEXTS = ["one text", "another text"]


def found(retrieval: Retrieval, query: str) -> list[str]:
    return [hit.path for hit in retrieval.retrieve(RetrieveRequest("c", query, mode="exact")).hits]


def test_a_full_disk_is_named_and_leaves_the_index_that_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    retrieval = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    retrieval.index(IndexRequest("c", documents=ALPHA))

    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "fsync", refuse)
        with pytest.raises(StoreUnavailableError, match="No space left on device; make room"):
            retrieval.index(IndexRequest("c", documents=BETA))
    assert (found(retrieval, "alpha"), found(retrieval, "beta")) == (["a.py"], [])
    retrieval.index(IndexRequest("c", documents=BETA))
    assert found(retrieval, "beta") == ["b.py"]
    retrieval.close()


def test_a_home_that_can_only_be_read_is_searched_and_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    writer.index(IndexRequest("c", documents=ALPHA))
    writer.close()
    monkeypatch.setattr(os, "open", read_only(os.open))
    reader = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    assert found(reader, "alpha") == ["a.py"]
    assert [status.state for status in reader.list_collections().collections] == ["ready"]
    with pytest.raises(StoreUnavailableError, match="Read-only file system"):
        reader.index(IndexRequest("c", documents=BETA))
    with pytest.raises(StoreUnavailableError, match="Read-only file system"):
        reader.delete_collection("c")
    reader.close()


def read_only(opened: Callable[..., int]) -> Callable[..., int]:
    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *rest, **named)

    return refuse


def test_a_damaged_cache_of_embeddings_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.sqlite3"
    path.write_bytes(b"this is no database " * 500)
    embedder = HashEmbedder()
    cached = CachedEmbedder(embedder, path, max_rows=100)
    vectors = cached.embed(TEXTS, lambda _done: None)
    assert (vectors == embedder.embed(TEXTS)).all()
    embedder.embedded.clear()
    assert (cached.embed(TEXTS, lambda _done: None) == vectors).all()
    assert embedder.embedded == []


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the place of a folder")
    embedder = HashEmbedder()
    cached = CachedEmbedder(embedder, tmp_path / "file" / "embeddings.sqlite3", max_rows=100)
    for _ in range(2):
        assert len(cached.embed(TEXTS, lambda _done: None)) == len(TEXTS)
    assert embedder.embedded == [*sorted(TEXTS, key=len)] * 2


def test_the_home_of_nobody_is_no_folder(tmp_path: Path) -> None:
    retrieval = Retrieval(RagSettings(home=tmp_path), HashEmbedder())
    with pytest.raises(InvalidRequestError, match="there is no such home"):
        retrieval.index(IndexRequest("c", root="~nobody-of-this-name/src"))
