"""The embedding model is converted while an MCP client waits for `index`: it can be cancelled, which kills it."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
from mcp import Client

from mcp_server.app import build_server
from rag.index import Retrieval
from rag.settings import RagSettings
from tests.stack import scripted_capabilities


async def test_a_cancelled_index_kills_the_conversion_that_it_waits_for(
    tmp_path: Path, conversion_process: Callable[[], int]
) -> None:
    retrieval = Retrieval(RagSettings(home=tmp_path / "home"))
    told: list[str | None] = []
    scope = anyio.CancelScope()

    async def on_progress(_progress: float, _total: float | None, message: str | None) -> None:
        told.append(message)

    async def index(client: Client) -> None:
        arguments = {"collection": "c", "documents": [{"path": "a.txt", "content": "alpha"}]}
        with scope:
            await client.call_tool("index", arguments, progress_callback=on_progress)

    try:
        with anyio.fail_after(15):
            server = build_server(scripted_capabilities(tmp_path, retrieval=retrieval))
            async with Client(server, cache=None) as client, anyio.create_task_group() as group:
                group.start_soon(index, client)
                process = await anyio.to_thread.run_sync(conversion_process)
                status = await client.call_tool("index_status", {"collection": "c"})
                scope.cancel()
                await until_gone(process)
                hits = (await client.call_tool("retrieve", {"collection": "c", "query": "alpha"})).structured_content
    finally:
        retrieval.close()
    assert scope.cancelled_caught
    assert status.structured_content["state"] == "embedding"
    assert status.structured_content["progress"] == {"stage": "model", "done": 0, "total": 1}
    assert "model 0/1" in told
    assert [hit["path"] for hit in hits["hits"]] == ["a.txt"]


async def until_gone(process: int) -> None:
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        await anyio.sleep(0.01)
