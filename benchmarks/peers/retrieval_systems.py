"""The systems that are compared: ours, its two halves alone, and semble; each indexes a folder and answers with spans.

Ours is asked through `rag.adapter`. The halves share its chunks, its words and its vectors, and nothing else of its
ranking. semble is the package as published, with its defaults. Its model comes from the Hugging Face hub; where that
cannot be reached, it runs with two others, and the titles say so: our static table, which is of the kind that it is
made for, and the transformer of ours, which is slower and stronger than any of that kind.
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

STAND_IN: Final = "static stand-in"
TRANSFORMER: Final = "our transformer"

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
    """The package semble, with its defaults and one model: something with `dim` and `encode`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._index: Any = None

    def index(self, folder: Path) -> None:
        """Do what its `from_path` does, without its cache."""
        from semble import SembleIndex  # noqa: PLC0415 - only installed for benchmarks
        from semble.index.create import create_index_from_path  # noqa: PLC0415 - as above

        words, vectors, chunks, _ = create_index_from_path(folder, model=self._model, display_root=folder)
        self._index = SembleIndex(self._model, words, vectors, chunks, "given", root=folder)

    def search(self, text: str) -> list[Span]:
        """See System."""
        chunks = [result.chunk for result in self._index.search(text, top_k=K)]
        return [(Path(chunk.file_path).as_posix(), chunk.start_line, chunk.end_line) for chunk in chunks]

    def close(self) -> None:
        """Let go of the index."""
        self._index = None


class Transformer:
    """Our dense model as semble calls its own; vectors are kept, as those of ours are."""

    def __init__(self, home: Path, settings: RagSettings) -> None:
        embedder = SentenceTransformerEmbedder(settings)
        self._embedder = CachedEmbedder(embedder, home / "rag" / "embeddings.sqlite3", max_rows=10**9)
        self.dim = embedder.dimensions

    def encode(self, texts: Sequence[str], **_: object) -> Floats:
        """Embed texts, (n, d)."""
        return self._embedder.embed(texts, lambda _: None)


@contextmanager
def systems(home: Path) -> Iterator[dict[str, System]]:
    """Make all systems, ours first; `home` keeps embeddings from run to run."""
    settings = RagSettings(home=home)
    made: dict[str, System] = {
        OURS: Ours(home, settings),
        WORDS: Words(),
        VECTORS: Vectors(home, settings),
    }
    with _semble_stores_nothing():
        made |= {title: Semble(model) for title, model in _semble_models(home, settings).items()}
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


@contextmanager
def _semble_stores_nothing() -> Iterator[None]:
    """Keep its statistics out of the user's folder."""
    if importlib.util.find_spec("semble") is None:
        raise SystemExit("semble is not installed; run `.venv/bin/python -m pip install -e '.[benchmarks]'`")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEMBLE_CACHE_LOCATION"] = folder
        yield


def _semble_models(home: Path, settings: RagSettings) -> dict[str, Any]:
    """Return the models that semble is run with, by the title of the pair: its own, or else two in its place."""
    from semble import __version__  # noqa: PLC0415 - only installed for benchmarks
    from semble.index.dense import load_model  # noqa: PLC0415 - as above

    try:
        return {f"{SEMBLE} {__version__}": load_model(None)[0]}
    except OSError:  # neither in the hub's cache nor to be had from the hub
        return {
            f"{SEMBLE} {__version__}, {STAND_IN}": load_model(str(_stand_in()))[0],
            f"{SEMBLE} {__version__}, {TRANSFORMER}": Transformer(home, settings),
        }


def _stand_in() -> Path:
    """Write our static table as a model of model2vec, the library that semble loads its own with."""
    from model2vec import StaticModel  # noqa: PLC0415 - only installed for benchmarks
    from tokenizers import Tokenizer  # noqa: PLC0415 - as above

    folder, table = cache() / "semble-stand-in", Path(rag.__file__).with_name("static_model")
    with np.load(table / "table.npz", allow_pickle=False) as arrays:
        vectors = arrays["rows"].astype(np.float32) * arrays["scales"].astype(np.float32)
    StaticModel(vectors, Tokenizer.from_file(str(table / "tokenizer.json"))).save_pretrained(folder)
    return folder
