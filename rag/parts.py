"""Retrieval's parts, wired together: the store, the embedder, the indexer and the search.

Apart from `index` so that importing `Retrieval` does not import NumPy (0.1 s), which a server's start need not pay.
Nothing but `index` imports this, on first use.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rag import static_embedding
from rag.catalog import CollectionRow
from rag.embedding import Embedder, SentenceTransformerEmbedder
from rag.embedding_cache import CachedEmbedder
from rag.filling import Filler
from rag.following import Following
from rag.indexing import Indexer
from rag.opening import open_store
from rag.outline import outline
from rag.overview import overview
from rag.progress import Progress
from rag.references import find_symbol
from rag.searching import check_request, search
from rag.settings import RagSettings
from rag.static_vectors import StaticEmbedder
from rag.store import Store
from rag.types import (
    IndexProgress,
    IndexReport,
    IndexRequest,
    Outline,
    Overview,
    RetrieveRequest,
    RetrieveResult,
    SymbolRequest,
    SymbolResult,
)

# Collections read from the catalogue at a time, when looking for those whose filling was interrupted.
_ROWS_PER_PAGE: Final = 1_000


class Parts:
    """What one `Retrieval` works with, from its first call to its close."""

    def __init__(self, settings: RagSettings, embedder: Embedder | None, static: StaticEmbedder | None) -> None:
        """Wire the parts together, and go on with fillings that were interrupted."""
        self.store = open_store(settings)
        self._settings = settings
        self._embedder = (embedder or SentenceTransformerEmbedder(settings)) if settings.dense else None
        if static is None and settings.dense and embedder is None:
            static = static_embedding.StaticEmbedder()
        self._static = static
        self._indexer = Indexer(settings, self.store, self._embedder.name if self._embedder else "", static)
        self._filler = _filler(settings, self.store, self._embedder) if self._embedder else None
        self._following = Following()
        self._begun: dict[str, CollectionRow] = {}
        if self._filler is not None:
            self._resume(self._filler)

    def index(
        self,
        request: IndexRequest,
        on_progress: Callable[[IndexProgress], None] | None,
        cancelled: threading.Event | None,
    ) -> IndexReport:
        """Do what `Retrieval.index` says, for a request whose fields were checked."""
        started = time.monotonic()
        progress = Progress(on_progress, cancelled, request.collection)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        title, metadata = request.title or request.collection, dict(request.metadata)
        begun = CollectionRow(request.collection, "", title, metadata=metadata, created_at=now, updated_at=now)
        self._begun.setdefault(request.collection, begun)
        try:
            report = self._indexer.run(request, progress)
        finally:
            self._begun.pop(request.collection, None)
        self._follow(request)
        progress.is_searchable = True
        if self._filler is not None and report.n_dense < report.n_chunks:
            if request.wait_for_dense:
                self._filler.fill(request.collection, progress)
                n_dense = self.store.find(request.collection).n_dense
                report = replace(report, n_dense=n_dense, duration_ms=round((time.monotonic() - started) * 1000))
            else:
                self._filler.later(request.collection, is_asked=True)
        progress.finish()
        return report

    def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """Do what `Retrieval.retrieve` says."""
        check_request(request, self._settings)
        row, generation = self.store.load(request.collection)
        if self._filler is not None and self._is_pending(row):
            self._filler.later(row.collection, is_asked=False)
        static = self._static if row.versions == self._indexer.versions else None  # or its vectors are of another
        return search(generation, request, self._embedder, self._settings.dense_weight, static)

    def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        """Do what `Retrieval.find_symbol` says."""
        return find_symbol(self.store.load(request.collection)[1], request)

    def outline(self, collection: str, path: str) -> Outline:
        """Do what `Retrieval.outline` says."""
        return outline(self.store.load(collection)[1], path, collection)

    def overview(self, collection: str) -> Overview:
        """Do what `Retrieval.overview` says."""
        return overview(*self.store.load(collection))

    def begun(self, collection: str) -> CollectionRow:
        """Describe a collection whose first index is being made; another process's is known by its name only."""
        return self._begun.get(collection) or CollectionRow(collection, generation="")

    def is_followed(self, collection: str) -> bool:
        """Tell whether the changes of a collection's folder are followed."""
        return self._following.is_followed(collection)

    def delete(self, collection: str) -> None:
        """Follow the folder of a collection no more, and delete its index."""
        self._following.unfollow(collection)
        with self.store.exclusive(collection, lambda: None):
            self.store.delete(collection)

    def is_filling(self, collection: str) -> bool:
        """Tell whether dense vectors of a collection are being filled in, or are about to be."""
        if self._filler is None:
            return self.store.is_filling(collection)
        return self._filler.is_filling(collection)

    def close(self) -> None:
        """Stop following and filling in, and let go of the memory held."""
        self._following.close()
        if self._filler is not None:
            self._filler.close()
        self.store.close()

    def _follow(self, request: IndexRequest) -> None:
        """Follow the request's folder from now on, or no more: the last request for a collection says which."""
        if request.root is None or not request.watch:
            self._following.unfollow(request.collection)
            return
        again = replace(request, fingerprint="", wait_for_dense=False)

        def update(stop: threading.Event) -> None:
            report = self._indexer.run(again, Progress(None, stop, request.collection))
            if self._filler is not None and report.n_dense < report.n_chunks:
                self._filler.later(request.collection, is_asked=True)

        self._following.follow(request.collection, Path(request.root), update)

    def _resume(self, filler: Filler) -> None:
        after = None
        while rows := self.store.catalog.page(after, _ROWS_PER_PAGE):
            for row in filter(self._is_pending, rows):
                filler.later(row.collection, is_asked=False)
            after = (rows[-1].title, rows[-1].collection)

    def _is_pending(self, row: CollectionRow) -> bool:
        return row.n_dense < row.n_chunks and self._indexer.is_current(row)


def _filler(settings: RagSettings, store: Store, embedder: Embedder) -> Filler:
    cache = settings.folder / "embeddings.sqlite3"
    cached = CachedEmbedder(embedder, cache, max_rows=settings.max_cached_embeddings)
    prepare = embedder.prepare if isinstance(embedder, SentenceTransformerEmbedder) else None
    return Filler(store, cached, embedder.name, prepare)
