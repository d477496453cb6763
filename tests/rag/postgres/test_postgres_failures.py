"""A database that cannot be used: the error says what to do, and nothing says the password."""

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from hash_embedder import HashEmbedder
from numpy.typing import NDArray
from postgres_server import PASSWORD

from rag import filling
from rag.errors import RagError, StoreUnavailableError
from rag.index import Retrieval
from rag.postgres.schema import SCHEMA_VERSION
from rag.settings import RagSettings
from rag.types import Document, IndexRequest

SECRET = "s3cret"  # noqa: S105 - of nobody


def refused(url: str, home: Path) -> str:
    """Return what every way to ask says."""
    settings = RagSettings(home=home, database_url=url)
    retrieval = Retrieval(settings, HashEmbedder())
    with pytest.raises(RagError) as caught:
        retrieval.list_collections()
    retrieval.close()
    assert isinstance(caught.value, StoreUnavailableError)
    status = Retrieval(settings, HashEmbedder()).status()
    assert (status.is_store_ready, status.n_collections) == (False, 0)
    assert status.detail == caught.value.message
    for said in (caught.value.message, status.store, repr(settings), str(settings)):
        assert SECRET not in said
        assert PASSWORD not in said
    return caught.value.message


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    message = refused(f"postgresql://me:{SECRET}@/db?host={tmp_path}", tmp_path)
    assert "postgresql://me@" in message
    assert "start the server or correct CINQUE_RAG_DATABASE_URL" in message


NO_URLS = (f"postgresql://me:{SECRET}@host/db?{SECRET}=1", f"host=x password={SECRET}", f"redis://{SECRET}@x", SECRET)


@pytest.mark.parametrize("url", NO_URLS, ids=range(len(NO_URLS)))
def test_what_is_no_url(url: str, tmp_path: Path) -> None:
    assert "write one like postgresql://user:password@host:5432/name" in refused(url, tmp_path)


def test_a_wrong_password(postgres: Any, tmp_path: Path) -> None:
    message = refused(postgres.url("postgres", "app", SECRET), tmp_path)
    assert 'password authentication failed for user "app"' in message


def test_a_database_that_does_not_exist(postgres: Any, tmp_path: Path) -> None:
    assert 'database "nowhere" does not exist' in refused(postgres.url("nowhere", "app", PASSWORD), tmp_path)


def test_a_user_who_may_not_add_pgvector(postgres: Any, tmp_path: Path) -> None:
    name = postgres.new_database(has_extension=False)
    assert "CREATE EXTENSION vector" in refused(postgres.url(name, "app", PASSWORD), tmp_path)


def test_a_server_without_pgvector(postgres: Any, tmp_path: Path) -> None:
    name = postgres.new_database(has_extension=False)
    with postgres.connected() as connection:
        connection.execute(f"ALTER DATABASE {name} SET extension_control_path = '/nowhere'".encode())
    assert "has no pgvector; install it there" in refused(postgres.url(name), tmp_path)


def test_a_schema_of_a_newer_release_is_left_alone(database_url: str, tmp_path: Path) -> None:
    settings = RagSettings(home=tmp_path, database_url=database_url)
    first = Retrieval(settings, HashEmbedder())
    assert first.status().is_store_ready
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE cinque_rag.about SET version = version + 1")
    with pytest.raises(RagError, match=f"newer release.*schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}"):
        Retrieval(settings, HashEmbedder()).list_collections()
    first.close()


def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    message = refused(f"postgresql://me:{SECRET}@host/db", tmp_path)
    assert "pip install 'cinque[postgres]'" in message


def test_a_server_that_restarts_is_found_again(postgres: Any, database_url: str, tmp_path: Path) -> None:
    retrieval = Retrieval(RagSettings(home=tmp_path, database_url=database_url), HashEmbedder())
    assert retrieval.list_collections().collections == ()
    postgres.halt()
    with pytest.raises(StoreUnavailableError, match="start the server"):
        retrieval.list_collections()
    postgres.start()
    assert retrieval.list_collections().collections == ()
    retrieval.close()


def test_filling_in_goes_on_when_the_server_is_back(
    postgres: Any, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_LOOK_AGAIN_S", 0.05)
    embedder = _Halting(postgres)
    retrieval = Retrieval(RagSettings(home=tmp_path, database_url=database_url), embedder)
    documents = tuple(Document(f"{number}.txt", f"text {number}") for number in range(5))
    retrieval.index(IndexRequest("c", documents=documents, wait_for_dense=False))
    assert embedder.has_halted.wait(10)
    postgres.start()
    retrieval.index(IndexRequest("c", documents=documents))
    assert retrieval.index_status("c").n_dense == 5
    retrieval.close()


class _Halting(HashEmbedder):
    """An embedder that stops the server when it is first asked."""

    def __init__(self, postgres: Any) -> None:
        super().__init__()
        self.has_halted = threading.Event()
        self._postgres = postgres

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not self.has_halted.is_set():
            self._postgres.halt()
            self.has_halted.set()
        return super().embed(texts)
