"""One SQLite row per collection: what it is called, how large it is, and which generation of files is its index.

Committing a row is the moment at which a new index becomes the index. Knows nothing of what generations hold. Every
call that reads the file opens its own connection, so any thread and any process may use it; a rollback journal, unlike
a write-ahead log, costs a reader no files of its own.
"""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from rag.durable import disk_failures
from rag.errors import InvalidRequestError, RagError, StoreUnavailableError

SCHEMA_VERSION: Final = 1

MAX_NAME_CHARS: Final = 128
_NAME: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME_CHARS}}}")

_BUSY_TIMEOUT_S: Final = 30.0

# What SQLite says of a disk, a permission or another process, and not of what is in the file.
_PRIMARY_CODE: Final = 0xFF
_NOT_DAMAGED: Final = (
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM),
)

# A file whose stat is younger may change again within one tick of a coarse clock: a disk's, or FAT's of 2 s.
_RACY_NS: Final = 3_000_000_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS collections (
    collection TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    title TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    metadata TEXT NOT NULL,
    n_files INTEGER NOT NULL,
    n_chunks INTEGER NOT NULL,
    n_lines INTEGER NOT NULL,
    n_dense INTEGER NOT NULL,
    embedding_model TEXT NOT NULL,
    versions TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
)
"""
_COLUMNS: Final = (
    "collection, generation, title, fingerprint, metadata, n_files, n_chunks, n_lines, n_dense, embedding_model, "
    "versions, created_at, updated_at"
)


def check_name(collection: str) -> None:
    """Refuse names that are not letters, digits, `.`, `_` or `-`, or that a file system reads as a path."""
    if not _NAME.fullmatch(collection) or not collection.strip("."):
        raise InvalidRequestError(
            f"collection {collection[:MAX_NAME_CHARS]!r} is not a usable name; use 1 to {MAX_NAME_CHARS} letters, "
            "digits, '.', '_' or '-', not only dots",
            param="collection",
        )


@dataclass(frozen=True)
class CollectionRow:
    """One collection as committed; the fields are those of `IndexStatus`, and the generation that holds it."""

    collection: str
    generation: str
    title: str = ""
    fingerprint: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    n_files: int = 0
    n_chunks: int = 0
    n_lines: int = 0
    n_dense: int = 0
    embedding_model: str = ""
    versions: str = ""  # of the code that made the generation; another version's is made anew
    created_at: str = ""
    updated_at: str = ""


class CollectionTable(Protocol):
    """One row per collection."""

    def find(self, collection: str) -> CollectionRow | None:
        """Return the row of `collection`, or None."""

    def page(self, after: tuple[str, str] | None, limit: int) -> list[CollectionRow]:
        """Return up to `limit` rows by title and then name, those behind the (title, name) `after`."""

    def count(self) -> int:
        """Count the collections."""

    def put(self, row: CollectionRow) -> None:
        """Replace the row of a generation that is committed, by one that says other things of it."""


class _Found(NamedTuple):
    """What was read of the file while its stat was this."""

    stat: tuple[int, ...] | None
    rows: dict[str, CollectionRow]


class Catalog:
    """The table of collections in one SQLite file, which is made by the first write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: _Found | None = None

    def find(self, collection: str) -> CollectionRow | None:
        """Return the row of `collection`, or None; from memory while the file's stat is the one of the last time.

        A query asks this first, and opening the file takes .8 ms of it. Only the stat is read beside SQLite: to open
        and close the file would take from this process the locks that SQLite holds on it.
        """
        stat = self._settled_stat()
        found = self._found
        if stat is None or found is None or found.stat != stat:
            found = _Found(stat, {})
        if collection in found.rows:
            return found.rows[collection]
        row = self._read(collection)
        if row is not None and stat is not None and stat == self._settled_stat():
            found.rows[collection] = row
            self._found = found
        return row

    def _settled_stat(self) -> tuple[int, ...] | None:
        """Describe the file; None while it is so young that another commit might not change its stat."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < _RACY_NS:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def _read(self, collection: str) -> CollectionRow | None:
        with self._reading() as connection:
            if connection is None:
                return None
            query = f"SELECT {_COLUMNS} FROM collections WHERE collection = ?"  # noqa: S608 - a constant of this file
            row = connection.execute(query, [collection]).fetchone()
        return _row(row) if row else None

    def page(self, after: tuple[str, str] | None, limit: int) -> list[CollectionRow]:
        """Return up to `limit` rows by title and then name, those behind the (title, name) `after`."""
        with self._reading() as connection:
            if connection is None:
                return []
            query = (
                f"SELECT {_COLUMNS} FROM collections "  # noqa: S608 - a constant of this file
                "WHERE ? OR (title, collection) > (?, ?) ORDER BY title, collection LIMIT ?"
            )
            rows = connection.execute(query, [after is None, *(after or ("", "")), limit]).fetchall()
        return [_row(row) for row in rows]

    def count(self) -> int:
        """Count the collections."""
        with self._reading() as connection:
            return connection.execute("SELECT count(*) FROM collections").fetchone()[0] if connection else 0

    def put(self, row: CollectionRow) -> None:
        """Insert or replace a row; on return it is on disk."""
        values = [
            *(row.collection, row.generation, row.title, row.fingerprint),
            json.dumps(row.metadata),
            *(row.n_files, row.n_chunks, row.n_lines, row.n_dense),
            *(row.embedding_model, row.versions, row.created_at, row.updated_at),
        ]
        marks = ", ".join("?" * len(values))
        with self._connected() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO collections ({_COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants and marks
                values,
            )

    def delete(self, collection: str) -> bool:
        """Delete a row; False when there was none."""
        if not self._path.exists():
            return False
        with self._connected() as connection:
            return connection.execute("DELETE FROM collections WHERE collection = ?", [collection]).rowcount > 0

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open the file for one question; None when it was never made, which asking does not change."""
        if not self._path.exists():
            yield None
            return
        with self._connected() as connection:
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with disk_failures(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)) as connection:
                self._prepare(connection)
                with connection:
                    yield connection
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _NOT_DAMAGED:
                raise StoreUnavailableError(
                    f"the catalogue of collections {self._path} cannot be used: {error}; make room or let it be "
                    "written, or point CINQUE_HOME at another folder"
                ) from error
            raise RagError(
                f"the catalogue of collections {self._path} cannot be used: {error}; move the file away and index again"
            ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise RagError(
                f"the catalogue of collections {self._path} was made by a newer release (schema {version}, this one "
                f"knows {SCHEMA_VERSION}); update, or point CINQUE_HOME at another folder"
            )
        with connection:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _row(values: tuple[Any, ...]) -> CollectionRow:
    collection, generation, title, fingerprint, metadata, *rest = values
    return CollectionRow(collection, generation, title, fingerprint, json.loads(metadata), *rest)
