"""An MCP transport over the pipes of a child process that the supervisor owns.

One JSON-RPC message a line, both ways. When the child ends, the read stream ends, and the SDK fails the calls in
flight. It starts and stops nothing; the SDK's own stdio client would hide the process from its supervisor.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import Process

from mcp_server.jsonrpc_lines import GONE, LineReader, LineWriter


@asynccontextmanager
async def pipes(
    process: Process, on_end: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[LineReader, LineWriter]]:
    """Yield the (read, write) streams of *process*, whose stdin and stdout are pipes; call *on_end* once it is gone."""
    if process.stdin is None or process.stdout is None:
        msg = "the MCP server's stdin and stdout must be pipes"
        raise ValueError(msg)
    reader, writer = LineReader(process.stdout, on_end), LineWriter(process.stdin)
    async with anyio.create_task_group() as group:
        group.start_soon(_write, writer, reader)
        try:
            yield reader, writer
        finally:
            group.cancel_scope.cancel()


async def _write(writer: LineWriter, reader: LineReader) -> None:
    try:
        await writer.run()
    except GONE:
        await reader.aclose()  # a call must not wait for a child that cannot hear it
