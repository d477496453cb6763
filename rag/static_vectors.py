"""Static vectors of chunks as bytes: what ranks by meaning while a chunk has no dense vector yet.

A static model looks tokens up and adds them, thousands of texts a second, so every chunk has its vector in the commit
that brings it. One byte a number keeps the order of scores. Knows nothing of texts, or of which model it is.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.int8]
Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]

_SCALE: Final = 127.0

# Rows turned into floats at a time: 4 MB for 256 numbers, which stays in a core's cache.
_ROWS_PER_BLOCK: Final = 4_096


class StaticEmbedder(Protocol):
    """Anything that turns texts into vectors at thousands a second. Calls may come from any thread."""

    @property
    def name(self) -> str:
        """Identity of the vectors: equal names give equal vectors for equal texts."""

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embed texts, in order, as (n, d) float32, rows L2-normalised."""


def to_bytes(vectors: Floats) -> Bytes:
    """Round vectors (n, d), rows L2-normalised, to a byte a number."""
    rounded: Bytes = np.rint(vectors * _SCALE).astype(np.int8)
    return rounded


class StaticVectors:
    """The vectors of all rows, (n, d), in pieces; immutable."""

    def __init__(self, pieces: Sequence[tuple[Bytes, Rows | None]]) -> None:
        """Take matrices and which of their rows count, in order; None means all."""
        self._pieces = pieces

    def __len__(self) -> int:
        return sum(len(matrix) if rows is None else len(rows) for matrix, rows in self._pieces)

    def scores(self, query: Floats) -> Floats:
        """Return the cosine of each row to `query` (d,), L2-normalised, as (n,) float32."""
        found = [np.zeros(0, dtype=np.float32)]
        for matrix, rows in self._pieces:
            scores = np.empty(len(matrix), dtype=np.float32)
            for start in range(0, len(matrix), _ROWS_PER_BLOCK):
                block = slice(start, start + _ROWS_PER_BLOCK)
                scores[block] = matrix[block].astype(np.float32) @ query
            found.append(scores if rows is None else scores[rows])
        return np.concatenate(found) / np.float32(_SCALE)
