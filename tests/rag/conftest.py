"""Fixtures of retrieval's tests: a fake embedder, a home of one's own, and the real model loaded once."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag.embedding import SentenceTransformerEmbedder
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexReport, IndexRequest

_FAKE = Path(__file__).with_name("hash_embedder.py")
_spec = importlib.util.spec_from_file_location("hash_embedder", _FAKE)
assert _spec is not None
assert _spec.loader is not None
hash_embedder = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hash_embedder)
sys.modules["hash_embedder"] = hash_embedder


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
def minilm(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformerEmbedder:
    """The real model, loaded at most once a session, with whatever weights this machine has."""
    return SentenceTransformerEmbedder(RagSettings(home=tmp_path_factory.mktemp("minilm")))
