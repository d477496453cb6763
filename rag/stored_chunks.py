"""Chunks in row order as lines of JSON, each read when it is first asked for.

A query needs some ten chunks of ten thousands, so opening an index need not read them all, and joining parts copies
lines. Knows nothing of words, vectors or folders.
"""

import json
from collections.abc import Iterator, Sequence
from typing import overload

from rag.errors import RagError
from rag.types import Chunk


class StoredChunks(Sequence[Chunk]):
    """Immutable to the outside; any number of threads may read it."""

    def __init__(self, lines: list[bytes], made: list[Chunk | None]) -> None:
        """Take equally long lists: the lines, each without its end, and the chunks that are made already."""
        self.lines = lines
        self.made = made  # None where nobody has asked yet

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> "StoredChunks":
        """Write chunks as lines."""
        return cls([json.dumps(list(vars(chunk).values())).encode("ascii") for chunk in chunks], list(chunks))

    @classmethod
    def joined(cls, pieces: "Sequence[tuple[StoredChunks, Sequence[int]]]") -> "StoredChunks":
        """Join the named rows of several, in order."""
        lines = [chunks.lines[row] for chunks, rows in pieces for row in rows]
        return cls(lines, [chunks.made[row] for chunks, rows in pieces for row in rows])

    @classmethod
    def read(cls, data: bytes, n_chunks: int) -> "StoredChunks":
        """Read what `write` made. Raises ValueError when it has not that many lines, each of them ended."""
        lines = data.split(b"\n")
        if lines.pop() or len(lines) != n_chunks:
            raise ValueError(f"there should be {n_chunks} chunks")
        return cls(lines, [None] * n_chunks)

    def write(self) -> bytes:
        """Return all lines, each with its end."""
        return b"".join(line + b"\n" for line in self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, row: int) -> Chunk: ...
    @overload
    def __getitem__(self, row: slice) -> list[Chunk]: ...
    def __getitem__(self, row: int | slice) -> Chunk | list[Chunk]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        chunk = self.made[row]
        if chunk is None:
            chunk = self.made[row] = _chunk(self.lines[row])
        return chunk


class JoinedChunks(Sequence[Chunk]):
    """Rows of several stored chunks as one sequence."""

    def __init__(self, pieces: Sequence[tuple[StoredChunks, Sequence[int]]]) -> None:
        """Join the named rows of each, in order."""
        self._pieces = pieces
        self._length = sum(len(rows) for _, rows in pieces)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Chunk]:
        for chunks, rows in self._pieces:
            for row in rows:
                yield chunks[row]

    @overload
    def __getitem__(self, row: int) -> Chunk: ...
    @overload
    def __getitem__(self, row: slice) -> list[Chunk]: ...
    def __getitem__(self, row: int | slice) -> Chunk | list[Chunk]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(self._length))]
        wanted = row + self._length if row < 0 else row
        if wanted >= 0:
            for chunks, rows in self._pieces:
                if wanted < len(rows):
                    return chunks[rows[wanted]]
                wanted -= len(rows)
        raise IndexError(row)


def _chunk(line: bytes) -> Chunk:
    try:
        return Chunk(*json.loads(line))
    except (ValueError, TypeError) as error:
        raise RagError(f"a stored chunk is damaged ({error}); delete the collection and index it again") from error
