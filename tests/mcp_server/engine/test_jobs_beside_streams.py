"""Long texts beside streams, totals that stay, and slots that one model has free while another is full."""

import shutil
import threading
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.jobs import (
    DetokenizeRequest,
    Progress,
    UnloadRequest,
)
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    TokenizeRequest,
    TokenizeResult,
)
from mcp_server.errors import EngineError, QueueFullError
from tests.stepped import EMBEDDED, TINY, endless


def test_an_unload_waits_for_embeddings_and_for_long_texts_too(stepped: Any) -> None:
    bench = stepped()
    bench.load("a")
    long = bench.submit(TokenizeRequest("def add(a, b):\n" * 4000, "a"))
    embedding = bench.submit(EmbeddingRequest(("one", "two", "three"), "a"))
    unload = bench.submit(UnloadRequest("a"))
    bench.outcome_of(unload)
    assert bench.is_done(long)
    assert bench.is_done(embedding)
    result = bench.outcome_of(long)
    assert isinstance(result, TokenizeResult)
    assert result.n_tokens > 4000


def test_a_stream_goes_on_while_a_long_text_is_tokenized(stepped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = stepped()
    bench.start("a")
    may_go_on = threading.Event()
    tokenize, detokenize = LLMEngine.tokenize, LLMEngine.detokenize

    def slow_tokenize(self: LLMEngine, request: TokenizeRequest) -> Any:
        assert may_go_on.wait(5)
        return tokenize(self, request)

    monkeypatch.setattr(LLMEngine, "tokenize", slow_tokenize)
    text = "x = 1\n" * 2000
    long = bench.submit(TokenizeRequest(text, "a"))
    bench.events.clear()
    for _ in range(5):
        bench.step()
    assert sum(isinstance(event, Progress) for event in bench.events) >= 4
    assert not bench.is_done(long)
    may_go_on.set()
    result = bench.outcome_of(long)
    assert isinstance(result, TokenizeResult)
    again = bench.ask(DetokenizeRequest(result.tokens, "a"))
    assert again == detokenize(bench.host.engine, result.tokens)


def test_an_aborted_long_text_is_forgotten(stepped: Any) -> None:
    bench = stepped()
    bench.load("a")
    long = bench.submit(TokenizeRequest("x = 1\n" * 3000, "a"))
    bench.step()
    bench.host.abort(long)
    bench.ask(UnloadRequest("a"))
    assert not bench.is_done(long)
    assert bench.host.statistics().n_aborted == 1


def test_totals_keep_what_unloaded_models_did(stepped: Any) -> None:
    bench = stepped()
    bench.ask(endless("a", 5))
    before = bench.host.statistics()
    bench.ask(UnloadRequest("a"))
    after = bench.host.statistics()
    assert (after.n_requests, after.n_completion_tokens) == (1, 5)
    assert after.n_prompt_tokens == before.n_prompt_tokens > 0
    assert after.n_steps == before.n_steps > 0
    assert (after.models, after.loaded_models) == ((), ())
    bench.ask(endless("b", 5))
    assert bench.host.statistics().n_completion_tokens == 10


@pytest.mark.anyio
async def test_a_model_with_free_slots_is_open_while_another_is_full(make_settings: Any) -> None:
    settings = make_settings(max_waiting=0, n_slots=1, model=TINY)
    settings.models_path.mkdir(parents=True)
    shutil.copyfile(EMBEDDED, settings.models_path / "a.gguf")
    engine = AsyncEngine(settings)
    started = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        started.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, endless(TINY, 900), on_delta)
            await started.wait()
            with pytest.raises(QueueFullError):
                await engine.generate(endless(TINY, 3))
            assert (await engine.generate(endless("a", 3))).model == "a"
            group.cancel_scope.cancel()
    await engine.aclose()


def test_a_long_text_that_cannot_be_tokenized_fails_alone(
    stepped: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_self: LLMEngine, _request: TokenizeRequest) -> Any:
        raise ZeroDivisionError

    bench = stepped()
    stream = bench.start("a")
    monkeypatch.setattr(LLMEngine, "tokenize", stumble)
    with pytest.raises(EngineError, match="log"):
        bench.ask(TokenizeRequest("x = 1\n" * 2000, "a"))
    assert bench.outcome_of(stream)
    assert "ZeroDivisionError" in caplog.text
