"""`cinque index PATH`: a folder becomes a collection that can be searched, and stays one with `--watch`.

It calls the server that runs for this data folder, or starts one for as long as it takes. How far it is goes to
stderr, as a bar on a terminal and now and then as a line elsewhere; what was done goes to stdout. The exit status is 1
when it failed.
"""

import argparse
import time
from pathlib import Path

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from mcp_server.contract import IndexProgress, IndexReport, IndexRequest, IndexStatus
from shim.commands.folders import ROOT, collection_of
from shim.commands.running import cancel_on_signal, run_async
from shim.errors import CommandError
from shim.gateway import Gateway
from shim.supervisor import one_session

LOOK_AGAIN_S = 1.0  # at a folder that is followed; the server itself is told of each change at once
TOLD_EVERY_S = 5.0  # where a pipe is told how far it is
STAGES = {"model": "preparing the embedding model, once: up to two minutes"}  # the others say what they do
SKIPPED_SHOWN = 3  # enough to see the pattern


def run(options: argparse.Namespace) -> int:
    """Index, and follow the folder when asked to."""
    return run_async("index", _in_session, options)


async def _in_session(options: argparse.Namespace) -> int:
    root = _folder(options.path)
    gateway = Gateway(restart_wait_s=0)  # nobody restarts the server of one command
    console = Console(highlight=False, soft_wrap=True)
    async with one_session(gateway):
        name = collection_of(root, options.project, await gateway.list_collections())
        title = options.project or root.name or str(root)
        request = IndexRequest(name, root=str(root), title=title, metadata={ROOT: str(root)}, watch=options.watch)
        _print(console, request, await _index(gateway, request))
        if options.watch:
            await _follow(gateway, console, request)
    return 0


def _folder(path: str) -> Path:
    try:
        root = Path(path).expanduser().resolve()
    except RuntimeError as error:  # the home of nobody, or links in a circle
        raise CommandError(f"{path} is not a folder: {error}") from error
    if not path or not root.is_dir():  # an empty one is a variable that is not set, and not the folder that we are in
        msg = f"{path or 'an empty path'} is not a folder; give the folder to index"
        raise CommandError(msg)
    return root


async def _index(gateway: Gateway, request: IndexRequest) -> IndexReport:
    """Index with a live line of progress, or now and then a line where that is no terminal."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        return await gateway.index(request, _Told(console).on_progress)
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        async def on_progress(step: IndexProgress) -> None:
            total = None if step.stage in STAGES else step.total or None  # what has no parts only moves
            bar.update(task, description=STAGES.get(step.stage, step.stage), completed=step.done, total=total)

        return await gateway.index(request, on_progress)


class _Told:
    """Tells a pipe what takes long: each stage that is named above at once, and how far it is now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_s = time.monotonic()
        self._stage = ""

    async def on_progress(self, step: IndexProgress) -> None:
        is_new = step.stage != self._stage and step.stage in STAGES
        self._stage = step.stage
        if not is_new and time.monotonic() - self._last_s < TOLD_EVERY_S:
            return
        self._last_s = time.monotonic()
        told = STAGES.get(step.stage) or f"{step.stage} {step.done:,} of {step.total:,}"
        self._console.print(f"cinque index: {told}")


def _print(console: Console, request: IndexRequest, report: IndexReport) -> None:
    size = f"{report.n_files:,} files, {report.n_lines:,} lines, {report.n_chunks:,} chunks, {report.n_dense:,} dense"
    changes = f"{report.n_files_changed:,} changed, {report.n_files_deleted:,} deleted, {report.n_skipped:,} skipped"
    console.print(Text.assemble((request.title, "bold"), f": {size}"))
    console.print(f"{changes}, in {report.duration_ms / 1000:.1f} s")
    for skipped in report.skipped[:SKIPPED_SHOWN]:
        console.print(Text(f"skipped {skipped.path}: {skipped.reason}", style="dim"))
    if report.n_skipped > SKIPPED_SHOWN:
        console.print(Text(f"and {report.n_skipped - SKIPPED_SHOWN:,} more", style="dim"))
    console.print(f"search it: cinque search --project {request.collection} QUERY")


async def _follow(gateway: Gateway, console: Console, request: IndexRequest) -> None:
    """Tell of each change until Ctrl-C."""
    console.print(f"following {request.root}; Ctrl-C ends it")
    async with anyio.create_task_group() as group:
        group.start_soon(cancel_on_signal, group.cancel_scope)
        last = await gateway.index_status(request.collection)
        while True:
            if not last.is_watched:
                msg = f"the server has stopped following {request.root}; its log says why"
                raise CommandError(msg)
            await anyio.sleep(LOOK_AGAIN_S)
            status = await gateway.index_status(request.collection)
            if status.updated_at != last.updated_at:
                _print_change(console, status)
            last = status


def _print_change(console: Console, status: IndexStatus) -> None:
    pending = f", {status.n_pending:,} still to be embedded" if status.n_pending else ""
    console.print(f"{status.updated_at}  {status.n_files:,} files, {status.n_chunks:,} chunks{pending}")
