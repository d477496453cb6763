"""Runs the MCP server's process: capabilities opened, transports started, signals obeyed.

Standard input is the leash: where stdio is one of the transports, its end stops the process, so a server never
outlives the shim or IDE that started it.
"""

import contextlib
import logging
import signal
from collections.abc import Sequence

import anyio
import anyio.to_thread
from anyio.abc import ByteStream
from pydantic import ValidationError

from mcp_server import listening
from mcp_server.admission import LOOPBACK
from mcp_server.app import build_server
from mcp_server.capabilities import Capabilities, open_capabilities
from mcp_server.engine.settings import EngineSettings
from mcp_server.errors import CinqueError
from mcp_server.settings import McpSettings
from mcp_server.standard_streams import claimed
from mcp_server.stdio import serve_joiners, serve_stdio
from mcp_server.telemetry import configure_logging
from mcp_server.transports import bind_http, serve_http
from rag.settings import RagSettings
from sandbox.settings import SandboxSettings

log = logging.getLogger(__name__)

SETTINGS = (McpSettings, EngineSettings, RagSettings, SandboxSettings)
SETTINGS_STATUS = 2  # tells a supervisor that another start would fail the same way


def run(transports: Sequence[str], *, is_joinable: bool = True) -> int:
    """Serve *transports* until stdin ends or a signal comes; return the exit status.

    Where *is_joinable*, stdio servers that are started meanwhile join this one.
    """
    configure_logging()
    status = 0
    try:
        settings = McpSettings()
        configure_logging(settings.log_level)
        _check_exposure(settings, transports)
        # Claimed before anything opens: what a native library prints while it loads must not reach the client.
        with claimed() if "stdio" in transports else contextlib.nullcontext() as standard_streams:
            anyio.run(_serve, settings, tuple(transports), standard_streams, is_joinable)
    except* (ValueError, listening.PortInUseError) as failures:  # pydantic's ValidationError is a ValueError
        for failure in failures.exceptions:
            log.error("the MCP server cannot start: %s", _one_line(failure))  # noqa: TRY400 - a traceback would hide it
        status = SETTINGS_STATUS
    return status


def _one_line(failure: Exception) -> str:
    """Tell what a person can mend, by the name of its variable."""
    if not isinstance(failure, ValidationError):
        return str(failure)
    first = failure.errors(include_url=False)[0]
    if not first["loc"]:  # a rule over several settings, whose message names them
        return first["msg"].removeprefix("Value error, ")
    prefix = next(kind.model_config["env_prefix"] for kind in SETTINGS if kind.__name__ == failure.title)
    field = str(first["loc"][0])
    variable = field if field.startswith("CINQUE_") else f"{prefix}{field.upper()}"
    return f"{variable}={first['input']}: {first['msg']}"


def _check_exposure(settings: McpSettings, transports: Sequence[str]) -> None:
    if settings.host not in LOOPBACK and not settings.api_key and set(transports) & {"sse", "http"}:
        msg = f"CINQUE_MCP_HOST={settings.host} is not loopback; set CINQUE_API_KEY, or anyone could run code here"
        raise ValueError(msg)


async def _serve(
    settings: McpSettings,
    transports: tuple[str, ...],
    standard_streams: ByteStream | None,
    is_joinable: bool,  # noqa: FBT001 - anyio.run passes nothing by name
) -> None:
    # Bound before anything opens: a port in use must not cost the loading of a model.
    listener, url = bind_http(settings) if set(transports) & {"sse", "http"} else (None, None)
    async with open_capabilities(settings, url) as capabilities, anyio.create_task_group() as group:
        group.start_soon(_cancel_on_signal, group.cancel_scope)
        server = build_server(capabilities)
        if is_joinable:
            group.start_soon(_tell_notice, capabilities)
            await group.start(serve_joiners, server, settings)
        if listener is not None:
            await group.start(serve_http, server, settings, listener)
            log.info("mcp over http", extra={"url": url})
            if settings.preload:
                group.start_soon(_preload, capabilities)
        if standard_streams is not None:
            await serve_stdio(server, standard_streams)
            group.cancel_scope.cancel()


async def _tell_notice(capabilities: Capabilities) -> None:
    """Say on stderr what a person should know of the default model, without keeping a client waiting."""
    if notice := await anyio.to_thread.run_sync(capabilities.catalog.notice):
        log.warning("%s", notice)


async def _preload(capabilities: Capabilities) -> None:
    """Load the default model early; a failure is told by the first request and by `status`, not here alone."""
    try:
        await capabilities.engine.load()
    except CinqueError as error:
        log.warning("the default model is not loaded: %s", error)


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
