"""The `Store` of a database: every process that names the same one has the same collections.

A commit is one transaction, on the connection that holds the collection's lock: the row, the parts that are new, the
vectors, and the end of what no generation names any more. So a crash at any moment leaves the previous index or the new
one, and a process that lost its lock cannot commit. Parts are read from a local folder, `<home>/rag/shared-*`, by the
code that reads those of a `FolderStore`, so all but dense search is the same to the last bit.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import SecretStr

from rag.catalog import CollectionRow, check_name
from rag.chunking import CHUNKER_VERSION
from rag.errors import CollectionNotFoundError, RagError, StoreUnavailableError
from rag.generation import Generation, restore_generation
from rag.postgres.catalog import PostgresCatalog, find_row, put_row, set_dense
from rag.postgres.database import Connection, Database
from rag.postgres.locks import locked, locks_held
from rag.postgres.pieces import Copies, drop_pieces, store_piece, stored_names
from rag.postgres.vectors import PostgresVectors, commit_vectors, drop_vectors, read_vectors
from rag.store import READ_TRIES, Busy, OpenGenerations, check_format, missing_files, not_found

_DESCRIPTION: Final = "SELECT number, description FROM cinque_rag.collections WHERE collection = %s"

# Digits of the database's identity in the name of the folder of copies.
_IDENTITY_DIGITS: Final = 12


class PostgresStore:
    """Collections in one database. Safe to use from any thread, process and machine."""

    def __init__(self, url: SecretStr, folder: Path, *, max_open: int) -> None:
        """Open nothing yet; `folder` is where copies of parts are kept."""
        self._database = Database(url)
        self.catalog = PostgresCatalog(self._database)
        self._folder = folder
        self._open = OpenGenerations(max_open)
        self._reading = threading.Lock()  # threads that ask for the same new generation fetch it once
        self._changing: dict[str, Connection] = {}

    def load(self, collection: str) -> tuple[CollectionRow, Generation]:
        """See `Store`."""
        row = self.find(collection)
        check_format(row)
        held = self._open.get(collection)
        if held is not None and held[0] == row.generation:
            return row, held[1]
        with self._reading:
            return self._read(collection)

    def find(self, collection: str) -> CollectionRow:
        """See `Store`."""
        row = self.catalog.find(collection)
        if row is None:
            self._forget(collection)
            raise not_found(collection)
        return row

    def commit(self, row: CollectionRow, generation: Generation) -> CollectionRow:
        """See `Store`."""
        connection = self._changing[row.collection]
        parts = {live.part.name: live.part for live in generation.parts}
        name = f"generation-{uuid.uuid4().hex}.json"
        model = _space_name(generation.manifest.embedding_model)
        vectors = generation.shared if isinstance(generation.shared, PostgresVectors) else None
        with self._copies.writing() as folder, self._database.failures():
            with connection.transaction():
                number = put_row(connection, replace(row, generation=name), generation.described())
                new = [part for part in parts.values() if part.name not in stored_names(connection, number)]
                for part in new:
                    (folder / part.name).mkdir()
                    part.write(folder / part.name)
                    store_piece(connection, number, folder / part.name)
                drop_pieces(connection, number, set(parts))
                living = np.unique(generation.keys)
                shared = commit_vectors(connection, vectors or PostgresVectors(self._database), number, model, living)
                committed = replace(generation, segments=(), shared=shared)
                row = replace(row, generation=name, n_dense=int(committed.has_dense.sum()))
                set_dense(connection, number, row.n_dense)
            self._open.hold(row.collection, name, committed)
            for part in new:
                self._copies.keep(row.collection, folder / part.name)
        self._copies.remove_others(row.collection, set(parts))
        return row

    def delete(self, collection: str) -> None:
        """See `Store`."""
        connection = self._changing[collection]
        with self._database.failures(), connection.transaction():
            found = connection.execute(
                "DELETE FROM cinque_rag.collections WHERE collection = %s RETURNING number", [collection]
            ).fetchone()
            if found is not None:
                drop_pieces(connection, found[0], set())
                drop_vectors(connection, found[0])
        self._forget(collection)
        if found is None:
            raise not_found(collection)

    def close(self) -> None:
        """See `Store`."""
        self._open.clear()
        self._database.close()

    @contextmanager
    def exclusive(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """See `Store`."""
        check_name(collection)
        with locked(self._database, f"changing {collection}", check) as connection:
            self._changing[collection] = connection
            try:
                yield
            finally:
                del self._changing[collection]

    @contextmanager
    def filling(self, collection: str, check: Callable[[], None]) -> Iterator[None]:
        """See `Store`."""
        with locked(self._database, f"filling {collection}", check):
            yield

    def is_changing(self, collection: str) -> bool:
        """See `Store`."""
        return bool(self.busy([collection]).changing)

    def is_filling(self, collection: str) -> bool:
        """See `Store`."""
        return bool(self.busy([collection]).filling)

    def busy(self, collections: Sequence[str]) -> Busy:
        """See `Store`; one question to the server, however many they are."""
        if not collections:
            return Busy(frozenset(), frozenset())
        is_held = locks_held(self._database)
        return Busy(
            frozenset(name for name in collections if is_held(f"changing {name}")),
            frozenset(name for name in collections if is_held(f"filling {name}")),
        )

    def _read(self, collection: str) -> tuple[CollectionRow, Generation]:
        for attempt in range(READ_TRIES):
            try:
                with self._database.connected() as connection:
                    row, generation = self._read_once(connection, collection)
            except FileNotFoundError:
                continue  # another process on this machine removed the copies of what it thinks outdated
            except (CollectionNotFoundError, StoreUnavailableError):
                raise
            except RagError:
                if attempt:
                    raise
                self._copies.remove(collection)  # a damaged copy, unless it happens again
                continue
            self._open.hold(collection, row.generation, generation)
            return row, generation
        raise missing_files(collection)

    def _read_once(self, connection: Connection, collection: str) -> tuple[CollectionRow, Generation]:
        """Read row, parts and keys as they are at one moment, whatever is committed meanwhile."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row = find_row(connection, collection)
            described = connection.execute(_DESCRIPTION, [collection]).fetchone()
            if row is None or described is None:
                self._forget(collection)
                raise not_found(collection)
            number, description = described
            held = self._open.get(collection)
            if held is not None and held[0] == row.generation:
                return row, held[1]
            known = held[1] if held else None
            names = {part["name"] for part in json.loads(description)["parts"]}
            for name in names - {live.part.name for live in known.parts} if known else names:
                self._copies.fetch(connection, number, collection, name)
            vectors = read_vectors(connection, self._database, number, _space_name(row.embedding_model))
        generation = restore_generation(description, self._copies.of(collection) / row.generation, known)
        self._copies.remove_others(collection, names)
        return row, replace(generation, shared=vectors)

    @cached_property
    def _copies(self) -> Copies:
        return Copies(self._folder / f"shared-{self._database.identity[:_IDENTITY_DIGITS]}")

    def _forget(self, collection: str) -> None:
        self._open.forget(collection)
        self._copies.remove(collection)


def _space_name(model: str) -> str:
    """Name the vectors of a model: another way of cutting files makes other texts of chunks with equal keys."""
    return f"{model} {CHUNKER_VERSION}" if model else ""
