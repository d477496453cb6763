"""The retrieval tools over MCP: every field reaches the core, progress is told by stage, symbols come back typed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from mcp_server.app import build_server
from mcp_server.contract import IndexProgress, IndexRequest, RetrieveRequest, SymbolRequest
from tests.retrieving import COLLECTION, OUTLINE, OVERVIEW, PATH, ScriptedRetrieval
from tests.stack import connected_gateway, scripted_capabilities

STEPS = (
    IndexProgress("reading", 5, 10),
    IndexProgress("reading", 10, 10),
    IndexProgress("chunking", 1, 2),
    IndexProgress("weighing", 1, 2),
    IndexProgress("committing", 1, 1),
    IndexProgress("model", 0, 1),
    IndexProgress("embedding", 100, 200),
    IndexProgress("embedding", 200, 200),
)


async def call(
    retrieval: ScriptedRetrieval, home: Path, tool: str, arguments: dict[str, Any], on_progress: Any = None
) -> Any:
    capabilities = scripted_capabilities(home, retrieval=retrieval)
    try:
        with anyio.fail_after(5):
            async with Client(build_server(capabilities), cache=None) as client:
                return await client.call_tool(tool, arguments, progress_callback=on_progress)
    finally:
        retrieval.close()


async def test_every_field_of_an_indexing_reaches_the_core(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    fields = {
        "collection": "c",
        "root": str(tmp_path / "src"),
        "fingerprint": "f",
        "title": "t",
        "metadata": {"a": "b"},
        "watch": True,
        "wait_for_dense": False,
    }
    retrieval = ScriptedRetrieval(tmp_path)
    result = await call(retrieval, tmp_path, "index", fields)
    assert result.structured_content["n_dense"] == 0
    assert retrieval.indexed == [IndexRequest(**fields)]


async def test_every_field_of_a_search_reaches_the_core(tmp_path: Path) -> None:
    retrieval = ScriptedRetrieval(tmp_path)
    retrieval.index(IndexRequest("c", documents=()))
    fields = {
        "collection": "c",
        "query": "q",
        "max_results": 3,
        "max_tokens": 100,
        "path_glob": "*.py",
        "language": "python",
        "mode": "hybrid",
        "kind": "function",
        "include_neighbours": True,
    }
    result = await call(retrieval, tmp_path, "retrieve", fields)
    assert result.structured_content["hits"] == []
    assert retrieval.asked == [RetrieveRequest(**fields)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"mode": "fuzzy"}, "mode"), ({"max_tokens": 0}, "max_tokens"), ({"neighbours": True}, "neighbours")],
    ids=str,
)
async def test_a_search_that_cannot_be_made_names_the_field(fields: dict[str, Any], param: str, tmp_path: Path) -> None:
    arguments = {"collection": "c", "query": "q", **fields}
    result = await call(ScriptedRetrieval(tmp_path), tmp_path, "retrieve", arguments)
    assert (result.structured_content["code"], result.structured_content["param"]) == ("invalid_request", param)


async def test_progress_names_stages_and_grows_towards_100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.tools.threads.PROGRESS_INTERVAL_S", 0.0)
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    arguments = {"collection": "c", "documents": []}
    await call(ScriptedRetrieval(tmp_path, STEPS), tmp_path, "index", arguments, on_progress)
    numbers = [progress for progress, _, _ in told]
    assert numbers == sorted(set(numbers))
    assert [message for _, _, message in told][: len(STEPS)] == [f"{s.stage} {s.done}/{s.total}" for s in STEPS]
    assert [round(number, 1) for number in numbers[: len(STEPS)]] == [2.5, 5.0, 7.5, 12.5, 12.5, 15.0, 57.5, 100.0]
    assert {total for _, total, _ in told[: len(STEPS)]} == {100.0}


async def test_the_gateway_tells_each_stages_own_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.tools.threads.PROGRESS_INTERVAL_S", 0.0)
    told: list[IndexProgress] = []

    async def on_progress(step: IndexProgress) -> None:
        told.append(step)

    capabilities = scripted_capabilities(tmp_path, retrieval=ScriptedRetrieval(tmp_path, STEPS))
    async with connected_gateway(capabilities) as gateway:
        await gateway.index(IndexRequest("c", documents=()), on_progress)
    assert tuple(told[: len(STEPS)]) == STEPS


async def test_symbols_outlines_and_overviews_cross_unchanged(tmp_path: Path) -> None:
    retrieval = ScriptedRetrieval(tmp_path)
    request = SymbolRequest(COLLECTION, "App.main", 7)
    async with connected_gateway(scripted_capabilities(tmp_path, retrieval=retrieval)) as gateway:
        found = await gateway.find_symbol(request)
        assert found == retrieval.find_symbol(request)
        assert await gateway.outline(COLLECTION, PATH) == OUTLINE
        assert await gateway.overview(COLLECTION) == OVERVIEW
    assert retrieval.asked == [request, request]


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "param"),
    [
        ("find_symbol", {"collection": "absent", "symbol": "x"}, "collection_not_found", "collection"),
        ("find_symbol", {"collection": COLLECTION, "symbol": ""}, "invalid_request", "symbol"),
        ("find_symbol", {"collection": COLLECTION, "symbol": "x", "max_results": 0}, "invalid_request", "max_results"),
        ("outline", {"collection": "absent", "path": PATH}, "collection_not_found", "collection"),
        ("outline", {"collection": COLLECTION, "path": "absent.py"}, "invalid_request", "path"),
        ("overview", {"collection": "absent"}, "collection_not_found", "collection"),
    ],
)
async def test_a_symbol_tool_that_cannot_answer_says_why(
    tool: str, arguments: dict[str, Any], code: str, param: str, tmp_path: Path
) -> None:
    result = await call(ScriptedRetrieval(tmp_path), tmp_path, tool, arguments)
    assert result.is_error
    assert (result.structured_content["code"], result.structured_content["param"]) == (code, param)


async def test_the_answer_of_a_symbol_tool_is_plain_data(tmp_path: Path) -> None:
    result = await call(ScriptedRetrieval(tmp_path), tmp_path, "outline", {"collection": COLLECTION, "path": PATH})
    expected = asdict(OUTLINE)
    assert result.structured_content == {**expected, "items": list(expected["items"])}
