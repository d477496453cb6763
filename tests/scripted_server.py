"""The MCP server over scripted capabilities as a process of its own, for tests that start, kill and restart one.

`python scripted_server.py` answers everything; with `--stuck` a generation stops for good after its first word, with
`--fails` no program passes its tests.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import anyio

from mcp_server.deferral import deferred_validators

with deferred_validators():
    from mcp_server.app import build_server
    from mcp_server.standard_streams import claimed
    from mcp_server.stdio import serve_stdio
    from mcp_server.telemetry import configure_logging
    from tests.fakes import Reply, ScriptedEngine
    from tests.stack import PASSED, ScriptedSandbox, scripted_capabilities


async def main() -> None:
    configure_logging("ERROR")
    reply = Reply(("first ", "second"), gate=anyio.Event(), gate_at=1) if "--stuck" in sys.argv else "first second"
    sandbox = ScriptedSandbox([replace(PASSED, success=False, tests_passed=0)] if "--fails" in sys.argv else [PASSED])
    engine = ScriptedEngine([reply])
    capabilities = scripted_capabilities(Path(os.environ["CINQUE_HOME"]), engine=engine, sandbox=sandbox)
    try:
        with claimed() as standard_streams:
            await serve_stdio(build_server(capabilities), standard_streams)
    finally:
        capabilities.retrieval.close()


if __name__ == "__main__":
    anyio.run(main)
