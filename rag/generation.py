"""One version of one collection's index: which parts it is made of, joined into what a query works with.

A generation is a file of its own, `generation-*.json`, that names immutable folders: *parts* with chunks and words, the
large one first, and *segments* with dense vectors; and for each part the files in it that are dead. So a commit writes
only what changed, and two generations in memory share the rest. `store` keeps it, `merging` makes the next one from it,
`searching` reads it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rag.chunking import CHUNKER_VERSION
from rag.manifest import IndexedFile, Manifest, ReadAndSkipped
from rag.part import DAMAGE, LivePart, Part, damaged, read_part
from rag.segments import DenseVectors, JoinedDense, Mask, Segment, SharedVectors, read_segment
from rag.sparse import SPARSE_VERSION, SparseIndex
from rag.static_vectors import StaticVectors
from rag.stored_chunks import JoinedChunks
from rag.types import Chunk

__all__ = [
    "FORMAT_VERSION",
    "VERSIONS",
    "Generation",
    "IndexedFile",
    "Manifest",
    "read_generation",
    "restore_generation",
]

# Raise with every change of the files' form: generations of another version are made anew.
FORMAT_VERSION: Final = 2
VERSIONS: Final = f"{FORMAT_VERSION}.{CHUNKER_VERSION}.{SPARSE_VERSION}"


@dataclass(frozen=True)
class Generation:
    """What lives in some parts, as one table of rows; everything with a row has them in this order."""

    manifest: Manifest = field(default_factory=Manifest)
    parts: tuple[LivePart, ...] = ()
    segments: tuple[Segment, ...] = ()
    shared: SharedVectors | None = None  # in the place of segments, where a database keeps the vectors

    @cached_property
    def chunks(self) -> Sequence[Chunk]:
        """The chunks in row order."""
        return JoinedChunks([(live.part.chunks, live.rows.tolist()) for live in self.parts])

    @cached_property
    def sparse(self) -> SparseIndex:
        """The words of the chunks."""
        return SparseIndex(*(live.postings for live in self.parts))

    @cached_property
    def dense(self) -> DenseVectors | None:
        """The dense vectors that there are; None when there is not one."""
        dense: DenseVectors | None = self.shared
        if dense is None and self.segments:
            dense = JoinedDense(self.segments, np.sort(self.keys))
        return dense if dense is not None and len(dense) else None

    @cached_property
    def static(self) -> StaticVectors | None:
        """The static vectors of all chunks; None when the index was made without a static model."""
        pieces = [(live.part.static, None if live.is_live is None else live.rows) for live in self.parts]
        matrices = [(matrix, rows) for matrix, rows in pieces if matrix is not None]
        return StaticVectors(matrices) if matrices and len(matrices) == len(pieces) else None

    @cached_property
    def has_dense(self) -> Mask:
        """Which chunks have a dense vector, (n,)."""
        return np.zeros(len(self.keys), dtype=bool) if self.dense is None else self.dense.holds(self.keys)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The vector key of each chunk, (n,)."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(live.keys for live in self.parts)])

    @cached_property
    def row_of_key(self) -> Mapping[int, int]:
        """The row of each vector key."""
        return _RowOfKey(self.parts)

    def rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of vector keys that live, in order."""
        return self._rows_by_key[np.searchsorted(self.keys, keys, sorter=self._rows_by_key)]

    @cached_property
    def _rows_by_key(self) -> NDArray[np.int64]:
        return np.argsort(self.keys)

    @cached_property
    def path_numbers(self) -> dict[str, int]:
        """A number for each path that has chunks, from 0 up in the order of the rows."""
        paths = (live.part.files[number].path for live in self.parts for number in _filled(live).tolist())
        return {path: number for number, path in enumerate(paths)}

    @cached_property
    def path_of_row(self) -> NDArray[np.int32]:
        """The number of each chunk's path, (n,)."""
        numbers = [np.zeros(0, dtype=np.int32)]
        n_paths = 0
        for live in self.parts:
            filled = _filled(live)
            number_of_file = np.zeros(len(live.part.files), dtype=np.int32)
            number_of_file[filled] = np.arange(n_paths, n_paths + len(filled), dtype=np.int32)
            numbers.append(number_of_file[live.part.file_of_row[live.rows]])
            n_paths += len(filled)
        return np.concatenate(numbers)

    @cached_property
    def language_of_path(self) -> list[str]:
        """The language of each numbered path."""
        return [live.part.languages[number] for live in self.parts for number in _filled(live).tolist()]

    @cached_property
    def n_lines(self) -> int:
        """Lines of all files."""
        return sum(file.n_lines for file in self.manifest.files)

    def described(self) -> str:
        """Write down which parts this is made of, as JSON."""
        known = self.manifest.by_path
        stats = {
            file.path: known[file.path].stat
            for live in self.parts
            for file in map(live.part.files.__getitem__, live.files)
            if known[file.path].stat != file.stat
        }
        return json.dumps(
            {
                "embedding_model": self.manifest.embedding_model,
                "scanned_at_ns": self.manifest.scanned_at_ns,
                "parts": [{"name": live.part.name, "dead": live.dead} for live in self.parts],
                "segments": [segment.name for segment in self.segments],
                "stats": stats,  # of files whose text is older than their stat
                "skipped": [[file.path, file.reason, file.stat] for file in self.manifest.skipped],
            }
        )


