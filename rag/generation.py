"""One version of one collection's index, in memory and as four files in a folder.

`manifest.json` says which files went in and with which versions of the code, `chunks.jsonl` holds the chunks in row
order, `words.npz` the lexical table whose rows are those chunks, `dense.faiss` the vectors (absent without embedding).
A generation never changes: `store` names it, `indexing` makes the next one from it, `searching` reads it.
"""

import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.chunking import CHUNKER_VERSION
from rag.dense import DenseIndex, keys_of
from rag.errors import RagError
from rag.sparse import SPARSE_VERSION, ForwardTable, SparseIndex, empty_table
from rag.types import Chunk

# Raise with every change of the files' form: generations of another version are made anew.
FORMAT_VERSION: Final = 1
VERSIONS: Final = f"{FORMAT_VERSION}.{CHUNKER_VERSION}.{SPARSE_VERSION}"

_MANIFEST: Final = "manifest.json"
_CHUNKS: Final = "chunks.jsonl"
_WORDS: Final = "words.npz"
_DENSE: Final = "dense.faiss"


@dataclass(frozen=True)
class IndexedFile:
    """One file that went in: the hash of its text, and how the disk described it when it was read."""

    path: str
    content_hash: str
    n_lines: int
    n_bytes: int
    # Size, modification and change time in ns, inode: equal to today's means unchanged. Empty for posted documents.
    stat: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a generation was made from. `embedding_model` is "" for a lexical index."""

    embedding_model: str = ""
    scanned_at_ns: int = 0  # the disk's clock when the scan began: younger stats cannot be trusted
    files: tuple[IndexedFile, ...] = ()
    versions: str = VERSIONS

    @cached_property
    def by_path(self) -> dict[str, IndexedFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}


class StaticIndex(Protocol):
    """Static vectors of all rows."""

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine of every row with `query`, (n,)."""


@dataclass(frozen=True)
class Generation:
    """Chunks, words and vectors that belong together; row i of `sparse` is `chunks[i]`."""

    manifest: Manifest = field(default_factory=Manifest)
    chunks: tuple[Chunk, ...] = ()
    sparse: SparseIndex = field(default_factory=lambda: SparseIndex(empty_table()))
    dense: DenseIndex | None = None
    static: StaticIndex | None = None

    @cached_property
    def has_dense(self) -> NDArray[np.bool_]:
        """Which rows have a dense vector, (n,)."""
        return np.full(len(self.chunks), self.dense is not None)

    @cached_property
    def keys(self) -> NDArray[np.int64]:
        """The vector key of each chunk, (n,)."""
        return keys_of([chunk.chunk_id for chunk in self.chunks])

    @cached_property
    def row_of_key(self) -> dict[int, int]:
        """The row of each vector key."""
        return {int(key): row for row, key in enumerate(self.keys)}

    @cached_property
    def path_numbers(self) -> dict[str, int]:
        """A number for each path that has chunks, from 0 up in the order of the rows."""
        return {path: number for number, path in enumerate(dict.fromkeys(chunk.path for chunk in self.chunks))}

    @cached_property
    def path_of_row(self) -> NDArray[np.int32]:
        """The number of each chunk's path, (n,)."""
        return np.asarray([self.path_numbers[chunk.path] for chunk in self.chunks], dtype=np.int32)

    @cached_property
    def language_of_path(self) -> list[str]:
        """The language of each numbered path."""
        languages = [""] * len(self.path_numbers)
        for chunk in self.chunks:
            languages[self.path_numbers[chunk.path]] = chunk.language
        return languages

    @property
    def n_lines(self) -> int:
        """Lines of all files."""
        return sum(file.n_lines for file in self.manifest.files)

    def write(self, folder: Path) -> None:
        """Write the four files into an empty folder; making them durable is the caller's part."""
        (folder / _MANIFEST).write_text(json.dumps(asdict(self.manifest)), encoding="utf-8")
        with (folder / _CHUNKS).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{json.dumps(list(vars(chunk).values()))}\n" for chunk in self.chunks)
        table = self.sparse.table
        words = np.frombuffer("\n".join(table.words).encode("utf-8"), dtype=np.uint8)
        np.savez(folder / _WORDS, words=words, starts=table.starts, terms=table.terms, weights=table.weights)
        if self.dense is not None:
            self.dense.write(folder / _DENSE)


def read_generation(folder: Path) -> Generation:
    """Read what `Generation.write` wrote.

    Raises:
        FileNotFoundError: the folder is gone, because a newer generation replaced it or the collection was deleted.
        RagError: the files are damaged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        manifest = _read_manifest(folder / _MANIFEST)
        with (folder / _CHUNKS).open(encoding="utf-8", newline="\n") as file:
            chunks = tuple(Chunk(*json.loads(line)) for line in file)
        dense = DenseIndex.read(folder / _DENSE) if (folder / _DENSE).exists() else None
        generation = Generation(manifest, chunks, SparseIndex(_read_words(folder / _WORDS)), dense)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise _damaged(folder, str(error)) from error
    if generation.sparse.table.n_chunks != len(chunks):
        raise _damaged(folder, "its parts differ in length")
    return generation


def _read_manifest(path: Path) -> Manifest:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    files: Iterable[dict[str, Any]] = values.pop("files")
    return Manifest(**values, files=tuple(IndexedFile(**{**file, "stat": tuple(file["stat"])}) for file in files))


def _read_words(path: Path) -> ForwardTable:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        words = arrays["words"].tobytes().decode("utf-8")
        return ForwardTable(
            words=tuple(words.split("\n")) if words else (),
            starts=arrays["starts"],
            terms=arrays["terms"],
            weights=arrays["weights"],
        )


def _damaged(folder: Path, detail: str) -> RagError:
    return RagError(f"the index in {folder} is damaged ({detail}); delete the collection and index it again")
