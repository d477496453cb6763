"""`cinque search QUERY`: what an indexed folder has on a question, as `path:line`, symbol and a few lines of code.

It calls the server that runs for this data folder, or starts one for as long as it takes. As with grep the exit
status is 0 when something was found, 1 when nothing was, and 2 when the search failed. Colours are for terminals, and
NO_COLOR is respected.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from mcp_server.contract import ErrorCode, Hit, IndexStatus, RetrieveRequest, RetrieveResult
from shim.commands.folders import candidates, choose, root_of
from shim.commands.running import FAILED, run_async
from shim.errors import ApiError, CommandError
from shim.gateway import Gateway
from shim.supervisor import one_session

MAX_TOKENS = 100_000  # of all hits: a person's screen is the limit, and `-k`
LINES_SHOWN = 5  # of each hit
THEME = "ansi_dark"  # colours of the terminal's own palette, legible on its own background

# What a file may not do to the terminal that shows it: everything that moves, rings or hides.
CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def run(options: argparse.Namespace) -> int:
    """Search and print."""
    return run_async("search", _in_session, options)


async def _in_session(options: argparse.Namespace) -> int:
    gateway = Gateway(restart_wait_s=0)  # nobody restarts the server of one command
    async with one_session(gateway):
        try:
            project, result = await _search(gateway, options)
        except ApiError as error:  # told apart from nothing found
            raise CommandError(error.message) from error
    if options.json:
        Console().out(json.dumps(asdict(result), ensure_ascii=False, indent=2), highlight=False)
    else:
        _print(project, result)
    return 0 if result.hits else FAILED


async def _search(gateway: Gateway, options: argparse.Namespace) -> tuple[IndexStatus, RetrieveResult]:
    project = await _project(gateway, options.project)
    request = RetrieveRequest(
        collection=project.collection,
        query=options.query,
        max_results=options.k,
        max_tokens=MAX_TOKENS,
        path_glob=options.path,
        language=options.language,
        kind=options.kind,
        mode=options.mode,
    )
    result = await gateway.retrieve(request)
    return await gateway.index_status(project.collection), result  # which knows what the query itself has set off


async def _project(gateway: Gateway, name: str | None) -> IndexStatus:
    try:
        return choose(await gateway.list_collections(), name, Path.cwd())
    except CommandError as error:
        if await _is_begun(gateway, name):
            msg = f"{name or 'this folder'} is being indexed for the first time; search it again in a moment"
            raise CommandError(msg) from error
        raise


async def _is_begun(gateway: Gateway, name: str | None) -> bool:
    """Tell whether the first index of what is meant is being made; it is in no list before it can be searched."""
    for collection in candidates(name, Path.cwd()):
        try:
            await gateway.index_status(collection)
        except ApiError as error:
            if error.code not in {ErrorCode.COLLECTION_NOT_FOUND, ErrorCode.INVALID_REQUEST}:
                raise
        else:
            return True
    return False


def _print(project: IndexStatus, result: RetrieveResult) -> None:
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    if project.progress is not None and project.progress.stage == "model":
        told.print("the embedding model is being converted, once; until then words and quick vectors rank", style="dim")
    elif project.n_pending:
        n_pending, n_chunks = f"{project.n_pending:,}", f"{project.n_chunks:,}"
        told.print(f"{n_pending} of {n_chunks} chunks are not embedded yet; they are found by their words", style="dim")
    if not result.hits:
        told.print(Text(f"nothing found in {project.title}"))
    console = Console(highlight=False)
    for hit in result.hits:
        _print_hit(console, hit, shown_path(hit.path, root_of(project), Path.cwd()))


def shown_path(path: str, root: Path | None, folder: Path) -> str:
    """Write *path* as it is typed in *folder*; absolute where that is elsewhere, and as it is without a *root*."""
    if root is None:
        return path
    is_near = folder.is_relative_to(root) or root.is_relative_to(folder)
    return os.path.relpath(root / path, folder) if is_near else str(root / path)


def shown_lines(hit: Hit) -> list[int]:
    """Choose the lines of *hit* to show: those that match, or its first with anything on them."""
    if hit.matched_lines:
        return list(hit.matched_lines[:LINES_SHOWN])
    lines = hit.text.rstrip("\n").split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    return list(range(hit.start_line + first, hit.start_line + len(lines)))[:LINES_SHOWN]


def _print_hit(console: Console, hit: Hit, path: str) -> None:
    shown = shown_lines(hit)
    line = hit.matched_lines[0] if hit.matched_lines else hit.start_line
    head = Text.assemble((f"{path}:{line}".translate(CONTROLS), "bold cyan"))
    if hit.symbol:
        head.append("  ").append(hit.symbol.translate(CONTROLS), "green")
    head.append(f"  {hit.kind}, lines {hit.start_line}-{hit.end_line}, score {hit.score:.3f}", "dim")
    console.print(head, soft_wrap=True)
    width = len(str(hit.end_line))
    for number, code in zip(shown, _coloured(console, hit, shown), strict=True):
        numbered = Text(f"{number:>{width + 2}}  ", style="dim").append(code)
        _print_line(console, numbered)
    n_more = hit.end_line - hit.start_line + 1 - len(shown)
    if n_more > 0:
        more = f"... {n_more:,} more line{'s' if n_more > 1 else ''}"
        console.print(Text(f"{'':{width + 4}}{more}", style="dim"), soft_wrap=True)
    console.print()


def _print_line(console: Console, line: Text) -> None:
    """Print one line of code: cut to a terminal's width, whole where a program reads it."""
    if console.is_terminal:
        console.print(line, no_wrap=True, overflow="ellipsis")
    else:
        console.print(line, soft_wrap=True)


def _coloured(console: Console, hit: Hit, shown: Sequence[int]) -> list[Text]:
    """Return the *shown* lines of *hit*, coloured where the terminal has colours."""
    code = hit.text.replace("\r\n", "\n").translate(CONTROLS).expandtabs(4)
    if console.color_system is None:
        lines = [Text(line) for line in code.split("\n")]
    else:
        lines = list(Syntax(code, hit.language, theme=THEME).highlight(code).split("\n", allow_blank=True))
    return [lines[number - hit.start_line] for number in shown]
