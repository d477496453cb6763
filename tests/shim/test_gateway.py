"""The gateway: every tool as a typed call, its failures, its progress, and a connection that comes and goes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from mcp import Client
from mcp.client._memory import InMemoryTransport
from pydantic import TypeAdapter

from mcp_server.app import build_server
from mcp_server.capabilities import Capabilities
from mcp_server.contract import (
    Delta,
    Document,
    EmbeddingRequest,
    ExecutionRequest,
    GenerationRequest,
    IndexProgress,
    IndexRequest,
    Message,
    RerankRequest,
    RetrieveRequest,
    SamplingParams,
    TokenizeRequest,
    TokenizeResult,
    ToolName,
    Verdict,
)
from mcp_server.errors import ContextLengthError, QueueFullError
from mcp_server.telemetry import JsonLines, request_id
from sandbox.errors import SandboxBusyError
from shim.errors import ApiError
from shim.gateway import Gateway
from shim.mcp_connection import rebuild
from shim.progress import ProgressStep
from tests.fakes import Reply, ScriptedEngine
from tests.stack import PASSED, ScriptedSandbox, scripted_capabilities

HELLO = GenerationRequest(messages=(Message("user", "hi"),))
FULL = GenerationRequest(
    messages=(Message("system", "be brief"), Message("user", "é🙂\u2028\n\0")),
    model="scripted",
    n=2,
    sampling=SamplingParams(
        max_tokens=5,
        temperature=0.25,
        top_k=7,
        top_p=0.5,
        min_p=0.125,
        repetition_penalty=1.5,
        frequency_penalty=-1.0,
        presence_penalty=1.0,
        seed=2**40,
        stop=("\n\n", "END"),
        n_logprobs=2,
        logit_bias={"7": -100.0},
        json_mode=False,
        json_schema={"type": "object", "properties": {"a": {"type": "integer"}}},
        grammar='root ::= "a"',
    ),
)
REQUESTS = [
    (ToolName.GENERATE, GenerationRequest),
    (ToolName.EXECUTE, ExecutionRequest),
    (ToolName.INDEX, IndexRequest),
    (ToolName.RETRIEVE, RetrieveRequest),
    (ToolName.EMBED, EmbeddingRequest),
    (ToolName.RERANK, RerankRequest),
    (ToolName.TOKENIZE, TokenizeRequest),
]


@asynccontextmanager
async def connected(capabilities: Capabilities) -> AsyncIterator[Gateway]:
    """Connect a gateway by JSON-RPC messages, as over stdio."""
    gateway = Gateway(restart_wait_s=0)
    try:
        with anyio.fail_after(5):
            async with gateway.connected(InMemoryTransport(build_server(capabilities))):
                yield gateway
    finally:
        capabilities.retrieval.close()


async def test_a_generation_crosses_unchanged(tmp_path: Path) -> None:
    engine = ScriptedEngine(["def f(): return '🙂'"])
    async with connected(scripted_capabilities(tmp_path, engine=engine)) as gateway:
        result = await gateway.generate(FULL)
    assert engine.requests == [FULL]
    assert result == await ScriptedEngine(["def f(): return '🙂'"]).generate(FULL)


async def test_texts_are_embedded_and_tokenized(tmp_path: Path) -> None:
    request = EmbeddingRequest(("one", "two"), model="scripted", normalize=False)
    async with connected(scripted_capabilities(tmp_path)) as gateway:
        assert await gateway.embed(request) == await ScriptedEngine().embed(request)
        assert await gateway.tokenize(TokenizeRequest("one two")) == await ScriptedEngine().tokenize(
            TokenizeRequest("one two")
        )


async def test_every_page_of_models_is_listed(tmp_path: Path) -> None:
    capabilities = scripted_capabilities(tmp_path, models=("a", "b", "c", "d"))
    capabilities = replace(capabilities, settings=capabilities.settings.model_copy(update={"page_size": 2}))
    async with connected(capabilities) as gateway:
        models = await gateway.list_models()
    assert [model.model_id for model in models] == ["scripted", "a", "b", "c", "d"]
    assert models[0].is_default
    assert models[0].is_loaded


async def test_a_model_is_pulled_with_progress_and_removed(tmp_path: Path) -> None:
    steps: list[ProgressStep] = []

    async def on_progress(step: ProgressStep) -> None:
        steps.append(step)

    engine = ScriptedEngine(models=["new"])  # it is unloaded before its file goes
    async with connected(scripted_capabilities(tmp_path, engine=engine)) as gateway:
        pulled = await gateway.pull_model("owner/name", "new.gguf", on_progress)
        removed = await gateway.remove_model("new")
        assert [model.model_id for model in await gateway.list_models()] == ["scripted"]
    assert pulled == removed
    assert (steps[-1].progress, steps[-1].total) == (100, 100)


async def test_a_program_crosses_unchanged(tmp_path: Path) -> None:
    failed = replace(PASSED, success=False, verdict=Verdict.SIGNALED, exit_code=None, lint_score=None, stdout="é\0")
    request = ExecutionRequest("print()", "py", "assert f()", ("numpy",), 2.5, "in", {"a/b.txt": "text"}, lint=False)
    box = ScriptedSandbox([failed])
    async with connected(scripted_capabilities(tmp_path, sandbox=box)) as gateway:
        assert await gateway.execute(request) == failed
        assert box.requests == [request]
        assert (await gateway.list_languages()).languages == box.languages()
        report = await gateway.check_syntax("def f(:", "python", "x.py")
        assert (report.valid, len(report.errors)) == (False, 1)


async def test_a_collection_lives_from_index_to_delete(tmp_path: Path) -> None:
    documents = (Document("a.py", "def merge_sort(items):\n    return sorted(items)\n"), Document("b.md", "# Notes\n"))
    request = IndexRequest("notes", documents=documents, fingerprint="1", title="Notes", metadata={"owner": "me"})
    steps: list[IndexProgress] = []

    async def on_progress(step: IndexProgress) -> None:
        steps.append(step)

    async with connected(scripted_capabilities(tmp_path)) as gateway:
        report = await gateway.index(request, on_progress)
        assert (report.n_files, report.n_files_changed, report.already_synced) == (2, 2, False)
        assert (await gateway.index(request)).already_synced
        status = await gateway.index_status("notes")
        assert (status.title, status.fingerprint, status.metadata) == ("Notes", "1", {"owner": "me"})
        assert await gateway.list_collections() == (status,)
        found = await gateway.retrieve(RetrieveRequest("notes", "merge_sort", max_results=1))
        assert [hit.path for hit in found.hits] == ["a.py"]
        assert (await gateway.delete_collection("notes")).deleted
        assert await gateway.list_collections() == ()
    assert steps[0].stage == "reading"
    assert all(0 <= step.done <= step.total for step in steps)


async def test_score_status_and_diagnosis_are_typed(tmp_path: Path) -> None:
    async with connected(scripted_capabilities(tmp_path)) as gateway:
        assert not (await gateway.score("code")).enabled
        status = await gateway.status()
        assert (status.inference_ready, status.sandbox.ready, status.lens_ready) == (True, True, False)
        assert (await gateway.diagnose()).findings[0].name == "python"


@pytest.mark.parametrize(("tool", "request_type"), REQUESTS, ids=lambda value: getattr(value, "__name__", value))
async def test_every_field_of_a_request_is_a_parameter_of_its_tool(
    tool: ToolName, request_type: Any, tmp_path: Path
) -> None:
    capabilities = scripted_capabilities(tmp_path)
    async with Client(build_server(capabilities)) as client:
        schemas = {offered.name: offered.input_schema for offered in (await client.list_tools()).tools}
    capabilities.retrieval.close()
    properties = schemas[tool]["properties"]
    assert set(properties) == {field.name for field in fields(request_type)}
    type_hints = get_type_hints(request_type)
    for field in fields(request_type):  # the gateway leaves out what has its default
        value = field.default if field.default_factory is MISSING else field.default_factory()
        if value is not MISSING:
            default = TypeAdapter(type_hints[field.name]).dump_python(value, mode="json")
            assert properties[field.name].get("default", default) == default, field.name
            assert field.name not in schemas[tool].get("required", ())
    if request_type is GenerationRequest:
        assert set(schemas[tool]["$defs"]["SamplingParams"]["properties"]) == {f.name for f in fields(SamplingParams)}


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (QueueFullError("256 wait"), "queue_full", None),
        (ContextLengthError("9 of 8 tokens", param="messages"), "context_length_exceeded", "messages"),
        (RuntimeError("secret"), "internal_error", None),
    ],
    ids=lambda value: getattr(type(value), "__name__", None),
)
async def test_a_failure_carries_code_message_and_param(
    error: Exception, code: str, param: str | None, tmp_path: Path
) -> None:
    async with connected(scripted_capabilities(tmp_path, engine=ScriptedEngine([error]))) as gateway:
        for on_deltas in (None, ignore):
            with pytest.raises(ApiError) as caught:
                await gateway.generate(HELLO, on_deltas)
            assert (caught.value.code, caught.value.param) == (code, param)
            assert (caught.value.message == str(error)) == (code != "internal_error")
            assert "secret" not in caught.value.message
        assert (gateway.statistics().n_failed, gateway.statistics().n_in_flight) == (2, 0)


async def ignore(_: tuple[Delta, ...]) -> None:
    pass


async def test_failures_of_other_cores_keep_their_codes(tmp_path: Path) -> None:
    box = ScriptedSandbox([SandboxBusyError("8 wait")])
    async with connected(scripted_capabilities(tmp_path, sandbox=box)) as gateway:
        for call, code in (
            (gateway.execute(ExecutionRequest("x")), "queue_full"),
            (gateway.execute(ExecutionRequest("x", "cobol")), "unknown_language"),
            (gateway.index_status("absent"), "collection_not_found"),
            (gateway.index(IndexRequest("n")), "invalid_request"),
            (gateway.tokenize(TokenizeRequest("x", "absent")), "model_not_found"),
            (gateway.embed(EmbeddingRequest(())), "invalid_request"),
        ):
            with pytest.raises(ApiError) as caught:
                await call
            assert caught.value.code == code


async def test_the_request_id_reaches_the_log_of_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.setFormatter(JsonLines())
    capabilities = scripted_capabilities(tmp_path, engine=ScriptedEngine([RuntimeError("x")]))
    async with connected(capabilities) as gateway:
        token = request_id.set("req_1")
        with pytest.raises(ApiError):
            await gateway.generate(HELLO)
        request_id.reset(token)
    (line,) = [json.loads(line) for line in caplog.text.splitlines() if "tool failed" in line]
    assert (line["request_id"], line["tool"]) == ("req_1", "generate")


async def test_deltas_keep_their_order_and_none_is_lost(tmp_path: Path) -> None:
    words = tuple(f"{i} " for i in range(200))
    received: list[str] = []

    async def on_deltas(deltas: tuple[Delta, ...]) -> None:
        await anyio.lowlevel.checkpoint()
        received.extend(delta.text for delta in deltas)

    async with connected(scripted_capabilities(tmp_path, engine=ScriptedEngine([words]))) as gateway:
        for _ in range(3):
            received.clear()
            result = await gateway.generate(HELLO, on_deltas)
            assert "".join(received) == result.completions[0].text == "".join(words)


async def test_a_consumer_that_fails_stops_the_generation(tmp_path: Path) -> None:
    async def on_deltas(_: tuple[Delta, ...]) -> None:
        raise ZeroDivisionError

    engine = ScriptedEngine([Reply(("a", "b"), gate=anyio.Event(), gate_at=1)])
    async with connected(scripted_capabilities(tmp_path, engine=engine)) as gateway:
        with pytest.raises(ZeroDivisionError):
            await gateway.generate(HELLO, on_deltas)
        await engine.wait_until_running(0)


async def test_a_cancelled_call_stops_the_generation(tmp_path: Path) -> None:
    engine = ScriptedEngine([Reply(("a",), gate=anyio.Event())])
    async with connected(scripted_capabilities(tmp_path, engine=engine)) as gateway:
        async with anyio.create_task_group() as group:
            group.start_soon(gateway.generate, HELLO)
            await engine.wait_until_running(1)
            assert gateway.statistics().n_in_flight == 1
            group.cancel_scope.cancel()
        await engine.wait_until_running(0)
        assert gateway.statistics().n_in_flight == 0


def test_an_answer_of_another_version_is_an_error_that_names_the_fields_and_no_values() -> None:
    with pytest.raises(ApiError, match=r"no TokenizeResult \(wrong: tokens\)") as caught:
        rebuild(TokenizeResult, {"model": "m", "tokens": "secret", "n_tokens": 1})
    assert caught.value.code == "internal_error"
    assert "secret" not in caught.value.message
