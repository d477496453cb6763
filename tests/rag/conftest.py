"""Fixtures of retrieval's tests: a fake embedder, a home of one's own, and the real model loaded once."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag import weights
from rag.embedding import SentenceTransformerEmbedder
from rag.index import Retrieval
from rag.postgres.database import Database
from rag.settings import RagSettings
from rag.types import Document, IndexReport, IndexRequest


def _beside(name: str) -> Any:
    """Import a module of this folder, which is no package, and let tests import it by its name."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module


hash_embedder = _beside("hash_embedder")
postgres_server = _beside("postgres_server")
_beside("crashing_indexer")


@pytest.fixture
def embedder() -> object:
    return hash_embedder.HashEmbedder()


@pytest.fixture
def settings(tmp_path: Path) -> RagSettings:
    return RagSettings(home=tmp_path / "home")


@pytest.fixture
def retrieval(settings: RagSettings, embedder: object) -> Iterator[Retrieval]:
    made = Retrieval(settings, embedder)
    yield made
    made.close()


@pytest.fixture
def post(retrieval: Retrieval) -> Callable[..., IndexReport]:
    """Index documents given as {path: content} into the collection `c`."""

    def index(files: dict[str, str], **fields: object) -> IndexReport:
        documents = tuple(Document(path, content) for path, content in files.items())
        return retrieval.index(IndexRequest("c", documents=documents, **fields))

    return index


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """Run a PostgreSQL server with pgvector while tests need one."""
    server = postgres_server.PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def database_url(postgres: Any) -> Iterator[str]:
    """Make an empty database, and give the URL of a user with a password who owns it."""
    name = postgres.new_database()
    yield postgres.url(name, "app", postgres_server.PASSWORD)
    postgres.drop_database(name)


@pytest.fixture(params=["folder", "postgres"])
def either_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let all settings made in a test name a folder, and in another run of it a database; say which it is."""
    databases: list[Database] = []
    if request.param == "postgres":
        monkeypatch.setenv("CINQUE_RAG_DATABASE_URL", request.getfixturevalue("database_url"))
        make = Database.__init__

        def make_and_remember(database: Database, *arguments: Any) -> None:
            make(database, *arguments)
            databases.append(database)

        monkeypatch.setattr(Database, "__init__", make_and_remember)
    yield request.param
    for database in databases:  # of what a test left open, as a killed process would
        database.close()


@dataclass(frozen=True)
class LoadedModel:
    """The real embedder after its first use, and all that the first use wrote to stdout and stderr."""

    embedder: SentenceTransformerEmbedder
    output: bytes


@pytest.fixture(scope="session")
def loaded_minilm(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Load the real model, once a session; from the network only where this machine has no weights."""
    folder = tmp_path_factory.mktemp("minilm")
    # Converted models are the subject of test_rag_backends; torch runs at once.
    embedder = SentenceTransformerEmbedder(RagSettings(home=folder, embedding_backend="torch"))
    with (
        pytest.MonkeyPatch.context() as patch,
        (folder / "output").open("w+b") as output,
        _descriptors_to(output.fileno()),
    ):
        if weights.describe_weights(weights.DEFAULT_MODEL)[0]:
            patch.setattr(weights, "_hub_answers", lambda _timeout_s: False)  # no network in the suite
        embedder.embed(["first use"])
    return LoadedModel(embedder, (folder / "output").read_bytes())


@pytest.fixture(scope="session")
def minilm(loaded_minilm: LoadedModel) -> SentenceTransformerEmbedder:
    return loaded_minilm.embedder


@contextmanager
def _descriptors_to(target: int) -> Iterator[None]:
    """Send stdout and stderr to `target`, native code's too."""
    saved = {number: os.dup(number) for number in (1, 2)}
    try:
        for number in saved:
            os.dup2(target, number)
        yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
