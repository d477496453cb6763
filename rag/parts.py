"""Retrieval's parts, wired together: the store, the embedder, the indexer and the search.

Apart from `index` so that importing `Retrieval` does not import NumPy (0.1 s), which a server's start need not pay.
Nothing but `index` imports this, on first use.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from rag import static_embedding
from rag.catalog import CollectionRow
from rag.conversions import is_being_converted
from rag.embedding import Embedder, SentenceTransformerEmbedder
from rag.embedding_cache import CachedEmbedder
from rag.errors import CollectionNotFoundError
from rag.filling import Filler
from rag.following import Following
from rag.generation import Generation
from rag.indexing import Indexer
from rag.opening import open_store
from rag.outline import outline
from rag.overview import overview
from rag.progress import Progress
from rag.readiness import Readiness
from rag.references import find_symbol
from rag.searching import check_request, search
from rag.settings import RagSettings
from rag.static_vectors import StaticEmbedder
from rag.store import Busy, Store
from rag.types import (
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    Outline,
    Overview,
    RetrieveRequest,
    RetrieveResult,
    SymbolRequest,
    SymbolResult,
)

# Collections read from the catalogue at a time, when looking for those whose filling was interrupted.
_ROWS_PER_PAGE: Final = 1_000

# A conversion has no parts that could be counted.
_CONVERTING: Final = IndexProgress("model", 0, 1)


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
        self._readiness = Readiness(self._embedder) if isinstance(self._embedder, SentenceTransformerEmbedder) else None
        self._filler = _filler(settings, self.store, self._embedder, self._tell) if self._embedder else None
        self._following = Following()
        self._begun: dict[str, CollectionRow] = {}
        self._progress: dict[str, IndexProgress] = {}
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

        def tell(step: IndexProgress) -> None:
            self._tell(request.collection, step)
            if on_progress is not None:
                on_progress(step)

        progress = Progress(tell, cancelled, request.collection)
        try:
            return self._index(request, progress, started)
        finally:
            self._tell(request.collection, None)

    def _index(self, request: IndexRequest, progress: Progress, started: float) -> IndexReport:
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
        embedder = self._embedder_for(generation) if request.mode == "hybrid" else None
        return search(generation, request, embedder, self._settings.dense_weight, static)

    def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        """Do what `Retrieval.find_symbol` says."""
        return find_symbol(self._read(request.collection)[1], request)

    def outline(self, collection: str, path: str) -> Outline:
        """Do what `Retrieval.outline` says."""
        return outline(self._read(collection)[1], path, collection)

    def overview(self, collection: str) -> Overview:
        """Do what `Retrieval.overview` says."""
        return overview(*self._read(collection))

    def find(self, collection: str) -> CollectionRow:
        """Return the row of a collection, or one that describes it while its first index is being made.

        What another process is making is known by its name only. Raises CollectionNotFoundError when there is neither.
        """
        try:
            return self.store.find(collection)
        except CollectionNotFoundError:
            begun = self._begun.get(collection)
            if begun is None and not self.store.is_changing(collection):
                return self.store.find(collection)  # which may have been committed meanwhile
            return begun or CollectionRow(collection, generation="")

    def status(self, rows: Sequence[CollectionRow]) -> list[IndexStatus]:
        """Describe collections, and what is done with them right now."""
        if any(row.n_dense and self._is_ours(row.embedding_model) for row in rows):
            self.warm_up()
        is_converting = self._readiness is not None and is_being_converted(self._settings)
        waiting = self._filler.waiting() if self._filler is not None else frozenset[str]()  # before it is being filled
        busy = self.store.busy([row.collection for row in rows])
        busy = Busy(busy.changing | frozenset(self._begun), busy.filling | waiting)
        return [self._status(row, busy, is_converting=is_converting) for row in rows]

    def _status(self, row: CollectionRow, busy: Busy, *, is_converting: bool) -> IndexStatus:
        needs_model = is_converting and self._is_ours(row.embedding_model)
        state: Literal["ready", "indexing", "embedding"] = "ready"
        if row.n_dense < row.n_chunks and row.collection in busy.filling:  # though it takes the lock to commit
            state = "embedding"
        elif row.collection in busy.changing:
            state = "indexing"
        elif row.n_dense and needs_model:
            state = "embedding"
        progress = None if state == "ready" else self._progress.get(row.collection)
        if state == "embedding" and needs_model:
            progress = _CONVERTING
        return IndexStatus(
            collection=row.collection,
            title=row.title,
            state=state,
            n_files=row.n_files,
            n_chunks=row.n_chunks,
            n_lines=row.n_lines,
            n_dense=row.n_dense,
            n_pending=row.n_chunks - row.n_dense if row.embedding_model else 0,
            is_watched=self._following.is_followed(row.collection),
            fingerprint=row.fingerprint,
            embedding_model=row.embedding_model,
            created_at=row.created_at,
            updated_at=row.updated_at,
            metadata=row.metadata,
            progress=progress,
        )

    def warm_up(self) -> None:
        """Open the embedding model behind, where it is converted: somebody looks at what a query would need it for."""
        if self._readiness is not None:
            self._readiness.warm_up()

    def delete(self, collection: str) -> None:
        """Follow the folder of a collection no more, and delete its index."""
        self._following.unfollow(collection)
        with self.store.exclusive(collection, lambda: None):
            self.store.delete(collection)

    def close(self) -> None:
        """Stop following and filling in, and let go of the memory held."""
        self._following.close()
        if self._filler is not None:
            self._filler.close()
        if self._readiness is not None:
            self._readiness.close()
        self.store.close()

    def _read(self, collection: str) -> tuple[CollectionRow, Generation]:
        """Load a collection for what is no query; one may follow."""
        row, generation = self.store.load(collection)
        if row.n_dense and self._is_ours(row.embedding_model):
            self.warm_up()
        return row, generation

    def _embedder_for(self, generation: Generation) -> Embedder | None:
        """Return what embeds a query of an index; None where that would take long, or there is nothing to compare."""
        if self._readiness is None:
            return self._embedder
        if generation.dense is None or not self._is_ours(generation.manifest.embedding_model):
            return None
        return self._readiness.for_query()

    def _is_ours(self, embedding_model: str) -> bool:
        return self._embedder is not None and embedding_model == self._embedder.name

    def _tell(self, collection: str, step: IndexProgress | None) -> None:
        if step is None:
            self._progress.pop(collection, None)
        else:
            self._progress[collection] = step

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


def _filler(
    settings: RagSettings, store: Store, embedder: Embedder, tell: Callable[[str, IndexProgress | None], None]
) -> Filler:
    cache = settings.folder / "embeddings.sqlite3"
    cached = CachedEmbedder(embedder, cache, max_rows=settings.max_cached_embeddings)
    prepare = embedder.prepare if isinstance(embedder, SentenceTransformerEmbedder) else None
    return Filler(store, cached, embedder.name, prepare, tell)
