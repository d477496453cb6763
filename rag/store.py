"""What keeps collections: what a folder (`folder_store`) and a database (`postgres.store`) have in common.

Whatever keeps them, a commit is whole or has not happened, a reader sees the last one, and one thread of all processes
changes a collection at a time. Knows nothing of how indexes are made.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from rag.catalog import CollectionRow, CollectionTable
from rag.errors import CollectionNotFoundError, RagError
from rag.generation import FORMAT_VERSION, Generation

# A reader that finds its generation gone looks again; each try means that another commit came in between.
READ_TRIES: Final = 5

# How often a waiting indexer looks whether another process gave the collection free, and whether it was cancelled.
LOCK_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Busy:
    """Collections that some thread or process is changing, or filling in, at one moment."""

    changing: frozenset[str]
    filling: frozenset[str]


class Store(Protocol):
    """Committed collections. Safe to use from any thread, and beside other processes."""

    @property
    def catalog(self) -> CollectionTable:
        """The rows of the collections."""

    def load(self, collection: str) -> tuple[CollectionRow, Generation]:
        """Return the committed row and its index, from memory when it is there.

        Raises:
            CollectionNotFoundError: there is no such collection.
            RagError: its files are damaged, or of another release.
        """

    def find(self, collection: str) -> CollectionRow:
        """Return the committed row. Raises CollectionNotFoundError when there is none."""

    def commit(self, row: CollectionRow, generation: Generation) -> CollectionRow:
        """Make `generation` the index of `row.collection`; the caller holds `exclusive`. Returns the row as stored.

        What `load` returns from now on may have more dense vectors than `generation`: those that are known already.
        """

    def delete(self, collection: str) -> None:
        """Delete a collection; the caller holds `exclusive`. Raises CollectionNotFoundError when there is none."""

    def close(self) -> None:
        """Drop everything from memory; the store can be used again."""

    def exclusive(self, collection: str, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold the only right to change `collection`, among threads and processes; released even by a crash.

        `check` is called while waiting and may raise to give up.
        """

    def filling(self, collection: str, check: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold the only right to fill in dense vectors of `collection`; independent of `exclusive`, else like it."""

    def is_changing(self, collection: str) -> bool:
        """Tell whether some thread or process is changing `collection` right now."""

    def is_filling(self, collection: str) -> bool:
        """Tell whether some thread or process is filling in dense vectors of `collection` right now."""

    def busy(self, collections: Sequence[str]) -> Busy:
        """Tell of many collections at once what `is_changing` and `is_filling` tell of one."""


class OpenGenerations:
    """Generations held in memory, the least recently used dropped first. Safe to use from any thread."""

    def __init__(self, max_open: int) -> None:
        self._max_open = max_open
        self._open: OrderedDict[str, tuple[str, Generation]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, collection: str) -> tuple[str, Generation] | None:
        """Return what is held of a collection, and under which generation's name."""
        with self._lock:
            held = self._open.get(collection)
            if held is not None:
                self._open.move_to_end(collection)
            return held

    def hold(self, collection: str, name: str, generation: Generation) -> None:
        """Hold a generation in the place of what was held of its collection."""
        with self._lock:
            self._open[collection] = (name, generation)
            self._open.move_to_end(collection)
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)

    def forget(self, collection: str) -> None:
        """Drop a collection."""
        with self._lock:
            self._open.pop(collection, None)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._open.clear()


def check_format(row: CollectionRow) -> None:
    """Raise RagError when another release wrote the files of a row's generation in another form."""
    if row.versions.partition(".")[0] != str(FORMAT_VERSION):
        raise RagError(f"the index of collection {row.collection!r} was made by another release; index it again")


def not_found(collection: str) -> CollectionNotFoundError:
    """Make the error of a collection that does not exist."""
    return CollectionNotFoundError(f"there is no collection {collection!r}; index it first", param="collection")


def missing_files(collection: str) -> RagError:
    """Make the error of a generation whose files are gone though its row is there."""
    return RagError(f"the index of collection {collection!r} is missing files; delete the collection and index again")
