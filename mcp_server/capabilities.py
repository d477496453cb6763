"""The live objects behind the tools, and how they are made: composition root of the MCP server.

`Capabilities` is handed to every toolset; a test hands in fakes of the same shape. Opening does no work: a model is
loaded, an index opened and the sandbox started when first used, so the handshake is immediate. Close in the reverse.
"""

import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Protocol

import anyio
import anyio.to_thread

from mcp_server.contract import Finding
from mcp_server.doctor import Doctor
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Engine, Model, PullProgress
from mcp_server.lens.scorer import DisabledScorer
from mcp_server.lens.types import Score
from mcp_server.settings import McpSettings
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import (
    CollectionList,
    DeleteResult,
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    RetrievalStatus,
    RetrieveRequest,
    RetrieveResult,
)
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest, ExecutionResult, Language, SandboxStatus, SyntaxReport


class Executor(Protocol):
    """What runs programs; thread-safe and synchronous."""

    def execute(self, request: ExecutionRequest, *, cancelled: threading.Event | None = None) -> ExecutionResult: ...
    def check_syntax(self, code: str, language: str, filename: str | None = None) -> SyntaxReport: ...
    def languages(self) -> tuple[Language, ...]: ...
    def status(self) -> SandboxStatus: ...
    def close(self) -> None: ...


class Retriever(Protocol):
    """What indexes and finds text; thread-safe and synchronous."""

    def index(
        self,
        request: IndexRequest,
        on_progress: Callable[[IndexProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> IndexReport: ...
    def index_status(self, collection: str) -> IndexStatus: ...
    def list_collections(self, cursor: str | None = None, limit: int = 100) -> CollectionList: ...
    def delete_collection(self, collection: str) -> DeleteResult: ...
    def retrieve(self, request: RetrieveRequest) -> RetrieveResult: ...
    def status(self) -> RetrievalStatus: ...
    def close(self) -> None: ...


class Catalog(Protocol):
    """What models there are; thread-safe and synchronous."""

    def list(self) -> tuple[Model, ...]: ...
    def resolve(self, name: str | None) -> Model: ...
    def pull(
        self,
        repo_id: str,
        filename: str,
        on_progress: Callable[[PullProgress], None],
        cancelled: threading.Event | None = None,
    ) -> Model: ...
    def remove(self, name: str) -> Model: ...


class Scorer(Protocol):
    """What judges code without running it."""

    is_enabled: bool

    def score(self, text: str) -> Score: ...


@dataclass(frozen=True)
class Capabilities:
    """Everything the tools work with; lives as long as the process."""

    settings: McpSettings
    engine: Engine
    catalog: Catalog
    sandbox: Executor
    retrieval: Retriever
    scorer: Scorer
    diagnose: Callable[[], tuple[Finding, ...]]
    version: str = field(default_factory=lambda: metadata.version("cinque"))
    started_at_s: float = field(default_factory=time.monotonic)
    pid: int = field(default_factory=os.getpid)


@asynccontextmanager
async def open_capabilities(settings: McpSettings) -> AsyncIterator[Capabilities]:
    """Make the real capabilities from the environment's settings; close them on the way out."""
    engine_settings = EngineSettings()
    catalog = ModelCatalog(engine_settings)
    engine = AsyncEngine(engine_settings, catalog)
    sandbox = Sandbox(SandboxSettings())
    retrieval = Retrieval(RagSettings())
    try:
        yield Capabilities(
            settings=settings,
            engine=engine,
            catalog=catalog,
            sandbox=sandbox,
            retrieval=retrieval,
            scorer=DisabledScorer(),
            diagnose=Doctor(settings, engine_settings, catalog, sandbox, retrieval).findings,
        )
    finally:
        # Cleanup must finish even when the server is being cancelled, or child processes would outlive it.
        with anyio.CancelScope(shield=True):
            await engine.aclose()
            await anyio.to_thread.run_sync(sandbox.close)
            await anyio.to_thread.run_sync(retrieval.close)