class _RowOfKey(Mapping[int, int]):
    """Looks keys up part by part, so that no table is made anew for a commit."""

    def __init__(self, parts: Sequence[LivePart]) -> None:
        self._parts = parts
        self._first_rows: list[int] = np.cumsum([0, *(len(live.rows) for live in parts)]).tolist()

    def __getitem__(self, key: int) -> int:
        for live, first in zip(self._parts, self._first_rows, strict=False):  # the last is behind all rows
            row = live.part.row_of_key.get(int(key))
            if row is not None and (live.is_live is None or live.is_live[row]):
                return first + (row if live.is_live is None else int(np.searchsorted(live.rows, row)))
        raise KeyError(key)

    def __len__(self) -> int:
        return self._first_rows[-1]

    def __iter__(self) -> Iterator[int]:
        for live in self._parts:
            yield from live.keys.tolist()


def read_generation(folder: Path, name: str, known: Generation | None = None) -> Generation:
    """Read the generation that the file `name` in `folder` describes; what `known` has in memory is not read again.

    Raises:
        FileNotFoundError: a file is gone, because a newer generation replaced it or the collection was deleted.
        RagError: the files are damaged.
    """
    described = folder / name
    try:
        text = described.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(described, str(error)) from error
    return restore_generation(text, described, known)


def restore_generation(text: str, described: Path, known: Generation | None = None) -> Generation:
    """Make what `Generation.described` wrote; its parts and segments are beside `described`. Raises as above."""
    folder = described.parent
    parts = {live.part.name: live.part for live in known.parts} if known else {}
    segments = {segment.name: segment for segment in known.segments} if known else {}
    try:
        values: dict[str, Any] = json.loads(text)
        lives = tuple(
            LivePart(parts.get(part["name"]) or read_part(folder / part["name"]), tuple(part["dead"]))
            for part in values["parts"]
        )
        return Generation(
            Manifest(
                values["embedding_model"],
                values["scanned_at_ns"],
                _files(lives, values["stats"]),
                tuple(ReadAndSkipped(path, reason, tuple(stat)) for path, reason, stat in values.get("skipped", ())),
            ),
            lives,
            tuple(segments.get(other) or read_segment(folder / other) for other in values["segments"]),
        )
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise damaged(described, str(error)) from error


def _files(parts: Sequence[LivePart], stats: dict[str, list[int]]) -> tuple[IndexedFile, ...]:
    files = (live.part.files[number] for live in parts for number in live.files)
    return tuple(_stamped(file, stats[file.path]) if file.path in stats else file for file in files)


def _stamped(file: IndexedFile, stat: list[int]) -> IndexedFile:
    return IndexedFile(file.path, file.content_hash, file.n_lines, file.n_bytes, tuple(stat))


def _filled(live: LivePart) -> NDArray[np.int64]:
    """Number the files of a part that live and have chunks."""
    part: Part = live.part
    has_chunks = np.diff(part.starts) > 0
    if live.dead:
        has_chunks[list(live.dead)] = False
    return np.flatnonzero(has_chunks)
