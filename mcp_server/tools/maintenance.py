"""Tools about the server itself: `status` for health checks and metrics, `diagnose` for `cinque doctor`."""

import time

import anyio.to_thread
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from mcp_server.capabilities import Capabilities
from mcp_server.contract import Diagnosis, ServerStatus, ToolName
from mcp_server.errors import CinqueError

OBSERVES = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the maintenance tools."""

    @server.tool(name=ToolName.STATUS, title="Status of the server", annotations=OBSERVES)
    async def status() -> ServerStatus:
        """Tell what works at this moment and what was done since the start.

        Use it when a call fails, to see whether inference, sandbox or retrieval is the cause.
        """
        ready, detail = await anyio.to_thread.run_sync(_inference, capabilities)
        return ServerStatus(
            pid=capabilities.pid,
            version=capabilities.version,
            uptime_s=round(time.monotonic() - capabilities.started_at_s, 3),
            http_url=capabilities.http_url,
            inference_ready=ready,
            inference_detail=detail,
            inference_notice=await anyio.to_thread.run_sync(capabilities.catalog.notice),
            lens_ready=capabilities.scorer.is_enabled,
            engine=capabilities.engine.statistics(),
            sandbox=await anyio.to_thread.run_sync(capabilities.sandbox.status),
            retrieval=await anyio.to_thread.run_sync(capabilities.retrieval.status),
        )

    @server.tool(name=ToolName.DIAGNOSE, title="Diagnose the installation", annotations=OBSERVES)
    async def diagnose() -> Diagnosis:
        """Check everything the server needs and say what is missing, what that costs, and how to mend it.

        Use it once after installing, or when `status` is not ready. Takes seconds: it runs a batch of tokens through
        the native library in a process of its own, and a few attacks against the sandbox.
        """
        return Diagnosis(findings=await anyio.to_thread.run_sync(capabilities.diagnose))


def _inference(capabilities: Capabilities) -> tuple[bool, str]:
    """Say whether the default model can answer: its file is sound and loaded without failure, or its servers answer."""
    statistics = capabilities.engine.statistics()
    try:
        model = capabilities.catalog.resolve(None)
        capabilities.catalog.check(model)
    except CinqueError as error:
        return False, error.message
    if statistics.load_failure is not None and statistics.load_failure.model == model:
        return False, statistics.load_failure.message
    servers = [upstream for upstream in statistics.upstreams if upstream.model_id == model.model_id]
    if servers and all(upstream.opens_again_in_s for upstream in servers):  # 0 where the next request will try it
        return False, f"{model.model_id} is remote, and none of its servers answered lately; start one"
    is_loaded = any(loaded.model_id == model.model_id for loaded in statistics.loaded_models)
    return True, f"{model.model_id} ({model.source}), {'loaded' if is_loaded else 'loads on first use'}"
