"""The tools as any MCP client sees them, in both eras of the protocol, over an in-memory connection."""

import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from mcp import Client
from mcp_types import CallToolResult, Tool

from mcp_server.app import TOOLSETS, build_server
from mcp_server.capabilities import Capabilities
from mcp_server.contract import ErrorCode, GenerationRequest, GenerationResult, LoadFailure, ToolName
from mcp_server.engine.backends import BackendRouter
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from mcp_server.errors import UpstreamError
from mcp_server.telemetry import JsonLines
from tests.fakes import Reply, ScriptedEngine
from tests.stack import ScriptedCatalog, ScriptedSandbox, scripted_capabilities
from tests.upstreams import unused_url

ERAS = ("legacy", "2026-07-28")
HI = {"messages": [{"role": "user", "content": "hi"}]}
DESTRUCTIVE = {ToolName.REMOVE_MODEL, ToolName.DELETE_COLLECTION}
NETWORKED = {ToolName.PULL_MODEL, ToolName.EXECUTE}  # a model; a program's requirements
WRITING = DESTRUCTIVE | {ToolName.PULL_MODEL, ToolName.INDEX, ToolName.LOAD_MODEL, ToolName.UNLOAD_MODEL}
NUMBERS = tuple(f"{i} " for i in range(100))
# What the schema refuses, and the parameter at fault.
MISFITS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("generate", {"messages": "hi"}, "messages"),
    ("generate", {"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ("generate", {**HI, "n": 0}, "n"),
    ("generate", {**HI, "n": 65}, "n"),
    ("generate", {**HI, "sampling": {"temperature": "hot"}}, "sampling.temperature"),
    ("generate", {**HI, "max_tokens": 5}, "max_tokens"),
    ("generate", {**HI, "sampling": {"max_token": 5}}, "sampling.max_token"),
    ("generate", {**HI, "sampling": '{"max_token": 5}'}, "sampling.max_token"),
    ("generate", {"messages": [{"role": "user", "content": "x", "nam": "y"}]}, "messages.0.nam"),
    ("status", {"verbose": True}, "verbose"),
    ("execute", {}, "code"),
    ("execute", {"code": "x", "timeout_s": 0}, "timeout_s"),
    ("embed", {"input": ["x"] * 257}, "input"),
    ("retrieve", {"collection": "a", "query": "x", "max_results": 101}, "max_results"),
    ("list_models", {"limit": 0}, "limit"),
    ("list_models", {"cursor": "elsewhere"}, "cursor"),
    ("list_models", {"cursor": "9" * 5000}, "cursor"),
)
# What a core refuses, its code and the parameter at fault.
REFUSALS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("no_such_tool", {}, "unknown_tool", "name"),
    ("generate", {**HI, "model": "absent"}, "model_not_found", "model"),
    ("generate", {}, "invalid_request", "messages"),
    ("remove_model", {"model": "scripted"}, "invalid_request", "model"),
    ("execute", {"code": "x", "language": "cobol"}, "unknown_language", "language"),
    ("index_status", {"collection": "absent"}, "collection_not_found", "collection"),
    ("retrieve", {"collection": "absent", "query": "x"}, "collection_not_found", "collection"),
    ("index", {"collection": "a"}, "invalid_request", "root"),
)

both_eras = pytest.mark.parametrize("era", ERAS)


@asynccontextmanager
async def connected(home: Path, era: str, **parts: Any) -> AsyncIterator[Client]:
    capabilities = scripted_capabilities(home, **parts)
    try:
        with anyio.fail_after(5):
            async with Client(build_server(capabilities), mode=era, cache=None) as client:
                yield client
    finally:
        capabilities.retrieval.close()


@pytest.fixture(scope="module", params=ERAS)
def tools(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tool]:
    async def read() -> dict[str, Tool]:
        async with connected(tmp_path_factory.mktemp("home"), request.param) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return anyio.run(read)


def assert_failed(result: CallToolResult, code: str, param: str | None = None) -> None:
    assert result.is_error
    structured = result.structured_content
    assert isinstance(structured, dict)
    assert set(structured) == {"code", "message", "param"}
    assert (structured["code"], structured["param"]) == (code, param)
    assert structured["message"]
    assert structured["code"] in set(ErrorCode)


def test_every_tool_of_the_contract_is_listed_and_no_other(tools: dict[str, Tool]) -> None:
    assert set(tools) == set(ToolName)
    assert len(TOOLSETS) == len(set(TOOLSETS))


def test_every_tool_says_what_it_does_and_when_to_use_it(tools: dict[str, Tool]) -> None:
    for name, tool in tools.items():
        assert tool.title, name
        assert "Use it" in (tool.description or ""), name
        assert "\n    " not in (tool.description or ""), "the indentation of the source costs tokens"


