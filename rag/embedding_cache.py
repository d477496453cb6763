"""Vectors already computed, kept in SQLite across collections, branches and restarts.

A row is keyed by the embedder's name and the hash of the text, so a second checkout or a renamed collection costs
nothing; over 59 snapshots of repositories, three chunks in four were found here. The backends of one model share their
vectors, whose cosine is .99 and more (docs/decisions/019-embedding-backends.md). Knows nothing of chunks. A
lost, damaged or unwritable cache costs time only.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.embedding import Embedder

Vectors: TypeAlias = NDArray[np.float32]

# SQLite answers at most 32,766 parameters a statement; this keeps statements short and few.
_KEYS_PER_QUERY: Final = 500

# Texts embedded between two looks at the caller's event, and between two commits: a second or two even on a busy core.
# Larger steps would hardly be faster. Queries do not wait for them.
_TEXTS_PER_STEP: Final = 16

_BUSY_TIMEOUT_S: Final = 30.0

# What SQLite says of a file that no later try can read.
_PRIMARY_CODE: Final = 0xFF
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

log = logging.getLogger(__name__)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS embeddings (
    number INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    text_hash BLOB NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (model, text_hash)
)
"""


class CachedEmbedder:
    """An embedder that remembers. Any number of threads and processes may share the file."""

    def __init__(self, embedder: Embedder, path: Path, *, max_rows: int) -> None:
        self._embedder = embedder
        self._path = path
        self._max_rows = max_rows
        self._is_told = False

    def embed(self, texts: Sequence[str], on_step: Callable[[int], None]) -> Vectors:
        """Embed texts, in order, (n, d) float32; `on_step` gets the number done so far and may raise to stop.

        What was embedded before a stop is kept. Raises EmbeddingUnavailableError as `Embedder.embed` does.
        """
        hashes = [_hash(text) for text in texts]
        with self._connected() as connection:
            vectors = self._known(connection, hashes)
            missing = {digest: text for digest, text in zip(hashes, texts, strict=True) if digest not in vectors}
            on_step(len(texts) - len(missing))
            # Similar lengths together, so that batches pad little.
            order = sorted(missing, key=lambda digest: len(missing[digest]))
            for start in range(0, len(order), _TEXTS_PER_STEP):
                step = order[start : start + _TEXTS_PER_STEP]
                made = self._embedder.embed([missing[digest] for digest in step])
                self._remember(connection, step, made)
                vectors.update(zip(step, made, strict=True))
                on_step(len(texts) - len(missing) + start + len(step))
        if not texts:
            return np.zeros((0, self._embedder.dimensions), dtype=np.float32)
        return np.stack([vectors[digest] for digest in hashes])

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection | None]:
        """Open the file, made anew where it is damaged; None where it cannot be."""
        connection = self._open() or self._open()
        if connection is None:
            yield None
            return
        with closing(connection):
            yield connection

    def _open(self) -> sqlite3.Connection | None:
        with self._going_on():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")  # a lost row is embedded again
                connection.execute(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            return connection
        return None

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Do without the file when it fails: say so once, and remove one that is damaged."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if not self._is_told:
                log.warning("embeddings are not remembered", extra={"file": str(self._path), "error": str(error)})
            self._is_told = True
            if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE in _DAMAGED:
                for ending in ("", "-wal", "-shm"):
                    with suppress(OSError):
                        self._path.with_name(self._path.name + ending).unlink()

    def _known(self, connection: sqlite3.Connection | None, hashes: Sequence[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        if connection is not None:
            with self._going_on():
                self._look_up(connection, list(dict.fromkeys(hashes)), found)
        return found

    def _look_up(self, connection: sqlite3.Connection, wanted: Sequence[bytes], found: dict[bytes, Vectors]) -> None:
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            keys = wanted[start : start + _KEYS_PER_QUERY]
            marks = ", ".join("?" * len(keys))
            # Only question marks are put into the statement.
            query = f"SELECT text_hash, vector FROM embeddings WHERE model = ? AND text_hash IN ({marks})"  # noqa: S608
            for digest, vector in connection.execute(query, [self._embedder.name, *keys]):
                found[digest] = np.frombuffer(vector, dtype=np.float32)

    def _remember(self, connection: sqlite3.Connection | None, hashes: Sequence[bytes], vectors: Vectors) -> None:
        if connection is None:
            return
        name = self._embedder.name
        rows = [(name, digest, vector.tobytes()) for digest, vector in zip(hashes, vectors, strict=True)]
        with self._going_on(), connection:
            connection.executemany("INSERT OR IGNORE INTO embeddings (model, text_hash, vector) VALUES (?, ?, ?)", rows)
            connection.execute(
                "DELETE FROM embeddings WHERE number <= (SELECT max(number) FROM embeddings) - ?", [self._max_rows]
            )


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=20).digest()
