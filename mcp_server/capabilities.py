"""The live objects behind the tools, and how they are made: composition root of the MCP server.

`Capabilities` is handed to every toolset; a test hands in fakes of the same shape. Opening does no work: a model is
loaded, an index opened and the sandbox started when first used, so the handshake is immediate. Close in the reverse.
"""

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata

import anyio
import anyio.to_thread

from mcp_server.contract import FailureAnalysis, FailureReport, Finding, Model
from mcp_server.doctor import Doctor
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.backends import BackendRouter
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.models.memory import estimate_memory
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Engine
from mcp_server.lens.scorer import DisabledScorer
from mcp_server.ports import Catalog, Executor, Retriever, Scorer
from mcp_server.settings import McpSettings
from rag.index import Retrieval
from rag.settings import RagSettings
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings


def _analyze(report: FailureReport) -> FailureAnalysis:
    from sandbox.analysis import analyze  # noqa: PLC0415  # compiles patterns; see LAZY of the house rules

    return analyze(report)


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
    analyze: Callable[[FailureReport], FailureAnalysis] = _analyze  # pure: nobody needs another
    http_url: str | None = None  # where this process serves MCP over HTTP
    version: str = field(default_factory=lambda: metadata.version("cinque"))
    started_at_s: float = field(default_factory=time.monotonic)
    pid: int = field(default_factory=os.getpid)


@asynccontextmanager
async def open_capabilities(settings: McpSettings, http_url: str | None = None) -> AsyncIterator[Capabilities]:
    """Make the real capabilities from the environment's settings; close them on the way out."""
    engine_settings = EngineSettings()
    catalog = ModelCatalog(engine_settings)
    engine = BackendRouter(AsyncEngine(engine_settings, catalog), catalog)
    sandbox = Sandbox(SandboxSettings())

    def estimate(model: Model) -> int:
        return estimate_memory(model, catalog.options(model).settings).total_bytes

    retrieval = Retrieval(RagSettings())
    try:
        yield Capabilities(
            settings=settings,
            engine=engine,
            catalog=catalog,
            sandbox=sandbox,
            retrieval=retrieval,
            scorer=DisabledScorer(),
            http_url=http_url,
            diagnose=Doctor(settings, catalog, sandbox, retrieval, estimate).findings,
        )
    finally:
        # Cleanup must finish even when the server is being cancelled, or child processes would outlive it.
        with anyio.CancelScope(shield=True):
            await engine.aclose()
            await anyio.to_thread.run_sync(sandbox.close)
            await anyio.to_thread.run_sync(retrieval.close)
