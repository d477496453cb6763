"""Make the next generation of a collection from the previous one and from what its text is now.

Only files whose text changed are cut into chunks and embedded; everything else is taken over, and what belonged to
deleted or changed files is left out, so no ghost of it can be found. One indexing of a collection runs at a time;
readers keep the previous generation until the commit. Knows nothing of queries.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from rag.catalog import CollectionRow
from rag.chunking import chunk_document, text_to_embed
from rag.dense import DenseIndex, keys_of
from rag.embedding import Embedder
from rag.embedding_cache import CachedEmbedder
from rag.errors import CollectionNotFoundError, IndexCancelledError, RagError
from rag.generation import VERSIONS, Generation, Manifest
from rag.settings import RagSettings
from rag.sparse import SparseIndex, weigh_words
from rag.store import Store
from rag.sync import Scan, SourceFile, scan_documents, scan_folder
from rag.types import Chunk, Document, IndexProgress, IndexReport, IndexRequest, SkippedFile

Stage = Literal["reading", "chunking", "embedding", "committing"]

# Skipped files named in a report; the rest are counted.
MAX_SKIPPED_NAMED: Final = 100

# A progress report crosses the MCP seam; this many a stage are smooth enough for a bar.
_REPORTS_PER_STAGE: Final = 100

log = logging.getLogger(__name__)


class Progress:
    """Tells the caller how far an indexing is, and notices that the caller wants it to stop."""

    def __init__(
        self, on_progress: Callable[[IndexProgress], None] | None, cancelled: threading.Event | None, collection: str
    ) -> None:
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._collection = collection
        self._last: tuple[str, int, int] | None = None

    def check(self) -> None:
        """Raise IndexCancelledError once the caller's event is set."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise IndexCancelledError(
                f"indexing of collection {self._collection!r} was cancelled; its previous index is unchanged"
            )

    def report(self, stage: Stage, done: int, total: int) -> None:
        """Check, and pass on the first, the last and every hundredth part of a stage."""
        self.check()
        step = max(1, total // _REPORTS_PER_STAGE)
        if self._on_progress is None or (done % step and done != total) or self._last == (stage, done, total):
            return
        self._last = (stage, done, total)
        self._on_progress(IndexProgress(stage, done, total))

    def finish(self) -> None:
        """Say that the commit is done; too late to stop."""
        if self._on_progress is not None:
            self._on_progress(IndexProgress("committing", 1, 1))


@dataclass(frozen=True)
class _Change:
    """What differs between the previous generation and the text found now."""

    scan: Scan
    changed: list[SourceFile]
    gone: set[str]  # paths no longer there
    kept_rows: list[int]  # of the previous generation

    @property
    def is_nothing(self) -> bool:
        return not self.changed and not self.gone


class Indexer:
    """Indexes collections of one store. Safe to call from any thread; `request` has been checked."""

    def __init__(self, settings: RagSettings, store: Store, embedder: Embedder | None) -> None:
        self._settings = settings
        self._store = store
        self._model = embedder.name if embedder else ""
        self._cached = (
            CachedEmbedder(embedder, settings.folder / "embeddings.sqlite3", max_rows=settings.max_cached_embeddings)
            if embedder
            else None
        )

    def run(self, request: IndexRequest, progress: Progress) -> IndexReport:
        """Bring the collection up to date with the request's text. See `Retrieval.index`."""
        started = time.monotonic()
        with self._store.exclusive(request.collection, progress.check):
            row = self._row(request.collection)
            if (
                row is not None
                and self._is_current(row)
                and request.fingerprint
                and request.fingerprint == row.fingerprint
            ):
                row = replace(row, updated_at=_now())  # it was synced just now, which keeps it from expiring
                self._store.catalog.put(row)
                return _report(row, None, started)
            previous = self._previous(row)
            scan = self._scan(request, previous.manifest, progress)
            change = _compare(previous, scan)
            if row is None or not change.is_nothing or not self._is_current(row):
                generation = self._next(previous, change, progress)
                progress.report("committing", 0, 1)
                row = self._store.commit(_describe(request, row, generation), generation)
                progress.finish()
            else:
                row = _touched(request, row)
                self._store.catalog.put(row)
        return _report(row, change, started)

    def _row(self, collection: str) -> CollectionRow | None:
        try:
            return self._store.find(collection)
        except CollectionNotFoundError:
            return None

    def _is_current(self, row: CollectionRow) -> bool:
        """Tell whether this code and this embedding model made the row's generation."""
        return row.versions == VERSIONS and row.embedding_model == self._model

    def _previous(self, row: CollectionRow | None) -> Generation:
        """Return what can be built upon; a damaged or outdated index is made anew from nothing."""
        if row is None or row.versions != VERSIONS:
            return Generation()
        try:
            return self._store.load(row.collection)[1]
        except RagError as error:
            log.warning("index is made anew", extra={"collection": row.collection, "error": error.message})
            return Generation()

    def _scan(self, request: IndexRequest, previous: Manifest, progress: Progress) -> Scan:
        def tick(done: int, total: int) -> None:
            progress.report("reading", done, total)

        if request.root is not None:
            return scan_folder(Path(request.root), previous, self._settings, tick)
        return scan_documents(request.documents or (), previous, self._settings, tick)

    def _next(self, previous: Generation, change: _Change, progress: Progress) -> Generation:
        kept = [previous.chunks[row] for row in change.kept_rows]
        added: list[Chunk] = []
        words: list[dict[str, float]] = []
        for number, source in enumerate(change.changed):
            progress.report("chunking", number, len(change.changed))
            chunks = chunk_document(Document(source.indexed.path, source.content or ""))
            added.extend(chunks)
            words.extend(weigh_words(chunk) for chunk in chunks)
        progress.report("chunking", len(change.changed), len(change.changed))
        manifest = Manifest(
            embedding_model=self._model,
            scanned_at_ns=change.scan.scanned_at_ns,
            files=tuple(source.indexed for source in change.scan.files),
        )
        table = previous.sparse.table.extended(change.kept_rows, words)
        dense = self._embed(previous, kept, added, progress)
        return Generation(manifest, (*kept, *added), SparseIndex(table), dense)

    def _embed(
        self, previous: Generation, kept: list[Chunk], added: list[Chunk], progress: Progress
    ) -> DenseIndex | None:
        """Take over the vectors of kept chunks, where they are of the same model, and compute the others."""
        if self._cached is None or not (kept or added):
            return None
        base = previous.dense if previous.manifest.embedding_model == self._model else None
        missing = added if base is not None else [*kept, *added]
        vectors = self._cached.embed(
            [text_to_embed(chunk) for chunk in missing], lambda done: progress.report("embedding", done, len(missing))
        )
        still_there = {chunk.chunk_id for chunk in kept}
        gone = [chunk.chunk_id for chunk in previous.chunks if base and chunk.chunk_id not in still_there]
        base = base or DenseIndex.empty(vectors.shape[1])
        return base.updated(keys_of(gone), keys_of([chunk.chunk_id for chunk in missing]), vectors)


def _compare(previous: Generation, scan: Scan) -> _Change:
    changed = [source for source in scan.files if source.content is not None]
    unchanged = {source.indexed.path for source in scan.files if source.content is None}
    found = {source.indexed.path for source in scan.files}
    gone = {path for path in previous.manifest.by_path if path not in found}
    kept_rows = [row for row, chunk in enumerate(previous.chunks) if chunk.path in unchanged]
    return _Change(scan, changed, gone, kept_rows)


def _describe(request: IndexRequest, row: CollectionRow | None, generation: Generation) -> CollectionRow:
    """Write the row of a generation that is about to be committed."""
    fresh = CollectionRow(
        collection=request.collection,
        generation="",  # named by the store
        n_files=len(generation.manifest.files),
        n_chunks=len(generation.chunks),
        n_lines=generation.n_lines,
        n_dense=len(generation.dense) if generation.dense is not None else 0,
        embedding_model=generation.manifest.embedding_model,
        versions=generation.manifest.versions,
        created_at=row.created_at if row else _now(),
    )
    return _touched(request, fresh)


def _touched(request: IndexRequest, row: CollectionRow) -> CollectionRow:
    """Bring what the caller says about a collection up to date; a collection without a title goes by its name."""
    return replace(
        row,
        title=request.title or request.collection,
        fingerprint=request.fingerprint,
        metadata=dict(request.metadata),
        updated_at=_now(),
    )


def _report(row: CollectionRow, change: _Change | None, started: float) -> IndexReport:
    skipped: tuple[SkippedFile, ...] = change.scan.skipped if change else ()
    return IndexReport(
        collection=row.collection,
        already_synced=change is None,
        n_files=row.n_files,
        n_chunks=row.n_chunks,
        n_lines=row.n_lines,
        n_dense=row.n_dense,
        n_files_changed=len(change.changed) if change else 0,
        n_files_deleted=len(change.gone) if change else 0,
        skipped=skipped[:MAX_SKIPPED_NAMED],
        n_skipped=len(skipped),
        duration_ms=round((time.monotonic() - started) * 1000),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
