"""The MCP server over scripted capabilities as a process of its own, for tests that start, kill and restart one.

`python scripted_server.py` answers everything; with `--stuck` a generation stops for good after its first word.
"""

import os
import sys
from pathlib import Path

import anyio

from mcp_server.app import build_server
from mcp_server.telemetry import configure_logging
from tests.fakes import Reply, ScriptedEngine
from tests.stack import scripted_capabilities


async def main() -> None:
    configure_logging("ERROR")
    reply = Reply(("first ", "second"), gate=anyio.Event(), gate_at=1) if "--stuck" in sys.argv else "first second"
    capabilities = scripted_capabilities(Path(os.environ["CINQUE_HOME"]), engine=ScriptedEngine([reply]))
    try:
        await build_server(capabilities).run_stdio_async()
    finally:
        capabilities.retrieval.close()


if __name__ == "__main__":
    anyio.run(main)
