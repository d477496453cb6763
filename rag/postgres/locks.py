"""Locks that all processes on one database respect: advisory locks, each held by a connection.

When the process that holds one dies, its connection ends and the lock is free. Knows nothing of what they guard.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg

from rag.postgres.database import Connection, Database
from rag.store import LOCK_POLL_S

_HELD: Final = """
SELECT classid::bigint, objid::bigint FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@contextmanager
def locked(database: Database, name: str, check: Callable[[], None]) -> Iterator[Connection]:
    """Hold the lock `name`, among threads and processes, and lend the connection that holds it.

    `check` is called while waiting and may raise to give up.
    """
    key = _key(name)
    with database.connected() as connection:
        while not _told(connection, "SELECT pg_try_advisory_lock(%s)", key):
            check()
            time.sleep(LOCK_POLL_S)
        try:
            yield connection
        finally:
            with suppress(psycopg.OperationalError):  # a lost connection holds nothing
                connection.execute("SELECT pg_advisory_unlock(%s)", [key])


def locks_held(database: Database) -> Callable[[str], bool]:
    """Ask which locks anybody holds right now; what is returned tells it of a lock by its name."""
    with database.connected() as connection:
        held = set(connection.execute(_HELD).fetchall())

    def is_held(name: str) -> bool:
        key = _key(name)
        return ((key >> 32) & 0xFFFF_FFFF, key & 0xFFFF_FFFF) in held

    return is_held


def _told(connection: Connection, question: str, *values: int) -> bool:
    row = connection.execute(question, values).fetchone()
    return bool(row and row[0])


def _key(name: str) -> int:
    """Name a lock by a number, as PostgreSQL does: signed, of 64 bits."""
    return int.from_bytes(hashlib.blake2b(f"cinque_rag\0{name}".encode(), digest_size=8).digest(), "big", signed=True)
