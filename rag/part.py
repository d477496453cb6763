"""Files, chunks, words and static vectors that were committed together: an immutable part of an index.

In its folder: `files.jsonl`, `chunks.jsonl`, and `rows.npz` with the lexical table, the vectors' keys and the static
vectors. Rows of one file are neighbours. A generation is a list of parts, each with the files that have died since;
joining parts copies what lives into a new one. Knows nothing of dense vectors.
"""

import json
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.dense import Keys, keys_of
from rag.errors import RagError
from rag.manifest import IndexedFile
from rag.sparse import ForwardTable, LivePostings, Postings, empty_table, join_tables, weigh_words
from rag.static_vectors import Bytes
from rag.stored_chunks import StoredChunks
from rag.types import Chunk

Integers: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

PREFIX: Final = "part-"

_FILES: Final = "files.jsonl"
_CHUNKS: Final = "chunks.jsonl"
_ROWS: Final = "rows.npz"

# What reading damaged files raises, apart from FileNotFoundError.
DAMAGE: Final = (OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Part:
    """Rows `starts[i]` to `starts[i + 1]` are the chunks of `files[i]`."""

    name: str
    files: tuple[IndexedFile, ...]
    languages: tuple[str, ...]  # of each file; "" where it has no chunk
    starts: Integers  # (n_files + 1,)
    chunks: StoredChunks
    keys: Keys  # of the vectors, (n,)
    table: ForwardTable
    static: Bytes | None = None  # (n, d)

    @property
    def n_rows(self) -> int:
        """Chunks, dead ones too."""
        return int(self.starts[-1])

    @cached_property
    def postings(self) -> Postings:
        """The words, transposed; made once, however many generations name this part."""
        return Postings(self.table)

    @cached_property
    def number_of_path(self) -> dict[str, int]:
        """Which file has a path."""
        return {file.path: number for number, file in enumerate(self.files)}

    @cached_property
    def file_of_row(self) -> NDArray[np.int32]:
        """The number of each chunk's file, (n,)."""
        return np.repeat(np.arange(len(self.files), dtype=np.int32), np.diff(self.starts))

    @cached_property
    def row_of_key(self) -> dict[int, int]:
        """The row of each key, dead ones too."""
        return dict(zip(self.keys.tolist(), range(self.n_rows), strict=True))

    def write(self, folder: Path) -> None:
        """Write into an empty folder; making that durable is the caller's part."""
        with (folder / _FILES).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(
                f"{json.dumps([*vars(indexed).values(), language])}\n"
                for indexed, language in zip(self.files, self.languages, strict=True)
            )
        (folder / _CHUNKS).write_bytes(self.chunks.write())
        table = self.table
        words = np.frombuffer("\n".join(table.words).encode("utf-8"), dtype=np.uint8)
        arrays = {"words": words, "word_starts": table.starts, "terms": table.terms, "weights": table.weights}
        static = {} if self.static is None else {"static": self.static}
        np.savez(folder / _ROWS, starts=self.starts, keys=self.keys, **arrays, **static)  # type: ignore[arg-type] # numpy's stub takes the names for its own flags


def make_part(files: Sequence[tuple[IndexedFile, Sequence[Chunk]]]) -> Part:
    """Make a part of files and their chunks, without static vectors."""
    chunks = [chunk for _, of_file in files for chunk in of_file]
    return Part(
        name=_new_name(),
        files=tuple(indexed for indexed, _ in files),
        languages=tuple(of_file[0].language if of_file else "" for _, of_file in files),
        starts=_starts([len(of_file) for _, of_file in files]),
        chunks=StoredChunks.of(chunks),
        keys=keys_of([chunk.chunk_id for chunk in chunks]),
        table=empty_table().extended([], (weigh_words(chunk) for chunk in chunks)),
    )


def read_part(folder: Path) -> Part:
    """Read what `Part.write` wrote.

    Raises:
        FileNotFoundError: the folder is gone.
        RagError: its files are damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        return _read(folder)
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise damaged(folder, str(error)) from error


def damaged(folder: Path, detail: str) -> RagError:
    """Make the error that says which files cannot be used, and what to do."""
    return RagError(f"the index in {folder} is damaged ({detail}); delete the collection and index it again")


@dataclass(frozen=True)
class LivePart:
    """A part as one generation sees it: without the files that were changed or deleted since."""

    part: Part
    dead: tuple[int, ...] = ()  # numbers of files, ascending

    @cached_property
    def is_live(self) -> Mask | None:
        """Which rows live, (n,); None means all."""
        if not self.dead:
            return None
        files = np.ones(len(self.part.files), dtype=bool)
        files[list(self.dead)] = False
        mask: Mask = files[self.part.file_of_row]
        return mask

    @cached_property
    def rows(self) -> Integers:
        """The rows that live, ascending."""
        return np.arange(self.part.n_rows) if self.is_live is None else np.flatnonzero(self.is_live)

    @cached_property
    def files(self) -> tuple[int, ...]:
        """The numbers of the files that live, ascending."""
        dead = frozenset(self.dead)
        return tuple(number for number in range(len(self.part.files)) if number not in dead)

    @property
    def keys(self) -> Keys:
        """The keys of the rows that live."""
        return self.part.keys if self.is_live is None else self.part.keys[self.is_live]

    @property
    def postings(self) -> LivePostings:
        """The words of the rows that live."""
        return LivePostings(self.part.postings, self.is_live)

    def without(self, paths: set[str]) -> "LivePart":
        """Let files die; itself when it has none of them alive."""
        numbers = self.part.number_of_path
        dead = {numbers[path] for path in paths & numbers.keys()}
        if dead <= set(self.dead):
            return self
        return LivePart(self.part, tuple(sorted(dead.union(self.dead))))


def join_parts(pieces: Sequence[LivePart], known: Mapping[str, IndexedFile]) -> Part:
    """Copy what lives in several parts into one, with what is known of each file now."""
    files = [(piece.part, number) for piece in pieces for number in piece.files]
    statics = [piece.part.static for piece in pieces]
    static = [matrix[piece.rows] for piece, matrix in zip(pieces, statics, strict=True) if matrix is not None]
    return Part(
        name=_new_name(),
        files=tuple(known.get(part.files[number].path, part.files[number]) for part, number in files),
        languages=tuple(part.languages[number] for part, number in files),
        starts=_starts([int(part.starts[number + 1] - part.starts[number]) for part, number in files]),
        chunks=StoredChunks.joined([(piece.part.chunks, piece.rows.tolist()) for piece in pieces]),
        keys=np.concatenate([np.zeros(0, dtype=np.int64), *(piece.keys for piece in pieces)]),
        table=join_tables([(piece.part.table, piece.rows) for piece in pieces]),
        static=np.concatenate(static) if static and len(static) == len(pieces) else None,
    )


def _read(folder: Path) -> Part:
    with (folder / _ROWS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        words = arrays["words"].tobytes().decode("utf-8")
        table = ForwardTable(
            words=tuple(words.split("\n")) if words else (),
            starts=arrays["word_starts"],
            terms=arrays["terms"],
            weights=arrays["weights"],
        )
        starts, keys = arrays["starts"], arrays["keys"]
        static = arrays.get("static")
    lines = (folder / _FILES).read_bytes().split(b"\n")
    if lines.pop() or len(lines) != len(starts) - 1:
        raise ValueError(f"there should be {len(starts) - 1} files")
    files, languages = [], []
    for path, content_hash, n_lines, n_bytes, stat, language in map(json.loads, lines):
        files.append(IndexedFile(path, content_hash, n_lines, n_bytes, tuple(stat)))
        languages.append(language)
    n_rows = int(starts[-1])
    if not n_rows == len(keys) == table.n_chunks:
        raise ValueError("its columns differ in length")
    chunks = StoredChunks.read((folder / _CHUNKS).read_bytes(), n_rows)
    return Part(folder.name, tuple(files), tuple(languages), starts, chunks, keys, table, static)


def _starts(lengths: Sequence[int]) -> Integers:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.asarray(lengths, dtype=np.int64))])


def _new_name() -> str:
    return f"{PREFIX}{uuid.uuid4().hex}"
