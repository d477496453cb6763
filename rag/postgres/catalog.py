"""One row per collection in the database, with the description of the generation that is its index.

The row is what a commit replaces. Needs no NumPy, so that a server's start can count collections. Knows nothing of
vectors or files.
"""

import json
from typing import Any, Final

from rag.catalog import CollectionRow
from rag.postgres.database import Connection, Database

_COLUMNS: Final = (
    "collection, generation, title, fingerprint, metadata, n_files, n_chunks, n_lines, n_dense, embedding_model, "
    "versions, created_at, updated_at"
)
_FIND: Final = f"SELECT {_COLUMNS} FROM cinque_rag.collections WHERE collection = %s"  # noqa: S608 - constants
_PAGE: Final = (
    f"SELECT {_COLUMNS} FROM cinque_rag.collections "  # noqa: S608 - constants
    "WHERE %s OR (title, collection) > (%s, %s) ORDER BY title, collection LIMIT %s"
)

# Only while the generation is the same: a row that was read before another's commit must not undo it.
_PUT: Final = """
UPDATE cinque_rag.collections
SET title = %s, fingerprint = %s, metadata = %s, versions = %s, updated_at = %s
WHERE collection = %s AND generation = %s
"""
_MARKS: Final = ", ".join(["%s"] * 14)
_COMMIT: Final = (
    f"INSERT INTO cinque_rag.collections ({_COLUMNS}, description) VALUES ({_MARKS}) "  # noqa: S608 - constants
    "ON CONFLICT (collection) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in (*_COLUMNS.split(", ")[1:], "description"))
    + " RETURNING number"
)


class PostgresCatalog:
    """The `CollectionTable` of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, collection: str) -> CollectionRow | None:
        """Return the row of `collection`, or None."""
        with self._database.connected() as connection:
            return find_row(connection, collection)

    def page(self, after: tuple[str, str] | None, limit: int) -> list[CollectionRow]:
        """Return up to `limit` rows by title and then name, those behind the (title, name) `after`."""
        title, collection = after or ("", "")
        with self._database.connected() as connection:
            rows = connection.execute(_PAGE, [after is None, title.encode(), collection, limit]).fetchall()
        return [_row(row) for row in rows]

    def count(self) -> int:
        """Count the collections."""
        with self._database.connected() as connection:
            row = connection.execute("SELECT count(*) FROM cinque_rag.collections").fetchone()
        return int(row[0]) if row else 0

    def put(self, row: CollectionRow) -> None:
        """Replace what is said about the generation of a row; nothing happens when another has been committed."""
        values = [row.title.encode(), row.fingerprint.encode(), json.dumps(row.metadata), row.versions, row.updated_at]
        with self._database.connected() as connection:
            connection.execute(_PUT, [*values, row.collection, row.generation])


def find_row(connection: Connection, collection: str) -> CollectionRow | None:
    """Return the row of `collection`, or None."""
    row = connection.execute(_FIND, [collection]).fetchone()
    return _row(row) if row else None


def put_row(connection: Connection, row: CollectionRow, description: str) -> int:
    """Insert or replace a row and the description of its generation; return the collection's number."""
    values = [
        *(row.collection, row.generation, row.title.encode(), row.fingerprint.encode()),
        json.dumps(row.metadata),
        *(row.n_files, row.n_chunks, row.n_lines, row.n_dense),
        *(row.embedding_model, row.versions, row.created_at, row.updated_at, description),
    ]
    found = connection.execute(_COMMIT, values).fetchone()
    assert found is not None  # noqa: S101 - an upsert returns its row
    return int(found[0])


def set_dense(connection: Connection, number: int, n_dense: int) -> None:
    """Note how many chunks have a dense vector, which is known last."""
    connection.execute("UPDATE cinque_rag.collections SET n_dense = %s WHERE number = %s", [n_dense, number])


def _row(values: tuple[Any, ...]) -> CollectionRow:
    collection, generation, title, fingerprint, metadata, *rest = values
    return CollectionRow(collection, generation, title.decode(), fingerprint.decode(), json.loads(metadata), *rest)
