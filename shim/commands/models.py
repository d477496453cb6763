"""`cinque models list | pull | rm`: the models on this machine and those of other servers."""

import argparse
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from mcp_server.contract import Model
from shim.commands.running import run_async
from shim.gateway import Gateway
from shim.progress import ProgressStep
from shim.supervisor import one_session

WIDTH = 1000  # of the list at most: the terminal breaks a long line, but a name that is cut cannot be copied

Action = Callable[[Gateway, Console, argparse.Namespace], Awaitable[None]]


def run(options: argparse.Namespace) -> int:
    """Do the action; the exit status is 1 when it failed."""
    action = {"list": _list, "pull": _pull, "rm": _remove}[options.action]
    return run_async(f"models {options.action}", _in_session, action, options)


async def _in_session(action: Action, options: argparse.Namespace) -> int:
    gateway = Gateway(restart_wait_s=0)  # nobody restarts the server of one command
    async with one_session(gateway):
        await action(gateway, Console(), options)
    return 0


async def _list(gateway: Gateway, console: Console, _: argparse.Namespace) -> None:
    table = Table("model", "source", "size", "context", "loaded", "aliases", "changed", "", box=None, padding=(0, 1))
    for name in ("size", "context"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for model in await gateway.list_models():
        table.add_row(*_row(model))
    console.width = WIDTH
    console.print(table)


def _row(model: Model) -> tuple[str, ...]:
    """Say of one model what the table has columns for; what is not known is left empty."""
    return (
        model.model_id,
        model.path if model.source == "remote" else model.source,
        "" if model.source == "remote" else f"{model.size_bytes / 1e6:,.1f} MB",
        "" if model.context_tokens is None else f"{model.context_tokens:,}",
        "yes" if model.is_loaded else "",
        ", ".join(model.aliases),
        datetime.fromtimestamp(model.created_at, UTC).date().isoformat(),
        "default" if model.is_default else "",
    )


async def _pull(gateway: Gateway, console: Console, options: argparse.Namespace) -> None:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(options.filename, total=None)

        async def on_progress(step: ProgressStep) -> None:
            bar.update(task, completed=step.progress, total=step.total)

        model = await gateway.pull_model(options.repo_id, options.filename, on_progress)
    console.print(f"{model.model_id} is in {model.path}")


async def _remove(gateway: Gateway, console: Console, options: argparse.Namespace) -> None:
    model = await gateway.remove_model(options.model)
    console.print(f"removed {model.path}")
