"""Collections in a folder of this machine, and how a new index takes the place of the old one.

Under `<home>/rag`: `catalog.sqlite3` with one row per collection, `collections/<collection>/` with the generation's
file and the folders that it names, `locks/` with the lock files of collections. A commit writes the folders that are
new, then the file, all flushed, and then names the file in the row: a crash at any moment leaves the previous index or
the new one, whole. Knows nothing of how indexes are made.
"""

import errno
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from rag.catalog import Catalog, CollectionRow, check_name
from rag.durable import disk_failures, remove_folder, write_file, write_folder
from rag.generation import Generation, read_generation
from rag.part import Part
from rag.segments import Segment
from rag.store import LOCK_POLL_S, READ_TRIES, Busy, OpenGenerations, check_format, missing_files, not_found

# How a lock file cannot be opened where nobody can hold it: none was made, or the folder can only be read.
_NOBODY_LOCKS: Final = (errno.ENOENT, errno.EROFS, errno.EACCES)


class FolderStore:
    """The `Store` of one machine: any number of processes may use the same folder."""

    def __init__(self, folder: Path, *, max_open: int) -> None:
        self.catalog = Catalog(folder / "catalog.sqlite3")
        self._folder = folder
        self._open = OpenGenerations(max_open)
        self._busy_lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}  # by the names of lock files

    def load(self, collection: str) -> tuple[CollectionRow, Generation]:
        """See `Store`."""
        held: tuple[str, Generation] | None = None
        for _ in range(READ_TRIES):
            row = self.find(collection)
            check_format(row)
            held = self._open.get(collection) or held
            if held is not None and held[0] == row.generation:
                return row, held[1]
            try:
                generation = read_generation(self._folder_of(collection), row.generation, held[1] if held else None)
            except FileNotFoundError:
                continue  # replaced or deleted between the row and the files
            self._open.hold(collection, row.generation, generation)
            return row, generation
        raise missing_files(collection)

    def find(self, collection: str) -> CollectionRow:
        """See `Store`."""
        row = self.catalog.find(collection)
        if row is None:
            self._open.forget(collection)
            raise not_found(collection)
        return row

    def commit(self, row: CollectionRow, generation: Generation) -> CollectionRow:
        """See `Store`."""
        folder = self._folder_of(row.collection)
        pieces: tuple[Part | Segment, ...] = (*(live.part for live in generation.parts), *generation.segments)
        name = f"generation-{uuid.uuid4().hex}.json"
        with disk_failures(self._folder):
            for piece in pieces:
                if not (folder / piece.name).is_dir():
                    write_folder(folder / piece.name, piece.write)
            write_file(folder / name, generation.described())
        committed = replace(row, generation=name)
        self.catalog.put(committed)
        self._open.hold(row.collection, name, generation)
        self._remove_others(folder, {name, *(piece.name for piece in pieces)})
        return committed

    def delete(self, collection: str) -> None:
        """See `Store`."""
        self.find(collection)
        self.catalog.delete(collection)
        self._open.forget(collection)
        remove_folder(self._folder_of(collection))

    def close(self) -> None:
        """See `Store`."""
        self._open.clear()

    @contextmanager
    def exclusive(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """See `Store`."""
        with self._locked(_changing(collection), check):
            yield

    @contextmanager
    def filling(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """See `Store`."""
        with self._locked(_filling(collection), check):
            yield

    def is_changing(self, collection: str) -> bool:
        """See `Store`."""
        return self._is_locked(_changing(collection))

    def is_filling(self, collection: str) -> bool:
        """See `Store`."""
        return self._is_locked(_filling(collection))

    def busy(self, collections: Sequence[str]) -> Busy:
        """See `Store`."""
        return Busy(
            frozenset(collection for collection in collections if self.is_changing(collection)),
            frozenset(collection for collection in collections if self.is_filling(collection)),
        )

    @contextmanager
    def _locked(self, name: str, check: Callable[[], None]) -> Iterator[None]:
        with self._busy_lock:
            busy = self._busy.setdefault(name, threading.Lock())
        while not busy.acquire(timeout=LOCK_POLL_S):
            check()
        try:
            descriptor = self._open_lock(name)
            try:
                while not _try_lock(descriptor):
                    check()
                    time.sleep(LOCK_POLL_S)
                yield
            finally:
                os.close(descriptor)  # which releases the lock
        finally:
            busy.release()

    def _open_lock(self, name: str) -> int:
        locks = self._folder / "locks"
        with disk_failures(self._folder):
            locks.mkdir(parents=True, exist_ok=True)
            return os.open(locks / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _is_locked(self, name: str) -> bool:
        with self._busy_lock:
            busy = self._busy.get(name)
        if busy is not None and busy.locked():
            return True
        try:
            descriptor = os.open(self._folder / "locks" / name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NOBODY_LOCKS:
                return False
            raise
        try:
            return not _try_lock(descriptor)
        finally:
            os.close(descriptor)

    def _folder_of(self, collection: str) -> Path:
        check_name(collection)  # again here, where a bad name would do harm
        return self._folder / "collections" / collection

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
