"""Where collections live on disk, and how a new index takes the place of the old one.

Under `<home>/rag`: `catalog.sqlite3` with one row per collection, `collections/<collection>/` with the generation's
file and the folders that it names, `locks/` with the lock files of collections. A commit writes the folders that are
new, then the file, all flushed, and then names the file in the row: a crash at any moment leaves the previous index or
the new one, whole. Knows nothing of how indexes are made.
"""

import fcntl
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from rag.catalog import Catalog, CollectionRow, check_name
from rag.durable import remove_folder, write_file, write_folder
from rag.errors import CollectionNotFoundError, RagError
from rag.generation import FORMAT_VERSION, Generation, read_generation
from rag.part import Part
from rag.segments import Segment

# How often a waiting indexer looks whether another process gave the collection free, and whether it was cancelled.
_LOCK_POLL_S: Final = 0.05

# A reader that finds its generation gone looks again; each try means that another commit came in between.
_READ_TRIES: Final = 5


class Store:
    """Committed collections. Safe to use from any thread, and beside other processes on the same folder."""

    def __init__(self, folder: Path, *, max_open: int) -> None:
        self.catalog = Catalog(folder / "catalog.sqlite3")
        self._folder = folder
        self._max_open = max_open
        self._open: OrderedDict[str, tuple[str, Generation]] = OrderedDict()
        self._open_lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}  # by the names of lock files

    def load(self, collection: str) -> tuple[CollectionRow, Generation]:
        """Return the committed row and its index, from memory when it is there.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RagError: its files are damaged, or of another release.
        """
        held: tuple[str, Generation] | None = None
        for _ in range(_READ_TRIES):
            row = self.find(collection)
            if row.versions.partition(".")[0] != str(FORMAT_VERSION):
                raise RagError(f"the index of collection {collection!r} was made by another release; index it again")
            with self._open_lock:
                held = self._open.get(collection, held)
                if held is not None and held[0] == row.generation:
                    self._open[collection] = held
                    self._open.move_to_end(collection)
                    return row, held[1]
            try:
                generation = read_generation(self._folder_of(collection), row.generation, held[1] if held else None)
            except FileNotFoundError:
                continue  # replaced or deleted between the row and the files
            self._hold(collection, row.generation, generation)
            return row, generation
        raise RagError(
            f"the index of collection {collection!r} is missing files; delete the collection and index again"
        )

    def find(self, collection: str) -> CollectionRow:
        """Return the committed row. Raises CollectionNotFoundError when there is none."""
        row = self.catalog.find(collection)
        if row is None:
            self.forget(collection)
            raise CollectionNotFoundError(f"there is no collection {collection!r}; index it first", param="collection")
        return row

    def commit(self, row: CollectionRow, generation: Generation) -> CollectionRow:
        """Make `generation` the index of `row.collection`; the caller holds `exclusive`. Returns the row as stored."""
        folder = self._folder_of(row.collection)
        pieces: tuple[Part | Segment, ...] = (*(live.part for live in generation.parts), *generation.segments)
        for piece in pieces:
            if not (folder / piece.name).is_dir():
                write_folder(folder / piece.name, piece.write)
        name = f"generation-{uuid.uuid4().hex}.json"
        write_file(folder / name, generation.described())
        committed = replace(row, generation=name)
        self.catalog.put(committed)
        self._hold(row.collection, name, generation)
        self._remove_others(folder, {name, *(piece.name for piece in pieces)})
        return committed

    def delete(self, collection: str) -> None:
        """Delete a collection; the caller holds `exclusive`. Raises CollectionNotFoundError when there is none."""
        self.find(collection)
        self.catalog.delete(collection)
        self.forget(collection)
        remove_folder(self._folder_of(collection))

    def forget(self, collection: str) -> None:
        """Drop a collection from memory."""
        with self._open_lock:
            self._open.pop(collection, None)

    def close(self) -> None:
        """Drop everything from memory; the store can be used again."""
        with self._open_lock:
            self._open.clear()

    @contextmanager
    def exclusive(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """Hold the only right to change `collection`, among threads and processes; released even by a crash.

        `check` is called while waiting and may raise to give up.
        """
        with self._locked(_changing(collection), check):
            yield

    @contextmanager
    def filling(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """Hold the only right to fill in dense vectors of `collection`; independent of `exclusive`, else like it."""
        with self._locked(_filling(collection), check):
            yield

    def is_changing(self, collection: str) -> bool:
        """Tell whether some thread or process is changing `collection` right now."""
        return self._is_locked(_changing(collection))

    def is_filling(self, collection: str) -> bool:
        """Tell whether some thread or process is filling in dense vectors of `collection` right now."""
        return self._is_locked(_filling(collection))

    @contextmanager
    def _locked(self, name: str, check: Callable[[], None]) -> Iterator[None]:
        locks = self._folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with self._open_lock:
            busy = self._busy.setdefault(name, threading.Lock())
        while not busy.acquire(timeout=_LOCK_POLL_S):
            check()
        try:
            descriptor = os.open(locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                while not _try_lock(descriptor):
                    check()
                    time.sleep(_LOCK_POLL_S)
                yield
            finally:
                os.close(descriptor)  # which releases the lock
        finally:
            busy.release()

    def _is_locked(self, name: str) -> bool:
        with self._open_lock:
            busy = self._busy.get(name)
        if busy is not None and busy.locked():
            return True
        try:
            descriptor = os.open(self._folder / "locks" / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor)
        finally:
            os.close(descriptor)

    def _folder_of(self, collection: str) -> Path:
        check_name(collection)  # again here, where a bad name would do harm
        return self._folder / "collections" / collection

    def _hold(self, collection: str, name: str, generation: Generation) -> None:
        with self._open_lock:
            self._open[collection] = (name, generation)
            self._open.move_to_end(collection)
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)

    @staticmethod
    def _remove_others(folder: Path, kept: set[str]) -> None:
        """Remove what the generation does not name, leftovers of a crash too; an open index is all in memory."""
        for other in folder.iterdir():
            if other.name in kept:
                continue
            if other.is_dir():
                remove_folder(other)
            else:
                other.unlink(missing_ok=True)


def _changing(collection: str) -> str:
    return f"{collection}.lock"


def _filling(collection: str) -> str:
    return f"{collection}.filling"


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
