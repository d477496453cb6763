"""Server-sent events as they leave, and what becomes of work whose client is gone; driven by hand over ASGI."""

import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync

from mcp_server.errors import EngineError, QueueFullError
from shim.doors.atlas import proxy, sandbox
from shim.doors.door import Door
from tests.fakes import Reply, ScriptedEngine
from tests.stack import Exchange, ScriptedSandbox, connected_gateway, door_app, scripted_capabilities

CHAT = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
NUMBERS = tuple(f"{i} " for i in range(300))


@asynccontextmanager
async def opened(door: Door, home: Path, **parts: Any) -> AsyncIterator[Any]:
    async with connected_gateway(scripted_capabilities(home, **parts)) as gateway:
        with anyio.fail_after(5):
            yield door_app(door, gateway)


def chat(app: Any, **more: Any) -> Exchange:
    return Exchange(app, "/v1/chat/completions", {**CHAT, **more})


def text_of(exchange: Exchange) -> str:
    chunks = [json.loads(event) for event in exchange.events if event != "[DONE]"]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk.get("choices", ()))


async def test_the_status_line_is_held_until_the_first_event(tmp_path: Path) -> None:
    gate = anyio.Event()
    engine = ScriptedEngine([Reply(("a ", "b"), gate=gate)])
    async with opened(proxy.DOOR, tmp_path, engine=engine) as app, anyio.create_task_group() as group:
        exchange = chat(app)
        group.start_soon(exchange.run)
        await engine.wait_until_running(1)
        await anyio.wait_all_tasks_blocked()
        assert exchange.status is None
        gate.set()
        await exchange.until(lambda e: e.is_complete)
        assert exchange.status == 200
        assert exchange.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in exchange.headers


async def test_each_token_leaves_before_the_next_is_made(tmp_path: Path) -> None:
    gate = anyio.Event()
    engine = ScriptedEngine([Reply(("first ", "second"), gate=gate, gate_at=1)])
    async with opened(proxy.DOOR, tmp_path, engine=engine) as app, anyio.create_task_group() as group:
        exchange = chat(app)
        group.start_soon(exchange.run)
        await exchange.until(lambda e: "first" in e.text)
        assert "second" not in exchange.text
        gate.set()
        await exchange.until(lambda e: e.is_complete)
        assert text_of(exchange) == "first second"
        assert exchange.events[-1] == "[DONE]"


async def test_a_full_queue_is_a_proper_503_and_no_stream(tmp_path: Path) -> None:
    async with opened(proxy.DOOR, tmp_path, engine=ScriptedEngine([QueueFullError("256 wait")])) as app:
        exchange = chat(app)
        await exchange.run()
        assert exchange.status == 503
        assert exchange.headers["retry-after"] == "1"
        assert json.loads(exchange.text)["error"]["code"] == "queue_full"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(EngineError("llama_decode failed"), "engine_error", "llama_decode failed"), (RuntimeError("secret"), None, None)],
    ids=["ours", "defect"],
)
async def test_a_failure_after_the_first_token_is_one_frame_and_then_the_end(
    error: Exception, code: str | None, message: str | None, tmp_path: Path
) -> None:
    async with opened(proxy.DOOR, tmp_path, engine=ScriptedEngine([Reply(("a ", "b"), error=error)])) as app:
        exchange = chat(app)
        await exchange.run()
        assert (exchange.status, exchange.is_complete) == (200, True)
        *chunks, failure, done = exchange.events
        assert text_of(exchange) == "a b"
        assert not [chunk for chunk in chunks if json.loads(chunk)["choices"][0]["finish_reason"]]
        assert json.loads(failure)["error"]["code"] == (code or "internal_error")
        assert message is None or json.loads(failure)["error"]["message"] == message
        assert "secret" not in exchange.text
        assert done == "[DONE]"


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("gate_at", [0, 1], ids=["before-the-first-token", "after-it"])
async def test_a_client_that_leaves_frees_its_place_in_the_batch(
    is_streamed: bool,  # noqa: FBT001 - a parameter of the test
    gate_at: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="cinque.access")
    engine = ScriptedEngine([Reply(("a ", "b"), gate=anyio.Event(), gate_at=gate_at)])
    async with opened(proxy.DOOR, tmp_path, engine=engine) as app, anyio.create_task_group() as group:
        exchange = chat(app, stream=is_streamed)
        group.start_soon(exchange.run)
        await engine.wait_until_running(1)
        if is_streamed and gate_at:
            await exchange.until(lambda e: "a " in e.text)
        await anyio.wait_all_tasks_blocked()
        exchange.leave()
        await engine.wait_until_running(0)
    assert engine.statistics().n_aborted == 1
    (line,) = [record for record in caplog.records if record.name == "cinque.access"]
    assert getattr(line, "status", None) == (200 if is_streamed and gate_at else 499)


async def test_a_client_that_leaves_stops_its_program(tmp_path: Path) -> None:
    box = ScriptedSandbox(gate=threading.Event())
    async with opened(sandbox.DOOR, tmp_path, sandbox=box) as app, anyio.create_task_group() as group:
        exchange = Exchange(app, "/execute", {"code": "while True: pass"})
        group.start_soon(exchange.run)
        assert await run_sync(box.was_started.wait, 5)
        exchange.leave()
        assert await run_sync(box.was_cancelled.wait, 5)
    assert exchange.status is None


async def test_a_client_that_leaves_before_its_body_is_whole_starts_nothing(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    async with opened(proxy.DOOR, tmp_path, engine=engine) as app:
        for path in ("/v1/chat/completions", "/no/such/path"):
            exchange = Exchange(app, path, CHAT)
            exchange.cut_body()
            exchange.leave()
            await exchange.run()
            assert exchange.status is None
    assert engine.requests == []


async def test_a_slow_client_gets_every_delta_in_order(tmp_path: Path) -> None:
    async with opened(proxy.DOOR, tmp_path, engine=ScriptedEngine([NUMBERS])) as app:
        exchange = chat(app)
        async with anyio.create_task_group() as group:
            group.start_soon(exchange.run)
            while not exchange.is_complete:
                exchange.hold()
                await anyio.wait_all_tasks_blocked()
                exchange.release()
                await anyio.wait_all_tasks_blocked()
        assert text_of(exchange) == "".join(NUMBERS)


async def test_tokens_that_arrive_while_the_client_is_busy_travel_together(tmp_path: Path) -> None:
    engine = ScriptedEngine([NUMBERS])
    async with opened(proxy.DOOR, tmp_path, engine=engine) as app, anyio.create_task_group() as group:
        exchange = chat(app)
        exchange.hold()
        group.start_soon(exchange.run)
        await exchange.until(lambda e: e.status is not None)
        await engine.wait_until_running(0)
        exchange.release()
        await exchange.until(lambda e: e.is_complete)
        assert text_of(exchange) == "".join(NUMBERS)
        assert len(exchange.events) < 10


async def test_choices_that_stream_together_are_not_mixed(tmp_path: Path) -> None:
    engine = ScriptedEngine([("a", "b"), ("c", "d")])
    async with opened(proxy.DOOR, tmp_path, engine=engine) as app:
        exchange = chat(app, n=2, logprobs=True)
        await exchange.run()
        choices = [choice for event in exchange.events[:-1] for choice in json.loads(event)["choices"]]
        texts = {i: "".join(c["delta"].get("content", "") for c in choices if c["index"] == i) for i in (0, 1)}
        tokens = [p["token"] for c in choices if c["logprobs"] for p in c["logprobs"]["content"]]
        assert texts == {0: "ab", 1: "cd"}
        assert tokens == ["a", "b", "c", "d"]
