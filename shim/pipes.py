"""An MCP transport over the pipes of a child process that the supervisor owns.

One JSON-RPC message a line, both ways. When the child ends, the read stream ends, and the SDK fails the calls in
flight. It starts and stops nothing; the SDK's own stdio client would hide the process from its supervisor.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

log = logging.getLogger(__name__)


@asynccontextmanager
async def pipes(process: Process, on_end: Callable[[], None] = lambda: None) -> AsyncIterator[Any]:
    """Yield the (read, write) streams of *process*, whose stdin and stdout are pipes; call *on_end* once it is gone."""
    if process.stdin is None or process.stdout is None:
        msg = "the MCP server's stdin and stdout must be pipes"
        raise ValueError(msg)
    inbound, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, outbound = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as group:
        group.start_soon(_read_lines, process.stdout, inbound, on_end)
        group.start_soon(_write_lines, process.stdin, outbound, inbound)
        try:
            yield read, write
        finally:
            read.close()
            write.close()
            group.cancel_scope.cancel()


async def _read_lines(stdout: ByteReceiveStream, inbound: Any, on_end: Callable[[], None]) -> None:
    pending: list[bytes] = []
    async with inbound:
        try:
            async for data in stdout:
                *lines, rest = data.split(b"\n")
                for line in lines:
                    await inbound.send(_parse(b"".join([*pending, line])))
                    pending.clear()
                if rest:
                    pending.append(rest)
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            return  # the child or the session is gone; closing `inbound` tells the other side
        finally:
            on_end()


async def _write_lines(stdin: ByteSendStream, outbound: Any, inbound: Any) -> None:
    async with outbound:
        try:
            async for message in outbound:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await stdin.send(line.encode() + b"\n")
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            await inbound.aclose()  # a call must not wait for a child that cannot hear it


def _parse(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError as error:
        log.error("the MCP server wrote a line that is not JSON-RPC", extra={"n_bytes": len(line)})  # noqa: TRY400 - the line may hold a prompt
        return error
