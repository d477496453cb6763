"""The systems that are compared: ours, its two halves alone, and semble; each indexes a folder and answers with spans.

Ours is asked through `rag.adapter`. The halves share its chunks, its words and its vectors, and nothing else of its
ranking. semble is the package as published, with its defaults; its model comes from the Hugging Face hub, and where
that cannot be reached, our own static table takes its place, and the title of the system says so.
"""

import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

import rag
from benchmarks.peers.retrieval_packages import cache
from benchmarks.peers.retrieval_scores import K, Span
from rag.adapter import FolderSearch
from rag.chunking import chunk_document, text_to_embed
from rag.embedding import SentenceTransformerEmbedder
from rag.embedding_cache import CachedEmbedder
from rag.settings import RagSettings
from rag.sparse import SparseIndex, empty_table, weigh_words
from rag.types import Chunk, Document

OURS: Final = "ours"
WORDS: Final = "BM25 alone"
VECTORS: Final = "dense alone"
SEMBLE: Final = "semble"

STAND_IN: Final = "stand-in model"

Floats: TypeAlias = NDArray[np.float32]


class System(Protocol):
    """Something that can be asked about one folder at a time."""

    def index(self, folder: Path) -> None:
        """Make ready to answer questions about the folder."""

    def search(self, text: str) -> list[Span]:
        """Return ten spans, best first."""

    def close(self) -> None:
        """Let go of what it holds."""


class Ours:
    """The product, through its front for outside harnesses."""

    def __init__(self, home: Path, settings: RagSettings) -> None:
        self._search = FolderSearch(home, settings)

    def index(self, folder: Path) -> None:
        """See System."""
        self._search.index(folder)

    def search(self, text: str) -> list[Span]:
        """See System."""
        return [(path, start_line, end_line) for path, start_line, end_line, _ in self._search.search(text, K)]

    def close(self) -> None:
        """Let go of the index."""
        self._search.close()


class Words:
    """BM25 over the chunks' code tokens, with path and symbol."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._index = SparseIndex(empty_table())

    def index(self, folder: Path) -> None:
        """See System."""
        self._chunks = chunks_of(folder)
        self._index = SparseIndex(empty_table().extended([], [weigh_words(chunk) for chunk in self._chunks]))

    def search(self, text: str) -> list[Span]:
        """See System."""
        scores = self._index.scores(text)
        return [_span(self._chunks[row]) for row in _best(scores) if scores[row] > 0]

    def close(self) -> None:
        """See System."""
        self._chunks = []


class Vectors:
    """Cosines of the chunks' vectors, which ours has computed before."""

    def __init__(self, home: Path, settings: RagSettings) -> None:
        embedder = SentenceTransformerEmbedder(settings)
        self._embedder = CachedEmbedder(embedder, home / "rag" / "embeddings.sqlite3", max_rows=10**9)
        self._chunks: list[Chunk] = []
        self._vectors: Floats = np.zeros((0, 0), np.float32)

    def index(self, folder: Path) -> None:
        """See System."""
        self._chunks = chunks_of(folder)
        self._vectors = self._embed([text_to_embed(chunk) for chunk in self._chunks])

    def search(self, text: str) -> list[Span]:
        """See System."""
        scores = self._vectors @ self._embed([text])[0]
        return [_span(self._chunks[row]) for row in _best(scores)]

    def close(self) -> None:
        """See System."""
        self._chunks = []

    def _embed(self, texts: Sequence[str]) -> Floats:
        return self._embedder.embed(texts, lambda _: None)


class Semble:
    """The package semble, with its defaults."""

    def __init__(self) -> None:
        if importlib.util.find_spec("semble") is None:
            raise SystemExit("semble is not installed; run `.venv/bin/python -m pip install -e '.[benchmarks]'`")
        self._cache = tempfile.TemporaryDirectory()
        os.environ["SEMBLE_CACHE_LOCATION"] = self._cache.name
        self._model, self.title = _semble_model()
        self._index: Any = None

    def index(self, folder: Path) -> None:
        """See System."""
        from semble import SembleIndex  # noqa: PLC0415 - only installed for benchmarks

        self._index = SembleIndex.from_path(folder, model_path=self._model)

    def search(self, text: str) -> list[Span]:
        """See System."""
        chunks = [result.chunk for result in self._index.search(text, top_k=K)]
        return [(Path(chunk.file_path).as_posix(), chunk.start_line, chunk.end_line) for chunk in chunks]

    def close(self) -> None:
        """Remove its cache."""
        self._cache.cleanup()


@contextmanager
def systems(home: Path) -> Iterator[dict[str, System]]:
    """Make all systems, ours first; `home` keeps embeddings from run to run."""
    settings = RagSettings(home=home)
    semble = Semble()
    made: dict[str, System] = {
        OURS: Ours(home, settings),
        WORDS: Words(),
        VECTORS: Vectors(home, settings),
        semble.title: semble,
    }
    try:
        yield made
    finally:
        for system in made.values():
            system.close()


def chunks_of(folder: Path) -> list[Chunk]:
    """Cut every file of a folder as the product does."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    texts = [
        (file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8", errors="replace")) for file in files
    ]
    return [chunk for path, text in texts for chunk in chunk_document(Document(path, text))]


def _span(chunk: Chunk) -> Span:
    return chunk.path, chunk.start_line, chunk.end_line


def _best(scores: Floats) -> list[int]:
    return [int(row) for row in np.argsort(-scores, kind="stable")[:K]]


def _semble_model() -> tuple[str | None, str]:
    """Return what semble loads its model from, None for its own, and the title of the pair."""
    from semble import __version__  # noqa: PLC0415 - only installed for benchmarks
    from semble.index.dense import load_model  # noqa: PLC0415 - as above

    try:
        load_model(None)
    except OSError:  # neither in the hub's cache nor to be had from the hub
        return str(_stand_in()), f"{SEMBLE} {__version__}, {STAND_IN}"
    return None, f"{SEMBLE} {__version__}"


def _stand_in() -> Path:
    """Write our static table as a model of model2vec, the library that semble loads its own with."""
    from model2vec import StaticModel  # noqa: PLC0415 - only installed for benchmarks
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    folder, table = cache() / "semble-stand-in", Path(rag.__file__).with_name("static_model")
    with np.load(table / "table.npz", allow_pickle=False) as arrays:
        vectors = arrays["rows"].astype(np.float32) * arrays["scales"].astype(np.float32)
    StaticModel(vectors, Tokenizer.from_file(str(table / "tokenizer.json"))).save_pretrained(folder)
    return folder
