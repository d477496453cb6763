"""Bring a collection up to date with its text, so that it can be searched by words and static vectors.

Only files whose text changed are cut into chunks; everything else is taken over untouched, and what belonged to deleted
or changed files dies, so no ghost of it can be found. One indexing of a collection runs at a time; readers keep the
previous generation until the commit. Dense vectors are filled in afterwards, by `filling`. Knows nothing of queries.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from rag.catalog import CollectionRow
from rag.chunking import chunk_document, text_to_embed
from rag.errors import CollectionNotFoundError, RagError
from rag.generation import VERSIONS, Generation
from rag.manifest import IndexedFile, Manifest
from rag.merging import next_generation
from rag.part import Part, make_part
from rag.progress import Progress
from rag.settings import RagSettings
from rag.static_vectors import Bytes, StaticEmbedder, to_bytes
from rag.store import Store
from rag.sync import Scan, SourceFile, scan_documents, scan_folder
from rag.types import Chunk, Document, IndexReport, IndexRequest, SkippedFile

# Skipped files named in a report; the rest are counted.
MAX_SKIPPED_NAMED: Final = 100

# Texts that the static model takes between two looks at the caller's wish to stop: a quarter of a second.
_TEXTS_PER_STEP: Final = 512

# How often it is told how far these are, s.
_TELL_S: Final = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Change:
    """What differs between the previous generation and the text found now."""

    scan: Scan
    changed: list[SourceFile]
    gone: set[str]  # paths no longer there
    has_new_stats: bool  # the disk describes unchanged or skipped files otherwise, or they were read to be sure

    @property
    def is_nothing(self) -> bool:
        return not self.changed and not self.gone and not self.has_new_stats


class Indexer:
    """Indexes collections of one store. Safe to call from any thread; `request` has been checked."""

    def __init__(self, settings: RagSettings, store: Store, model: str, static: StaticEmbedder | None) -> None:
        """Index for dense vectors of `model`, "" for none, and embed with `static` where it is given."""
        self._settings = settings
        self._store = store
        self._model = model
        self._static = static
        self.versions: Final = f"{VERSIONS}+{static.name}" if static else VERSIONS

    def run(self, request: IndexRequest, progress: Progress) -> IndexReport:
        """Bring the collection up to date with the request's text, but for dense vectors."""
        started = time.monotonic()
        with self._store.exclusive(request.collection, progress.check):
            row = self._row(request.collection)
            is_current = row is not None and self.is_current(row)
            if row is not None and is_current and request.fingerprint and request.fingerprint == row.fingerprint:
                row = replace(row, updated_at=_now())  # it was synced just now, which keeps it from expiring
                self._store.catalog.put(row)
                return _report(row, None, started)
            previous = self._previous(row)
            scan = self._scan(request, previous.manifest, progress)
            change = _compare(previous.manifest, scan)
            if row is None or not is_current or not change.is_nothing:
                generation = self._next(previous, change, progress)
                progress.check()
                row = self._store.commit(self._describe(request, row, generation), generation)
            else:
                row = _touched(request, row)
                self._store.catalog.put(row)
        return _report(row, change, started)

    def is_current(self, row: CollectionRow) -> bool:
        """Tell whether this code and these embedding models made the row's generation."""
        return row.versions == self.versions and row.embedding_model == self._model

    def _row(self, collection: str) -> CollectionRow | None:
        try:
            return self._store.find(collection)
        except CollectionNotFoundError:
            return None

    def _previous(self, row: CollectionRow | None) -> Generation:
        """Return what can be built upon; a damaged or outdated index is made anew from nothing."""
        if row is None or row.versions != self.versions:
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
        manifest = Manifest(
            embedding_model=self._model,
            scanned_at_ns=change.scan.scanned_at_ns,
            files=tuple(source.indexed for source in change.scan.files),
            skipped=(*change.scan.trusted_skipped, *change.scan.read_and_skipped),
        )
        replaced = change.gone | {source.indexed.path for source in change.changed}
        return next_generation(previous, manifest, replaced, self._added(change.changed, progress))

    def _added(self, changed: list[SourceFile], progress: Progress) -> Part | None:
        """Cut what changed into chunks; None when nothing did."""
        files: list[tuple[IndexedFile, list[Chunk]]] = []
        for number, source in enumerate(changed):
            progress.report("chunking", number, len(changed))
            files.append((source.indexed, chunk_document(Document(source.indexed.path, source.content or ""))))
        progress.report("chunking", len(changed), len(changed))
        if not files:
            return None
        return self._part_of(files, progress)

    def _part_of(self, files: list[tuple[IndexedFile, list[Chunk]]], progress: Progress) -> Part:
        """Weigh the words of chunks and make their static vectors, and tell how far the slower of the two is."""
        chunks = [chunk for _, found in files for chunk in found]
        n_done = 0

        def on_step(n_more: int) -> None:
            nonlocal n_done
            progress.check()
            n_done += n_more

        progress.report("weighing", 0, len(chunks))
        # Tokenizers work outside of the interpreter's lock, so words are weighed meanwhile.
        with ThreadPoolExecutor(max_workers=2) as beside:
            static, part = beside.submit(self._embed, chunks, on_step), beside.submit(make_part, files)
            both: tuple[Future[Any], ...] = (static, part)
            while wait(both, timeout=_TELL_S).not_done:
                progress.report("weighing", n_done, len(chunks))
        made = replace(part.result(), static=static.result())
        progress.report("weighing", len(chunks), len(chunks))
        return made

    def _embed(self, chunks: Sequence[Chunk], on_step: Callable[[int], None]) -> Bytes | None:
        """Make the static vectors of chunks, (n, d); `on_step` may raise to stop."""
        if self._static is None:
            return None
        vectors = []
        for start in range(0, max(len(chunks), 1), _TEXTS_PER_STEP):
            texts = [text_to_embed(chunk) for chunk in chunks[start : start + _TEXTS_PER_STEP]]
            vectors.append(to_bytes(self._static.embed(texts)))
            on_step(len(texts))
        return np.concatenate(vectors)

    def _describe(self, request: IndexRequest, row: CollectionRow | None, generation: Generation) -> CollectionRow:
        """Write the row of a generation that is about to be committed."""
        fresh = CollectionRow(
            collection=request.collection,
            generation="",  # named by the store
            n_files=len(generation.manifest.files),
            n_chunks=len(generation.keys),
            n_lines=generation.n_lines,
            n_dense=int(generation.has_dense.sum()),
            embedding_model=generation.manifest.embedding_model,
            versions=self.versions,
            created_at=row.created_at if row else _now(),
        )
        return _touched(request, fresh)


def _compare(previous: Manifest, scan: Scan) -> _Change:
    known = previous.by_path
    changed = [source for source in scan.examined if source.content is not None]
    has_new_stats = bool(scan.read_and_skipped) or any(
        source.content is None and source.indexed.stat for source in scan.examined
    )
    still_there = [source.indexed.path for source in scan.examined if source.indexed.path in known]
    gone: set[str] = set()
    if len(scan.trusted) + len(still_there) < len(known):
        gone = known.keys() - {file.path for file in scan.trusted} - set(still_there)
    return _Change(scan, changed, gone, has_new_stats)


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