def test_every_parameter_is_described(tools: dict[str, Tool]) -> None:
    for name, tool in tools.items():
        for kind, schema in {"": tool.input_schema, **tool.input_schema.get("$defs", {})}.items():
            for parameter, property_ in schema.get("properties", {}).items():
                assert property_.get("description"), f"{name} {kind}.{parameter}"


def test_no_tool_takes_what_it_does_not_name(tools: dict[str, Tool]) -> None:
    for name, tool in tools.items():
        for kind, schema in {"": tool.input_schema, **tool.input_schema.get("$defs", {})}.items():
            assert "enum" in schema or schema["additionalProperties"] is False, f"{name} {kind}"


def test_every_tool_has_an_output_schema_with_members(tools: dict[str, Tool]) -> None:
    for name, tool in tools.items():
        assert tool.output_schema, name
        assert tool.output_schema["properties"], name


def test_the_hints_tell_readers_from_writers(tools: dict[str, Tool]) -> None:
    for name, tool in tools.items():
        hints = tool.annotations
        assert hints is not None
        assert hints.read_only_hint == (name not in WRITING), name
        assert bool(hints.destructive_hint) == (name in DESTRUCTIVE), name
        assert hints.open_world_hint == (name in NETWORKED), name
        assert hints.idempotent_hint is not None


@both_eras
async def test_arguments_that_do_not_fit_are_a_structured_error(era: str, tmp_path: Path) -> None:
    async with connected(tmp_path, era) as client:
        for tool, arguments, param in MISFITS:
            assert_failed(await client.call_tool(tool, arguments), "invalid_request", param)


@both_eras
async def test_a_refusal_of_a_core_is_a_structured_error(era: str, tmp_path: Path) -> None:
    async with connected(tmp_path, era) as client:
        for tool, arguments, code, param in REFUSALS:
            assert_failed(await client.call_tool(tool, arguments), code, param)


@both_eras
async def test_a_defect_is_told_without_details_and_logged_with_them(
    era: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(JsonLines())
    caplog.set_level(logging.ERROR)
    async with connected(tmp_path, era, engine=ScriptedEngine([RuntimeError("a secret")])) as client:
        result = await client.call_tool("generate", HI)
    assert_failed(result, "internal_error")
    assert "secret" not in result.model_dump_json()
    (line,) = [json.loads(line) for line in caplog.text.splitlines()]
    assert line["tool"] == "generate"
    assert "RuntimeError: a secret" in line["traceback"]


@both_eras
async def test_a_generation_streams_growing_progress_with_the_whole_text(era: str, tmp_path: Path) -> None:
    steps: list[tuple[float, float | None, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message or ""))

    async with connected(tmp_path, era, engine=ScriptedEngine([NUMBERS])) as client:
        arguments = {**HI, "sampling": {"max_tokens": 50, "n_logprobs": 1}}
        result = await client.call_tool("generate", arguments, progress_callback=on_progress)
    assert not result.is_error
    assert result.structured_content is not None
    assert set(result.structured_content) == {field.name for field in fields(GenerationResult)}
    (completion,) = result.structured_content["completions"]
    deltas = [delta for _, _, message in steps for delta in json.loads(message)["deltas"]]
    assert "".join(delta["text"] for delta in deltas) == completion["text"] == "".join(NUMBERS[:50])
    assert [logprob for delta in deltas for logprob in delta["logprobs"]] == completion["logprobs"]
    progress = [step[0] for step in steps]
    assert progress == sorted(set(progress))
    assert (progress[-1], {step[1] for step in steps}) == (50, {50})


@both_eras
async def test_a_client_without_progress_gets_the_same_result(era: str, tmp_path: Path) -> None:
    async with connected(tmp_path, era, engine=ScriptedEngine(["one two"])) as client:
        result = await client.call_tool("generate", {"prompt": "count"})
    expected = await ScriptedEngine(["one two"]).generate(GenerationRequest(prompt="count"))
    assert result.structured_content == json.loads(json.dumps(asdict(expected)))


@both_eras
async def test_a_cancelled_generation_leaves_the_engine_idle(era: str, tmp_path: Path) -> None:
    engine = ScriptedEngine([Reply(("a", "b"), gate=anyio.Event(), gate_at=1)])
    async with connected(tmp_path, era, engine=engine) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "generate", HI)
            await engine.wait_until_running(1)
            group.cancel_scope.cancel()
        await engine.wait_until_running(0)
    assert engine.statistics().n_aborted == 1


