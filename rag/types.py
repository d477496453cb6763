"""The nouns of retrieval: documents in, chunks kept, hits out.

Frozen dataclasses without behaviour; they cross the MCP seam unchanged. A *collection* is the index of one project.
Line numbers are 1-based and inclusive; paths are POSIX and relative to the collection's root.
"""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Document:
    """One text file as given to the index."""

    path: str = field(metadata={"description": "Path of the file in its project, with `/`"})
    content: str = field(metadata={"description": "Whole text of the file"})


@dataclass(frozen=True)
class Chunk:
    """A span of one document: a function, a method, a heading's section or a window of lines."""

    chunk_id: str  # hash of path, span and text: equal text at an equal place has an equal id
    path: str
    language: str
    kind: str  # function | method | class | section | window
    symbol: str  # qualified name, "" when the span has none
    start_line: int
    end_line: int
    text: str
    signature: str = ""  # of the definition whose beginning is in another chunk; embedded, and no part of the text


@dataclass(frozen=True)
class Hit:
    """One chunk that answers a query. Ranks are 1-based; None when that ranking did not return the chunk."""

    path: str
    language: str
    kind: str
    symbol: str
    start_line: int
    end_line: int
    text: str
    score: float  # fused, higher is better, comparable only within one answer
    dense_rank: int | None
    sparse_rank: int | None
    static_rank: int | None = None  # by the static model, which stands in for missing dense vectors
    matched_lines: tuple[int, ...] = ()  # of exact and regex mode: the lines of the file that match


@dataclass(frozen=True)
class IndexRequest:
    """Text to index: posted `documents`, or a local folder `root`; exactly one of the two."""

    collection: str
    documents: tuple[Document, ...] | None = None
    root: str | None = None
    fingerprint: str = ""  # the caller's hash of the whole; equal to the stored one means nothing to do
    title: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    watch: bool = False  # folders only: follow the folder's changes until the next request for the collection
    wait_for_dense: bool = True  # False: return as soon as it can be searched, while dense vectors fill in behind


@dataclass(frozen=True)
class SkippedFile:
    """A file that was not indexed, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class IndexReport:
    """What one indexing did. Counts are of the collection after it, except the `n_changed` pair."""

    collection: str
    already_synced: bool
    n_files: int
    n_chunks: int
    n_lines: int
    n_dense: int  # chunks that have a dense vector
    n_files_changed: int  # added or modified by this call
    n_files_deleted: int
    skipped: tuple[SkippedFile, ...]  # the first 100
    n_skipped: int
    duration_ms: int


@dataclass(frozen=True)
class IndexProgress:
    """Progress of one indexing: `done` of `total` units of `stage`."""

    # weighing: chunks get the words and the static vectors that make them searchable
    # model: the embedding model is converted and its backend chosen, once on a machine
    stage: Literal["reading", "chunking", "weighing", "model", "embedding", "committing"]
    done: int
    total: int


@dataclass(frozen=True)
class IndexStatus:
    """One collection as it stands on disk."""

    collection: str
    title: str
    # embedding: searchable; behind, dense vectors fill in, or the model that embeds queries is being converted
    state: Literal["ready", "indexing", "embedding"]
    n_files: int
    n_chunks: int
    n_lines: int
    n_dense: int  # chunks that have a dense vector
    n_pending: int  # chunks that have no dense vector yet
    is_watched: bool  # the changes of its folder are followed
    fingerprint: str
    embedding_model: str
    created_at: str  # ISO 8601, UTC
    updated_at: str
    metadata: dict[str, str]
    progress: IndexProgress | None = None  # of what goes on; None where it is ready, or another process's is unknown


@dataclass(frozen=True)
class CollectionList:
    """One page of collections, by title. `next_cursor` is None on the last page."""

    collections: tuple[IndexStatus, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class RetrieveRequest:
    """A query over one collection. Hits stop at `max_results` or when their text would pass `max_tokens`."""

    collection: str
    query: str
    max_results: int = 10
    max_tokens: int = 8000  # of hit text, counted as 4 characters a token
    path_glob: str | None = None
    language: str | None = None
    mode: Literal["hybrid", "exact", "regex"] = "hybrid"
    kind: str | None = None  # function | method | class | section | window
    include_neighbours: bool = False


@dataclass(frozen=True)
class RetrieveResult:
    """Hits, best first, and whether the limits cut any off."""

    collection: str
    query: str
    hits: tuple[Hit, ...]
    truncated: bool


@dataclass(frozen=True)
class SymbolRequest:
    """A name to find in one collection: plain, or qualified as in `Class.method`."""

    collection: str
    symbol: str
    max_results: int = 50  # of definitions, and of references


@dataclass(frozen=True)
class SymbolLocation:
    """One place where a symbol is defined or named."""

    path: str
    language: str
    kind: str
    symbol: str  # the qualified name; of a reference, that of what it stands in
    start_line: int
    end_line: int
    line: str  # the text of `start_line`
    role: Literal["definition", "reference"]


@dataclass(frozen=True)
class SymbolResult:
    """Where a symbol is defined and named, and whether the limit cut any place off."""

    collection: str
    symbol: str
    definitions: tuple[SymbolLocation, ...]
    references: tuple[SymbolLocation, ...]
    truncated: bool


@dataclass(frozen=True)
class OutlineItem:
    """One definition or heading of a file; `depth` is 0 at its top level."""

    kind: str
    symbol: str
    start_line: int
    end_line: int
    depth: int
    signature: str


@dataclass(frozen=True)
class Outline:
    """What one file defines, in its own order."""

    collection: str
    path: str
    language: str
    n_lines: int
    items: tuple[OutlineItem, ...]


@dataclass(frozen=True)
class LanguageShare:
    """How much of a collection is in one language."""

    language: str
    n_files: int
    n_lines: int
    n_bytes: int


@dataclass(frozen=True)
class FileSize:
    """How large one file is."""

    path: str
    n_lines: int
    n_bytes: int


@dataclass(frozen=True)
class FolderSize:
    """How much lies in one folder and below it."""

    path: str
    n_files: int
    n_lines: int


@dataclass(frozen=True)
class Overview:
    """A collection at a glance."""

    collection: str
    title: str
    n_files: int
    n_lines: int
    n_bytes: int
    languages: tuple[LanguageShare, ...]  # by lines, most first
    entry_points: tuple[str, ...]  # paths where reading may begin
    largest_files: tuple[FileSize, ...]
    top_folders: tuple[FolderSize, ...]
    readme: str  # its beginning; "" when there is none


@dataclass(frozen=True)
class DeleteResult:
    """A collection that was removed from disk."""

    collection: str
    deleted: bool


@dataclass(frozen=True)
class RetrievalStatus:
    """Whether retrieval works here, and with which embedding model."""

    ready: bool
    detail: str
    embedding_model: str
    n_collections: int
    store: str = ""  # what keeps the collections: a folder, or the URL of a database without its password
    is_store_ready: bool = True  # False: nothing can be indexed or searched, and `detail` says why
    is_converting: bool = False  # the embedding model is being converted for this machine, up to minutes, once
