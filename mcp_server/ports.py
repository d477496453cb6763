"""What the tools need of the synchronous cores, as protocols: the real ones and the tests' fakes both fit.

All of them are thread-safe, and block: tools call them from worker threads. The engine's protocol is beside its types,
because it is asynchronous and other cores generate through it.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from mcp_server.engine.types import Model, PullProgress
from mcp_server.lens.types import Score
from rag.types import (
    CollectionList,
    DeleteResult,
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    Outline,
    Overview,
    RetrievalStatus,
    RetrieveRequest,
    RetrieveResult,
    SymbolRequest,
    SymbolResult,
)
from sandbox.types import ExecutionRequest, ExecutionResult, Language, SandboxStatus, SyntaxReport


class Executor(Protocol):
    """What runs programs."""

    def execute(self, request: ExecutionRequest, *, cancelled: threading.Event | None = None) -> ExecutionResult:
        """Run one program; once *cancelled* is set, kill it and return soon, in whatever way."""
        ...

    def check_syntax(
        self, code: str, language: str, filename: str | None = None, *, cancelled: threading.Event | None = None
    ) -> SyntaxReport:
        """Parse, without running; once *cancelled* is set, kill the parser and return soon, in whatever way."""
        ...

    def languages(self) -> tuple[Language, ...]:
        """List languages with their installed versions."""
        ...

    def status(self) -> SandboxStatus:
        """Tell what works; the first call proves it."""
        ...

    def close(self) -> None:
        """Kill what runs; idempotent."""
        ...


class Retriever(Protocol):
    """What indexes and finds text."""

    def index(
        self,
        request: IndexRequest,
        on_progress: Callable[[IndexProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> IndexReport:
        """Bring one collection up to date; once *cancelled* is set, leave it as it was."""
        ...

    def index_status(self, collection: str) -> IndexStatus:
        """Describe one collection."""
        ...

    def list_collections(self, cursor: str | None = None, limit: int = 100) -> CollectionList:
        """List one page."""
        ...

    def delete_collection(self, collection: str) -> DeleteResult:
        """Remove one collection from disk."""
        ...

    def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """Search one collection."""
        ...

    def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        """Find where a symbol is defined and named."""
        ...

    def outline(self, collection: str, path: str) -> Outline:
        """List what one file defines."""
        ...

    def overview(self, collection: str) -> Overview:
        """Describe one collection at a glance."""
        ...

    def status(self) -> RetrievalStatus:
        """Tell what works, without loading anything heavy."""
        ...

    def close(self) -> None:
        """Close files; idempotent."""
        ...


class Catalog(Protocol):
    """What models there are."""

    def list(self) -> tuple[Model, ...]:
        """List all, the default first."""
        ...

    def resolve(self, name: str | None) -> Model:
        """Find one by name; None means the default."""
        ...

    def notice(self) -> str:
        """Tell in one line what a person should know of the default model before using it; "" for nothing."""
        ...

    def check(self, model: Model) -> None:
        """Raise `ModelLoadError` where its files cannot be a whole model; cheap enough for every health check."""
        ...

    def pull(
        self,
        repo_id: str,
        filename: str,
        on_progress: Callable[[PullProgress], None],
        cancelled: threading.Event | None = None,
    ) -> Model:
        """Download one; once *cancelled* is set, stop and keep what is there for a resume."""
        ...

    def removable(self, name: str) -> Model:
        """Find one whose files are ours to delete; refuse others."""
        ...

    def remove(self, name: str) -> None:
        """Delete one's file."""
        ...


class Scorer(Protocol):
    """What judges code without running it."""

    @property
    def is_enabled(self) -> bool:
        """Whether weights are loaded."""
        ...

    def score(self, text: str) -> Score:
        """Judge *text*."""
        ...
