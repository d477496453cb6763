"""Connections to one database, and what goes wrong with them said in a sentence that has no password in it.

A few connections stay open between calls; one that the server closed meanwhile is noticed and replaced. The first use
makes the schema (`schema`). Advisory locks belong to a connection, so a pooler in front must pool sessions, not
transactions. Knows nothing of collections.
"""

import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import Composed
from pydantic import SecretStr

from rag.errors import RagError, StoreUnavailableError
from rag.postgres.schema import SCHEMA, migrate

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Statement: TypeAlias = Composed  # of the parts of psycopg.sql, so that names are quoted

# How long the server may take to answer the first time, s: it is on this machine or in the next rack.
CONNECT_TIMEOUT_S: Final = 5

# Connections kept open and idle; more are opened when more threads ask at once, and closed when they are done.
_MAX_IDLE: Final = 8

# A peer that vanished without a word is noticed after some 30 + 3 * 10 s, on both sides, which frees its locks.
_PARAMETERS: Final = {
    "application_name": "cinque",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}

# Of a session: our schema and the one that pgvector was put in; and how an index of vectors is searched: so many
# candidates at a time, and on in order of distance until enough have passed the filter.
_EF_SEARCH: Final = 200
_SESSION: Final = """
SELECT set_config('search_path', concat_ws(', ', %s::text, (
           SELECT quote_ident(nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
           WHERE extname = 'vector')), false),
       set_config('tcp_keepalives_idle', '30', false), set_config('tcp_keepalives_interval', '10', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('hnsw.ef_search', %s::text, false), set_config('hnsw.iterative_scan', 'strict_order', false)
"""


class Database:
    """The database at a URL. Safe to use from any thread; opens nothing until it is asked."""

    def __init__(self, url: SecretStr) -> None:
        """Keep the URL. Raises StoreUnavailableError when it is not one."""
        self._conninfo, self._password, self.name = _parse(url.get_secret_value())
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._migrating = threading.Lock()
        self._identity = ""

    @property
    def identity(self) -> str:
        """Which database this is, wherever it moves: a number that was drawn when its schema was made."""
        if not self._identity:
            with self.connected():
                pass
        return self._identity

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """Lend a connection that commits each statement, unless a transaction is begun on it.

        After an exception it is closed, so that whatever state it was in is gone.

        Raises:
            StoreUnavailableError: there is no such server, it does not let us in, or the connection was lost.
            RagError: the database refused what was asked of it.
        """
        with self.failures():
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            with self._lock:
                if len(self._idle) < _MAX_IDLE and not connection.closed:
                    self._idle.append(connection)
                    return
            connection.close()

    def close(self) -> None:
        """Close the connections that nobody uses; others can be opened again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn errors of the driver into ours."""
        try:
            yield
        except psycopg.OperationalError as error:
            raise StoreUnavailableError(f"the connection to {self.name} was lost: {self._told(error)}") from error
        except psycopg.Error as error:
            raise RagError(f"{self.name} refused: {self._told(error)}") from error

    def _take(self) -> Connection:
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if _is_alive(connection):
                return connection
            connection.close()
        return self._open()

    def _open(self) -> Connection:
        try:
            connection: Connection = psycopg.connect(self._conninfo, autocommit=True)
        except psycopg.OperationalError as error:
            raise StoreUnavailableError(
                f"{self.name} cannot be used: {self._told(error)}; start the server or correct "
                "CINQUE_RAG_DATABASE_URL (empty: collections are kept in a folder of this machine)"
            ) from error
        try:
            with self._migrating:
                self._identity = self._identity or migrate(connection, self.name)
            connection.execute(_SESSION, [SCHEMA, str(_EF_SEARCH)])
            register_vector(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _told(self, error: psycopg.Error) -> str:
        """Repeat in a line what the server or the driver said, without the password should it be in there."""
        told = " ".join(str(error).split()) or type(error).__name__
        return told.replace(self._password, "***") if self._password else told


def _parse(url: str) -> tuple[str, str, str]:
    """Return what psycopg connects with, the password, and the URL as it can be shown."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        given = {}
    if not given or "://" not in url:
        raise StoreUnavailableError(
            "CINQUE_RAG_DATABASE_URL is not a PostgreSQL URL; write one like postgresql://user:password@host:5432/name"
        ) from None  # psycopg's words have the whole of it, with the password
    fields: dict[str, Any] = {**_PARAMETERS, "connect_timeout": CONNECT_TIMEOUT_S, **given}
    user, host, port = (str(given.get(field) or "") for field in ("user", "host", "port"))
    place = f"{f'{user}@' if user else ''}{host}{f':{port}' if port else ''}/{given.get('dbname') or ''}"
    return make_conninfo(**fields), str(given.get("password") or ""), f"postgresql://{place}"


def _is_alive(connection: Connection) -> bool:
    """Tell whether an idle connection is still there: a server that closes one says so, and else says nothing."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
    return not poll.poll(0)
