"""Fixtures of retrieval's tests: a fake embedder, a home of one's own, and the real model loaded once."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rag import weights
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
