"""Dense vectors of chunks and their nearest neighbours by inner product. The only importer of faiss.

A flat index is exact, and searches 20,000 vectors of 384 numbers in some ten milliseconds; its `IDMap2` shell lets an
update drop and add single chunks. Keys are 60-bit numbers taken from chunk ids: `chunk_key`. Knows nothing of text.
faiss is loaded on first use, because it costs 0.15 s that a server's start must not pay.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
Keys: TypeAlias = NDArray[np.int64]

# faiss keys are signed 64-bit. Among a million chunks, two share 60 bits once in two million indexes.
_KEY_DIGITS: Final = 15


def chunk_key(chunk_id: str) -> int:
    """Turn a chunk id (hexadecimal) into the key of its vector."""
    return int(chunk_id[:_KEY_DIGITS], 16)


def keys_of(chunk_ids: Sequence[str]) -> Keys:
    """Turn chunk ids into keys, in order."""
    return np.asarray([chunk_key(chunk_id) for chunk_id in chunk_ids], dtype=np.int64)


class DenseIndex:
    """Vectors by key. Immutable once made, so any number of threads may search it."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def empty(cls, dimensions: int) -> "DenseIndex":
        """Make an index without vectors, for vectors of `dimensions` numbers."""
        faiss = _faiss()
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions)))

    @classmethod
    def read(cls, path: Path) -> "DenseIndex":
        """Read an index that `write` wrote. Raises RuntimeError when the file is not one."""
        return cls(_faiss().read_index(str(path)))

    def write(self, path: Path) -> None:
        """Write the index to `path`; making that durable is the caller's part."""
        _faiss().write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return int(self._index.d)

    def updated(self, gone: Keys, added: Keys, vectors: Vectors) -> "DenseIndex":
        """Copy the index without the keys `gone` and with `vectors` (n, d), rows L2-normalised, under `added`."""
        copy = _faiss().clone_index(self._index)
        if len(gone):
            copy.remove_ids(gone)
        if len(added):
            copy.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), added)
        return DenseIndex(copy)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the vectors under `keys`, each of which is there, in order, (n, d)."""
        if not len(keys):
            return np.zeros((0, self.dimensions), dtype=np.float32)
        found: Vectors = self._index.reconstruct_batch(keys)
        return found

    def search(self, query: Vectors, limit: int, among: Keys | None = None) -> tuple[Keys, Vectors]:
        """Return up to `limit` keys nearest to `query` (d,), best first, and their cosines; only `among` when given."""
        limit = min(limit, len(self) if among is None else len(among))
        if limit <= 0 or not len(self):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        faiss = _faiss()
        # OpenMP's second thread spins while it waits: with both cores busy it made this search ten times slower
        # (44 ms against 4.6 ms over 20,000 vectors). The setting belongs to the calling thread.
        faiss.omp_set_num_threads(1)
        parameters = None if among is None else faiss.SearchParameters(sel=faiss.IDSelectorBatch(among))
        scores, keys = self._index.search(query.reshape(1, -1), limit, params=parameters)
        found = keys[0] >= 0  # faiss pads with -1 when fewer match
        return keys[0][found], scores[0][found]


def _faiss() -> ModuleType:
    import faiss  # noqa: PLC0415 - loaded on first use: 0.15 s

    module: ModuleType = faiss
    return module
