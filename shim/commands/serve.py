"""`cinque serve`: opens every door, prints its URL, and serves until Ctrl-C.

The lines on stdout are for people; programs read the log line `door is open` that stderr has for each door.
"""

import argparse
import logging

import anyio
from rich.console import Console

from mcp_server.contract import ServerStatus
from mcp_server.telemetry import configure_logging
from shim.commands.running import cancel_on_signal, run_async
from shim.errors import BackendUnavailableError
from shim.gateway import Gateway
from shim.serve import OpenDoor, serve
from shim.settings import ShimSettings
from shim.supervisor import serving_command

log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.2  # a server takes longer than that to start; asking faster only costs CPU time


def run(_: argparse.Namespace) -> int:
    """Serve; the exit status is 0 after Ctrl-C, 2 when the settings cannot be used."""
    return run_async("serve", _serve)


async def _serve() -> int:
    settings = ShimSettings()
    configure_logging(settings.log_level)
    async with anyio.create_task_group() as group:
        group.start_soon(cancel_on_signal, group.cancel_scope)
        opened = await group.start(serve, settings, serving_command())
        _print(opened.doors, await _first_status(opened.gateway))
    return 0


async def _first_status(gateway: Gateway) -> ServerStatus:
    """Ask until the MCP server answers. One that refuses its settings ends the waiting from outside, with a reason."""
    while True:
        try:
            return await gateway.status()
        except BackendUnavailableError:  # the supervisor logs why, and starts another
            await anyio.sleep(ASK_AGAIN_S)


def _print(doors: tuple[OpenDoor, ...], status: ServerStatus) -> None:
    for opened in doors:
        log.info("door is open", extra={"door": opened.door.name, "url": opened.url})
    rows = [(opened.door.title, opened.url, f"{opened.url}/docs") for opened in doors]
    rows += [("MCP, streamable HTTP", f"{status.http_url}/mcp", ""), ("MCP, SSE", f"{status.http_url}/sse", "")]
    rows += [
        ("model", status.inference_detail, ""),
        *([("", status.inference_notice, "")] if status.inference_notice else []),
        ("sandbox", f"isolation {status.sandbox.isolation}: {status.sandbox.detail}", ""),
    ]
    console = Console(soft_wrap=True, highlight=False, markup=False)  # a URL that is cut or broken cannot be followed
    width = max(len(opened.url) for opened in doors)
    for name, what, documentation in rows:
        console.print(f"{name:20}  {what:{width}}  {documentation}".rstrip())
    console.print("Ctrl-C stops everything.")
