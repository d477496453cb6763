"""Which files went into an index, which were read and left out, and how the disk described them when they were read.

Plain records: `sync` compares them with the disk of today, `part` and `generation` store them. Knows nothing of chunks.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

# A file whose stat is younger than this when the scan begins may change again within one tick of a coarse clock
# (FAT has 2 s), so its stat proves nothing next time and it is hashed again.
RACY_NS: Final = 2_000_000_000

Stat = tuple[int, ...]  # size, modification and change time in ns, inode; empty for posted documents


@dataclass(frozen=True)
class IndexedFile:
    """One file that went in: the hash of its text, and how the disk described it when it was read."""

    path: str
    content_hash: str
    n_lines: int
    n_bytes: int
    # Size, modification and change time in ns, inode: equal to today's means unchanged. Empty for posted documents.
    stat: Stat = ()


@dataclass(frozen=True)
class ReadAndSkipped:
    """One file that had to be read to see that it is not worth indexing, and how the disk described it then."""

    path: str
    reason: str
    stat: Stat


@dataclass(frozen=True)
class Manifest:
    """What a generation was made from. `embedding_model` is "" for a lexical index."""

    embedding_model: str = ""
    scanned_at_ns: int = 0  # the disk's clock when the scan began: younger stats cannot be trusted
    files: tuple[IndexedFile, ...] = ()
    skipped: tuple[ReadAndSkipped, ...] = ()

    @cached_property
    def by_path(self) -> dict[str, IndexedFile]:
        """The files by their paths."""
        return {file.path: file for file in self.files}

    @cached_property
    def skipped_by_path(self) -> dict[str, ReadAndSkipped]:
        """The files that were read and left out, by their paths."""
        return {file.path: file for file in self.skipped}

    @cached_property
    def settled(self) -> dict[str, Stat]:
        """The stats, by path, that prove a file unchanged when they are those of today: all but the racy ones."""
        before_ns = self.scanned_at_ns - RACY_NS
        return {
            file.path: file.stat
            for files in (self.files, self.skipped)
            for file in files
            if file.stat and file.stat[1] < before_ns and file.stat[2] < before_ns
        }
