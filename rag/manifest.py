"""Which files went into an index, and how the disk described them when they were read.

Plain records: `sync` compares them with the disk of today, `part` stores them. Knows nothing of chunks.
"""

from dataclasses import dataclass
from functools import cached_property


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

    @cached_property
    def by_path(self) -> dict[str, IndexedFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}
