"""`cinque doctor`: what is installed, what is missing, what each missing thing costs, and how to get it."""

import argparse

from rich.console import Console
from rich.text import Text

from mcp_server.contract import Finding
from shim.commands.running import FAILED, run_async
from shim.errors import ApiError
from shim.gateway import Gateway
from shim.supervisor import one_session

COLOURS = {"ok": "green", "degraded": "yellow", "missing": "red"}


def run(_: argparse.Namespace) -> int:
    """Print every finding; the exit status is 1 when something needed is missing."""
    return run_async("doctor", _diagnose)


async def _diagnose() -> int:
    gateway = Gateway(restart_wait_s=60.0)
    console = Console()
    try:
        async with one_session(gateway):
            with console.status("looking at engine, sandbox, retrieval and tools ..."):
                findings = (await gateway.diagnose()).findings
    except ApiError as error:
        message = f"{error.message}\nThe lines above say why; `make setup` repairs an installation."
        console.print(f"[red]the MCP server cannot start:[/red] {message}", highlight=False)
        return FAILED
    _print(console, findings)
    return FAILED if any(finding.state == "missing" for finding in findings) else 0


def _print(console: Console, findings: tuple[Finding, ...]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        line = Text(f"{finding.state:<9}", style=COLOURS[finding.state])
        line.append(f"{finding.name:<{width}}  {finding.detail}", style="default")
        console.print(line, soft_wrap=True)
        if finding.cost:
            console.print(Text(f"{'':9}without it: {finding.cost}"), soft_wrap=True)
            console.print(Text(f"{'':9}how to get it: {finding.fix}"), soft_wrap=True)
