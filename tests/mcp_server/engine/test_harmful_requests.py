"""Requests that would harm others: too big, for too much, or failing in a way that nobody foresaw."""

from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.chat.detokenizer import Detokenizer, Released
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.types import Delta, EmbeddingRequest, GenerationRequest, Message, SamplingParams, TokenizeRequest
from mcp_server.errors import ContextLengthError, EngineError, InvalidRequestError

pytestmark = pytest.mark.anyio

NEVER_END = {"0": -100.0, "2": -100.0}  # the embedded model's end tokens, so that a test decides the length


def ask(task: str, **sampling: Any) -> GenerationRequest:
    return GenerationRequest((Message("user", task),), sampling=SamplingParams(**({"temperature": 0} | sampling)))


async def test_a_short_request_beside_one_for_sixteen_completions_is_done_long_before_it(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(n_slots=2))
    big = ask("x", max_tokens=40, logit_bias=NEVER_END)
    big_started = anyio.Event()
    steps: dict[str, int] = {}

    async def on_delta(_: tuple[Delta, ...]) -> None:
        big_started.set()

    async def run_big() -> None:
        await engine.generate(GenerationRequest(big.messages, n=16, sampling=big.sampling), on_delta)
        steps["big"] = engine.statistics().n_steps

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(run_big)
            await big_started.wait()
            await engine.generate(ask("x", max_tokens=3))
            steps["short"] = engine.statistics().n_steps
    assert steps["short"] < steps["big"] / 2
    await engine.aclose()


async def test_a_huge_prompt_is_refused_by_its_size_and_never_tokenized(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = Vocabulary.encode

    def watched(self: Vocabulary, text: str, **options: Any) -> list[int]:
        encoded.append(len(text))
        return encode(self, text, **options)

    monkeypatch.setattr(Vocabulary, "encode", watched)
    huge = "word " * 100_000
    with pytest.raises(ContextLengthError, match=r"500000 bytes.* 1024 tokens") as caught:
        await engine.generate(GenerationRequest(prompt=huge))
    assert caught.value.param == "prompt"
    with pytest.raises(ContextLengthError, match="1024") as caught:
        await engine.generate(ask(huge))
    assert caught.value.param == "messages"
    with pytest.raises(ContextLengthError, match=r"500000 bytes.* 1024 tokens") as caught:
        await engine.embed(EmbeddingRequest(("small", huge)))
    assert caught.value.param == "input"
    assert max(encoded, default=0) < 1000


async def test_what_the_size_of_a_prompt_refuses_could_not_fit(engine: AsyncEngine) -> None:
    text = " " * 30_000  # the longest tokens of most vocabularies are runs of spaces
    with pytest.raises(ContextLengthError):
        await engine.generate(GenerationRequest(prompt=text))
    assert (await engine.tokenize(TokenizeRequest(text))).n_tokens >= 1024


async def test_a_request_that_cannot_start_for_an_unknown_reason_fails_alone(
    make_settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()

    class Stumbling(ModelCatalog):
        def resolve(self, name: str | None) -> Any:
            if name == "stumble":
                raise ZeroDivisionError
            return super().resolve(name)

    engine = AsyncEngine(settings, Stumbling(settings))
    running = anyio.Event()
    results = []

    async def on_delta(_: tuple[Delta, ...]) -> None:
        running.set()

    async def stream() -> None:
        results.append(await engine.generate(ask("x", max_tokens=300, logit_bias=NEVER_END), on_delta))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(stream)
            await running.wait()
            with pytest.raises(EngineError, match="log"):
                await engine.generate(GenerationRequest(prompt="x", model="stumble"))
    assert results[0].usage.completion_tokens == 300
    assert "ZeroDivisionError" in caplog.text
    await engine.aclose()


DOUBLING = 'root ::= "a" root "b" | "a" root "c" | "d"'  # after n letters there are 2^n ways to go on


async def test_a_grammar_whose_ways_multiply_ends_its_request_and_no_other(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings())
    (a,) = (await engine.tokenize(TokenizeRequest("a"))).tokens
    (d,) = (await engine.tokenize(TokenizeRequest("d"))).tokens
    only_a = {str(a): 100.0, str(d): -100.0}
    results = []

    async def stream() -> None:
        results.append(await engine.generate(ask("x", max_tokens=60, logit_bias=NEVER_END)))

    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(stream)
            request = ask("x", max_tokens=60, grammar=DOUBLING, logit_bias=only_a)
            with pytest.raises(InvalidRequestError, match="ways") as caught:
                await engine.generate(GenerationRequest(request.messages, n=2, sampling=request.sampling))
    assert caught.value.param == "grammar"
    assert results[0].usage.completion_tokens == 60
    assert engine.statistics().n_running == 0
    await engine.aclose()


async def test_a_request_whose_output_cannot_be_read_fails_alone(
    make_settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = AsyncEngine(make_settings())
    feed = Detokenizer.feed

    def stumbling(self: Detokenizer, piece: bytes, logprob: Any = None) -> Released:
        if logprob is not None:
            raise ZeroDivisionError
        return feed(self, piece, logprob)

    monkeypatch.setattr(Detokenizer, "feed", stumbling)
    results = []

    async def stream() -> None:
        results.append(await engine.generate(ask("x", max_tokens=60, logit_bias=NEVER_END)))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(stream)
            with pytest.raises(EngineError, match="log"):
                await engine.generate(ask("x", max_tokens=60, n_logprobs=0))
    assert results[0].usage.completion_tokens == 60
    assert (engine.statistics().n_running, engine.statistics().models[0].n_running) == (0, 0)
    assert "ZeroDivisionError" in caplog.text
    await engine.aclose()