@both_eras
async def test_a_cancelled_execution_stops_its_program(era: str, tmp_path: Path) -> None:
    box = ScriptedSandbox(gate=threading.Event())
    async with connected(tmp_path, era, sandbox=box) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "execute", {"code": "x"})
            assert await run_sync(box.was_started.wait, 5)
            group.cancel_scope.cancel()
        assert await run_sync(box.was_cancelled.wait, 5)


@both_eras
async def test_lists_come_in_pages(era: str, tmp_path: Path) -> None:
    async with connected(tmp_path, era, models=("a", "b", "c", "d")) as client:
        for collection in ("x", "y", "z"):
            await client.call_tool("index", {"collection": collection, "documents": []})
        for tool, key, name, expected in (
            ("list_models", "models", "model_id", ["scripted", "a", "b", "c", "d"]),
            ("list_collections", "collections", "collection", ["x", "y", "z"]),
        ):
            found: list[str] = []
            cursor: str | None = None
            while not found or cursor is not None:
                page = (await client.call_tool(tool, {"cursor": cursor, "limit": 2})).structured_content
                assert page is not None
                assert len(page[key]) <= 2
                found += [item[name] for item in page[key]]
                cursor = page["next_cursor"]
            assert found == expected


@both_eras
async def test_indexing_reports_growing_progress(era: str, tmp_path: Path) -> None:
    steps: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total is not None
        assert message
        steps.append(progress)

    documents = [{"path": f"{i}.py", "content": f"def f{i}(): pass\n"} for i in range(20)]
    async with connected(tmp_path, era) as client:
        arguments = {"collection": "c", "documents": documents}
        result = await client.call_tool("index", arguments, progress_callback=on_progress)
        assert result.structured_content is not None
        assert result.structured_content["n_files"] == 20
    assert steps
    assert steps == sorted(set(steps))


@both_eras
async def test_a_loaded_model_is_listed_with_its_context(era: str, tmp_path: Path) -> None:
    async with connected(tmp_path, era, models=("other",)) as client:
        listed = (await client.call_tool("list_models", {})).structured_content
    assert listed is not None
    assert [(model["is_loaded"], model["context_tokens"]) for model in listed["models"]] == [
        (True, 1024),
        (False, None),
    ]


@both_eras
async def test_a_model_that_cannot_be_removed_is_not_unloaded_either(era: str, tmp_path: Path) -> None:
    engine = ScriptedEngine()
    async with connected(tmp_path, era, engine=engine) as client:
        assert_failed(await client.call_tool("remove_model", {"model": "scripted"}), "invalid_request", "model")
    assert engine.unloaded == []


async def inference(capabilities: Capabilities) -> tuple[bool, str]:
    try:
        with anyio.fail_after(5):
            async with Client(build_server(capabilities), cache=None) as client:
                status = (await client.call_tool("status", {})).structured_content
    finally:
        capabilities.retrieval.close()
    assert status is not None
    return status["inference_ready"], status["inference_detail"]


async def test_inference_is_not_ready_while_the_default_model_is_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.gguf").write_bytes(b"noise" * 600)
    catalog = ModelCatalog(EngineSettings(home=tmp_path))
    ready, detail = await inference(replace(scripted_capabilities(tmp_path), catalog=catalog))
    assert not ready
    assert "broken.gguf" in detail


async def test_inference_is_not_ready_after_the_default_model_failed_to_load(tmp_path: Path) -> None:
    model = ScriptedCatalog().resolve(None)
    failed = ScriptedEngine(load_failure=LoadFailure(model, "no memory for it"))
    assert await inference(scripted_capabilities(tmp_path, engine=failed)) == (False, "no memory for it")
    since_replaced = ScriptedEngine(load_failure=LoadFailure(replace(model, created_at=1), "no memory for it"))
    assert (await inference(scripted_capabilities(tmp_path, engine=since_replaced)))[0]


async def test_inference_is_not_ready_while_no_server_of_a_remote_default_model_answers(tmp_path: Path) -> None:
    entry = f'[[models]]\nid = "far"\nurl = "{unused_url()}"\ndefault = true\n'
    (tmp_path / "models.toml").write_text(entry, encoding="utf-8")
    catalog = ModelCatalog(EngineSettings(home=tmp_path))
    router = BackendRouter(ScriptedEngine(), catalog)
    capabilities = replace(scripted_capabilities(tmp_path, engine=router), catalog=catalog)
    assert (await inference(capabilities))[0]
    for _ in range(2):
        with pytest.raises(UpstreamError):
            await router.load()
    ready, detail = await inference(capabilities)
    await router.aclose()
    assert not ready
    assert "far is remote" in detail
