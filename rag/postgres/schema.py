"""The tables, and how they come to be: once, in one transaction, by whichever process is first.

A database of an older schema is brought up to date by the first process that knows a newer one; a process that meets a
newer schema than it knows stops there. Knows nothing of what is stored.
"""

from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors

from rag.errors import StoreUnavailableError

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

SCHEMA: Final = "cinque_rag"
SCHEMA_VERSION: Final = 1

# The first pgvector that searches on until enough rows have passed a filter.
_MIN_PGVECTOR: Final = (0, 8)

# Held while the schema is made; any number that others hardly use.
_MIGRATION_LOCK: Final = 0x43_49_4E_51_55_45

# Rows of text that sort and compare as bytes do, and may hold a NUL, are bytea. A piece is a file of a part, in blocks.
# A space is the vectors of one embedding model, in a table `vectors_<number>` of its own; `named` says which
# collection's index has which of them.
_TABLES: Final = """
CREATE TABLE cinque_rag.about (version integer NOT NULL, identity uuid NOT NULL DEFAULT gen_random_uuid());
CREATE TABLE cinque_rag.collections (
    number bigint GENERATED ALWAYS AS IDENTITY,
    collection text COLLATE "C" PRIMARY KEY,
    generation text NOT NULL,
    title bytea NOT NULL,
    fingerprint bytea NOT NULL,
    metadata text NOT NULL,
    n_files bigint NOT NULL,
    n_chunks bigint NOT NULL,
    n_lines bigint NOT NULL,
    n_dense bigint NOT NULL,
    embedding_model text NOT NULL,
    versions text NOT NULL,
    created_at text NOT NULL,
    updated_at text NOT NULL,
    description text NOT NULL
);
CREATE INDEX ON cinque_rag.collections (title, collection);
CREATE TABLE cinque_rag.pieces (
    collection bigint NOT NULL,
    name text NOT NULL,
    file text NOT NULL,
    block integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (collection, name, file, block)
);
ALTER TABLE cinque_rag.pieces ALTER content SET STORAGE EXTERNAL;
CREATE TABLE cinque_rag.spaces (
    number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    dimensions integer NOT NULL
);
CREATE TABLE cinque_rag.named (
    collection bigint NOT NULL,
    space integer NOT NULL,
    key bigint NOT NULL,
    PRIMARY KEY (collection, space, key)
);
CREATE INDEX ON cinque_rag.named (space, key);
"""


def migrate(connection: Connection, database: str) -> str:
    """Make the schema unless it is there, and return the identity of the database; `database` is its name for people.

    Raises:
        StoreUnavailableError: a newer release made the schema, there is no usable pgvector, or we may not make it.
    """
    found = _found(connection, database)
    if found is not None:
        return found
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
            found = _found(connection, database)
            if found is None:
                _make(connection, database)
                found = _found(connection, database)
    except errors.InsufficientPrivilege as error:
        raise StoreUnavailableError(
            f"in {database} we may not make the schema {SCHEMA} ({error.diag.message_primary}); ask its owner to run "
            f"CREATE EXTENSION vector; CREATE SCHEMA {SCHEMA} AUTHORIZATION our user"
        ) from error
    assert found is not None  # noqa: S101 - the row was inserted in this transaction
    return found


def _found(connection: Connection, database: str) -> str | None:
    """Return the identity of a database whose schema is ours; None when it has none."""
    # Not by to_regclass, which after a wait for the lock still answers from what it remembers.
    if not _one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'cinque_rag' AND tablename = 'about'"):
        return None
    about = connection.execute("SELECT version, identity FROM cinque_rag.about").fetchone()
    if about is None:
        return None
    if about[0] > SCHEMA_VERSION:
        raise StoreUnavailableError(
            f"the collections in {database} were made by a newer release (schema {about[0]}, this one knows "
            f"{SCHEMA_VERSION}); update, or set CINQUE_RAG_DATABASE_URL to another database"
        )
    return str(about[1])


def _make(connection: Connection, database: str) -> None:
    if not _one(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'"):
        try:
            connection.execute("CREATE EXTENSION vector")
        except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
            raise StoreUnavailableError(
                f"the server of {database} has no pgvector; install it there, for example the Debian package "
                "postgresql-17-pgvector, and try again"
            ) from error
    version = str(_one(connection, "SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    if tuple(int(number) for number in version.split(".")[:2]) < _MIN_PGVECTOR:
        needed = ".".join(map(str, _MIN_PGVECTOR))
        raise StoreUnavailableError(
            f"{database} has pgvector {version} and {needed} is needed; update it there, then run "
            "ALTER EXTENSION vector UPDATE"
        )
    if not _one(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = 'cinque_rag'"):
        connection.execute("CREATE SCHEMA cinque_rag")
    connection.execute(_TABLES)
    connection.execute("INSERT INTO cinque_rag.about (version) VALUES (%s)", [SCHEMA_VERSION])


def _one(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None
