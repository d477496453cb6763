"""`cinque serve`: opens every door, prints its URL, and serves until Ctrl-C."""

import argparse
import signal

import anyio
from rich.console import Console
from rich.table import Table

from mcp_server.telemetry import configure_logging
from shim.commands import run_async
from shim.serve import OpenDoor, serve
from shim.settings import ShimSettings
from shim.supervisor import serving_command


def run(_: argparse.Namespace) -> int:
    """Serve; the exit status is 0 after Ctrl-C, 2 when the settings cannot be used."""
    return run_async("serve", _serve)


async def _serve() -> int:
    settings = ShimSettings()
    configure_logging(settings.log_level)
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel_on_signal, group.cancel_scope)
        doors = await group.start(serve, settings, serving_command())
        _print(doors)
    return 0


def _print(doors: tuple[OpenDoor, ...]) -> None:
    table = Table("door", "URL", "documentation", title="Cinque serves", title_justify="left")
    for opened in doors:
        table.add_row(opened.door.title, opened.url, f"{opened.url}/docs")
    console = Console()
    console.print(table)
    console.print("MCP over HTTP: its URL stands in the log line 'mcp over http'. Ctrl-C stops everything.")


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
