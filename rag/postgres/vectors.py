"""Dense vectors of all collections, a row for each chunk key and embedding model, searched in the database.

A *space* is the vectors of one model. Equal chunks of several collections share a row; `named` says whose index has it,
and a row that nobody names is deleted by the commit that names it no more. Numbers are of 16 bits (`halfvec`). A large
collection is searched through an HNSW index, which finds nearly all of the nearest; a small one, or what a filter
leaves of one, by comparing all of it, which is exact and as fast. Knows nothing of texts, and, beyond their keys, of
chunks.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
from pgvector import HalfVector
from psycopg.sql import SQL, Composed, Identifier, Literal

from rag.dense import Keys, Vectors
from rag.postgres.database import Connection, Database
from rag.postgres.schema import SCHEMA
from rag.segments import Mask, contains

# Comparing a vector takes 1.4 us, the index at least 8 ms: up to so many vectors, there is nothing to gain from it.
_EXACT_UP_TO: Final = 5_000

# What it costs to meet a vector in the index, whose neighbours are looked at too, in vectors compared one by one.
_INDEX_COST: Final = 30

# Rows in one statement: 400 KB with vectors of 384 numbers.
_ROWS_PER_INSERT: Final = 500

# Links of a vector in the index, and candidates looked at for them: pgvector's own. Raising them finds more and costs
# time at indexing and memory.
_LINKS: Final = 16
_CANDIDATES: Final = 64


def _no_keys() -> Keys:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Space:
    """The vectors of one model."""

    number: int
    dimensions: int

    @property
    def table(self) -> Identifier:
        """The table that holds them."""
        return Identifier(SCHEMA, f"vectors_{self.number}")


@dataclass(frozen=True, eq=False)
class PostgresVectors:
    """The vectors of one generation: the `SharedVectors` of a database."""

    database: Database
    collection: int = 0  # its number
    space: Space | None = None  # None while no vector of the model has been committed
    keys: Keys = field(default_factory=_no_keys)  # that have a vector, ascending
    committed: Keys = field(default_factory=_no_keys)  # that the database has under this collection's name, ascending
    added: tuple[tuple[Keys, Vectors], ...] = ()  # not committed yet
    n_all: int = 0  # about as many as the space has, of all collections

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def dimensions(self) -> int:
        """Numbers in a vector; 0 while there is none."""
        if self.space is not None:
            return self.space.dimensions
        return self.added[0][1].shape[1] if self.added else 0

    def holds(self, keys: Keys) -> Mask:
        """Tell which of some living keys have a vector, (n,)."""
        return contains(self.keys, keys)

    def kept(self, living: Keys) -> Self:
        """See `SharedVectors`."""
        return replace(self, keys=self.keys[contains(living, self.keys)])

    def with_vectors(self, keys: Keys, vectors: Vectors) -> Self:
        """See `SharedVectors`."""
        return replace(self, keys=np.union1d(self.keys, keys), added=(*self.added, (keys, vectors)))

    def search(self, query: Vectors, limit: int, among: Keys | None = None) -> tuple[Keys, Vectors]:
        """See `DenseVectors`; of vectors that are not committed yet none is found."""
        n_wanted = min(limit, len(self.keys) if among is None else len(among))
        if n_wanted <= 0 or self.space is None:
            return _no_keys(), np.zeros(0, dtype=np.float32)
        vector = HalfVector(np.ascontiguousarray(query, dtype=np.float32))
        if self._is_worth_the_index(n_wanted, among):
            keys, scores = self._ask(self._nearest(vector, n_wanted, among))
            if len(keys) >= n_wanted:
                return keys, scores
        return self._ask(self._compared(vector, n_wanted, among))

    def _is_worth_the_index(self, n_wanted: int, among: Keys | None) -> bool:
        """Guess: the index meets vectors of others too, in proportion, before it has met enough of ours."""
        n_ours = len(self.keys) if among is None else len(among)
        n_met = n_wanted * max(self.n_all, n_ours) / n_ours
        return n_ours > _EXACT_UP_TO and _INDEX_COST * n_met < n_ours

    def _nearest(self, vector: HalfVector, limit: int, among: Keys | None) -> Composed:
        """Write the question to the index. Its filter is a value, so that the index is asked in order of distance."""
        assert self.space is not None  # noqa: S101 - `search` saw to it
        ours = (
            SQL(
                "(SELECT true FROM cinque_rag.named n WHERE n.collection = {} AND n.space = {} AND n.key = v.key)"
            ).format(Literal(self.collection), Literal(self.space.number))
            if among is None
            else SQL("v.key = ANY({}::bigint[])").format(Literal(among.tolist()))
        )
        return SQL(
            "SELECT v.key, -(v.embedding <#> {vector}) FROM {table} v WHERE {ours} "
            "ORDER BY v.embedding <#> {vector} LIMIT {limit}"
        ).format(vector=Literal(vector), table=self.space.table, ours=ours, limit=Literal(limit))

    def _compared(self, vector: HalfVector, limit: int, among: Keys | None) -> Composed:
        """Write the question that compares all; its first half is done by itself, so that no index is asked."""
        assert self.space is not None  # noqa: S101 - as above
        ours = (
            SQL("SELECT n.key FROM cinque_rag.named n WHERE n.collection = {} AND n.space = {}").format(
                Literal(self.collection), Literal(self.space.number)
            )
            if among is None
            else SQL("SELECT unnest({}::bigint[]) AS key").format(Literal(among.tolist()))
        )
        return SQL(
            "WITH compared AS MATERIALIZED (SELECT v.key, v.embedding <#> {vector} AS distance FROM ({ours}) ours "
            "JOIN {table} v ON v.key = ours.key) SELECT key, -distance FROM compared ORDER BY distance LIMIT {limit}"
        ).format(vector=Literal(vector), ours=ours, table=self.space.table, limit=Literal(limit))

    def _ask(self, question: Composed) -> tuple[Keys, Vectors]:
        with self.database.connected() as connection:
            rows = connection.execute(question, prepare=False).fetchall()
        keys = np.asarray([key for key, _ in rows], dtype=np.int64)
        scores = np.asarray([score for _, score in rows], dtype=np.float32)
        ours = contains(self.keys, keys)  # another process may have committed since this generation was read
        return keys[ours], scores[ours]


def read_vectors(connection: Connection, database: Database, collection: int, model: str) -> PostgresVectors:
    """Read which vectors of a model the index of a collection has, in the transaction that read its row."""
    space = _find_space(connection, model)
    if space is None:
        return PostgresVectors(database, collection)
    keys = _named(connection, collection, space)
    return PostgresVectors(database, collection, space, keys, keys, (), _count_about(connection, space))


def commit_vectors(
    connection: Connection, vectors: PostgresVectors, collection: int, model: str, living: Keys
) -> PostgresVectors:
    """Bring what the database has for a collection to what its new generation has, in the transaction of the commit.

    `living` are the keys of its chunks, ascending. When it brings no vectors, those that other collections brought are
    named for its chunks. Rows are locked in the order of their keys, before any is written, so that commits never wait
    in a circle.
    """
    _unname_other_spaces(connection, collection, model)
    space = vectors.space or _find_space(connection, model)
    if space is None and vectors.added:
        space = _make_space(connection, model, vectors.dimensions)
    if space is None:
        return PostgresVectors(vectors.database, collection)
    committed = vectors.committed if vectors.space else _named(connection, collection, space)
    gone = committed[~contains(living, committed)]
    missing = np.unique(np.concatenate([keys for keys, _ in vectors.added])) if vectors.added else living
    missing = missing[contains(living, missing) & ~contains(committed, missing)]
    found = _lock(connection, space, np.union1d(gone, missing))
    inserted = _insert(connection, space, vectors.added, missing[~contains(found, missing)])
    named = np.union1d(found[contains(missing, found)], inserted)
    connection.execute(
        "INSERT INTO cinque_rag.named SELECT %s, %s, unnest(%s::bigint[])", [collection, space.number, named.tolist()]
    )
    _unname(connection, collection, space, gone)
    keys = np.union1d(committed[contains(living, committed)], named)
    return PostgresVectors(vectors.database, collection, space, keys, keys, (), _count_about(connection, space))


def drop_vectors(connection: Connection, collection: int) -> None:
    """Name no vector for a collection any more."""
    _unname_other_spaces(connection, collection, "")


def _unname_other_spaces(connection: Connection, collection: int, model: str) -> None:
    spaces = connection.execute("SELECT number, dimensions FROM cinque_rag.spaces WHERE name <> %s", [model]).fetchall()
    for number, dimensions in spaces:
        space = Space(number, dimensions)
        keys = _named(connection, collection, space)
        if len(keys):
            _lock(connection, space, keys)
            _unname(connection, collection, space, keys)


def _unname(connection: Connection, collection: int, space: Space, keys: Keys) -> None:
    """Name locked vectors no more, and delete those that nobody else names: the lock keeps others from naming them."""
    if not len(keys):
        return
    connection.execute(
        "DELETE FROM cinque_rag.named WHERE collection = %s AND space = %s AND key = ANY(%s::bigint[])",
        [collection, space.number, keys.tolist()],
    )
    connection.execute(
        SQL(
            "DELETE FROM {} v WHERE v.key = ANY(%s::bigint[]) "
            "AND NOT EXISTS (SELECT FROM cinque_rag.named n WHERE n.space = %s AND n.key = v.key)"
        ).format(space.table),
        [keys.tolist(), space.number],
    )


def _lock(connection: Connection, space: Space, keys: Keys) -> Keys:
    """Lock those of the vectors that are there, so that nobody names or deletes them, and return their keys."""
    if not len(keys):
        return _no_keys()
    question = SQL("SELECT key FROM {} WHERE key = ANY(%s::bigint[]) ORDER BY key FOR UPDATE").format(space.table)
    return _keys(connection.cursor(binary=True).execute(question, [keys.tolist()]).fetchall())


def _insert(connection: Connection, space: Space, added: tuple[tuple[Keys, Vectors], ...], wanted: Keys) -> Keys:
    """Insert those of the added vectors whose keys are wanted; return the keys of those that came to be.

    One that another process inserts at the same time is left to it, and named by the next commit.
    """
    if not added or not len(wanted):
        return _no_keys()
    keys = np.concatenate([keys for keys, _ in added])
    rows = np.concatenate([vectors for _, vectors in added])
    keys, first = np.unique(keys, return_index=True)
    first, keys = first[contains(wanted, keys)], keys[contains(wanted, keys)]
    statement = SQL(
        "INSERT INTO {} SELECT * FROM unnest(%b::bigint[], %b::halfvec[]) ON CONFLICT DO NOTHING RETURNING key"
    ).format(space.table)
    inserted = [_no_keys()]
    for start in range(0, len(keys), _ROWS_PER_INSERT):
        step = slice(start, start + _ROWS_PER_INSERT)
        vectors = [HalfVector(row) for row in rows[first[step]]]
        inserted.append(_keys(connection.execute(statement, [keys[step].tolist(), vectors]).fetchall()))
    return np.sort(np.concatenate(inserted))


def _find_space(connection: Connection, model: str) -> Space | None:
    row = connection.execute("SELECT number, dimensions FROM cinque_rag.spaces WHERE name = %s", [model]).fetchone()
    return Space(*row) if row else None


def _make_space(connection: Connection, model: str, dimensions: int) -> Space:
    """Make the table of a model, or wait for another process that does."""
    statement = (
        "INSERT INTO cinque_rag.spaces (name, dimensions) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING number"
    )
    row = connection.execute(statement, [model, dimensions]).fetchone()
    if row is None:
        found = _find_space(connection, model)
        assert found is not None  # noqa: S101 - spaces are never deleted
        return found
    space = Space(row[0], dimensions)
    connection.execute(
        SQL("CREATE TABLE {} (key bigint PRIMARY KEY, embedding halfvec({}) NOT NULL)").format(
            space.table, Literal(dimensions)
        )
    )
    connection.execute(
        SQL("CREATE INDEX ON {} USING hnsw (embedding halfvec_ip_ops) WITH (m = {}, ef_construction = {})").format(
            space.table, Literal(_LINKS), Literal(_CANDIDATES)
        )
    )
    return space


def _named(connection: Connection, collection: int, space: Space) -> Keys:
    question = "SELECT key FROM cinque_rag.named WHERE collection = %s AND space = %s"
    return _keys(connection.cursor(binary=True).execute(question, [collection, space.number]).fetchall())


def _count_about(connection: Connection, space: Space) -> int:
    """Guess how many vectors a space has, from the size of its table, which no counting could keep up with."""
    question = SQL("SELECT pg_relation_size({}::regclass)").format(Literal(space.table.as_string(connection)))
    row = connection.execute(question).fetchone()
    bytes_per_row = 2 * space.dimensions + 48  # the key, and what PostgreSQL adds to a row
    return int(row[0]) // bytes_per_row if row else 0


def _keys(rows: list[tuple[Any, ...]]) -> Keys:
    keys: Keys = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    keys.sort()
    return keys
