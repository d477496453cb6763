"""Doors over a scripted engine that speaks at a fixed pace: `python -m benchmarks.peers.paced PORT`.

With `--mcp` this is the MCP server behind them: `CINQUE_PACED_WORDS` words to every request, one every
`CINQUE_PACED_S` seconds, whoever else listens. What a stream is late beyond that, the stack has added.
"""

import os
import sys
import time
from pathlib import Path

import anyio

from mcp_server.deferral import deferred_validators

with deferred_validators():
    from mcp_server.app import build_server
    from mcp_server.engine.types import (
        Completion,
        Delta,
        DeltaSink,
        GenerationRequest,
        GenerationResult,
        Timings,
        Usage,
    )
    from mcp_server.standard_streams import claimed
    from mcp_server.stdio import serve_stdio
    from mcp_server.telemetry import configure_logging
    from shim.doors import DOORS
    from shim.serve import serve
    from shim.settings import ShimSettings
    from tests.fakes import SCRIPTED_MODEL, ScriptedEngine
    from tests.stack import scripted_capabilities

WORDS_SETTING, PACE_SETTING = "CINQUE_PACED_WORDS", "CINQUE_PACED_S"
DOOR = "atlas-proxy"


class PacedEngine(ScriptedEngine):
    """Speaks a word at every tick since the request came."""

    def __init__(self, n_words: int, pace_s: float) -> None:
        super().__init__()
        self._n_words, self._pace_s = n_words, pace_s

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Speak."""
        started_s = time.monotonic()
        for i in range(self._n_words):
            await anyio.sleep(max(0.0, started_s + i * self._pace_s - time.monotonic()))
            if on_delta is not None:
                await on_delta((Delta(0, f"{i} ", n_tokens=1),))
        del request
        text = "".join(f"{i} " for i in range(self._n_words))
        usage, timings = Usage(1, self._n_words), Timings(0.0, 0.0, self._n_words * self._pace_s * 1000)
        return GenerationResult(SCRIPTED_MODEL, (Completion(0, text, "length"),), usage, timings)


async def serve_tools() -> None:
    """Serve the tools over standard streams."""
    configure_logging("ERROR")
    engine = PacedEngine(int(os.environ[WORDS_SETTING]), float(os.environ[PACE_SETTING]))
    capabilities = scripted_capabilities(Path(os.environ["CINQUE_HOME"]), engine=engine)
    try:
        with claimed() as standard_streams:
            await serve_stdio(build_server(capabilities), standard_streams)
    finally:
        capabilities.retrieval.close()


async def serve_doors(port: int) -> None:
    """Serve the doors until terminated."""
    configure_logging("ERROR")
    ports = {door.name: 0 for door in DOORS} | {DOOR: port}
    async with anyio.create_task_group() as group:
        await group.start(serve, ShimSettings(ports=ports), [sys.executable, "-m", "benchmarks.peers.paced", "--mcp"])


if __name__ == "__main__":
    if sys.argv[1] == "--mcp":
        anyio.run(serve_tools)
    else:
        anyio.run(serve_doors, int(sys.argv[1]))
