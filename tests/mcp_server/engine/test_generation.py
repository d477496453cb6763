"""Continuous batching on the embedded model: equal to running alone, repeatable, bounded, and clean after aborts."""

import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.engine_host import EngineHost
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    GenerationRequest,
    GenerationResult,
    Message,
    SamplingParams,
    TokenizeRequest,
)
from mcp_server.errors import ContextLengthError, EngineError, QueueFullError

pytestmark = pytest.mark.anyio

TIE = 1e-3  # of logits: batched and single computation may round such a pair either way
NEVER_END = {"0": -100.0, "2": -100.0}  # the embedded model's end tokens, so that a test decides the length

TASKS = (
    "Write a Python function is_even(n) that returns True if n is even.",
    "Write a Python function reverse_string(s) that reverses a string.",
    "Write a Python function count_vowels(s) that counts the vowels in a string.",
    "Write a Python function factorial(n).",
    "Write a Python function max_of_list(nums) that returns the largest number of a list.",
    "Write a Python function square_all(nums) that squares every number in a list.",
    "\u00fcbersetze \u4e16\u754c \U0001f600 into a function",
    "x",
)


def ask(task: str, **sampling: Any) -> GenerationRequest:
    return GenerationRequest((Message("user", task),), sampling=SamplingParams(**({"temperature": 0} | sampling)))


async def generate_all(engine: AsyncEngine, requests: list[GenerationRequest]) -> list[GenerationResult]:
    results: dict[int, GenerationResult] = {}

    async def run(i: int) -> None:
        results[i] = await engine.generate(requests[i])

    async with anyio.create_task_group() as group:
        for i in range(len(requests)):
            group.start_soon(run, i)
    return [results[i] for i in range(len(requests))]


def assert_same_up_to_ties(alone: GenerationResult, batched: GenerationResult) -> None:
    """Compare greedy tokens; a difference is allowed only where the two best logits are nearly equal."""
    one, other = alone.completions[0].logprobs, batched.completions[0].logprobs
    assert one is not None
    assert other is not None
    for a, b in zip(one, other, strict=False):
        if a.token_id != b.token_id:
            assert a.top[0].logprob - a.top[1].logprob < TIE
            return
    assert alone.completions[0].text == batched.completions[0].text


class WatchedHost:
    """Keeps the host that the worker made, to look at its cells once nothing runs."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.hosts: list[EngineHost] = []

    def make(self) -> EngineHost:
        self.hosts.append(EngineHost(self.settings, ModelCatalog(self.settings)))
        return self.hosts[-1]

    def cells(self) -> Iterator[tuple[int, int]]:
        """Give what each slot holds, as the cache says and as the native memory says."""
        engine = self.hosts[-1].engine
        assert engine is not None
        for slot, n_tokens in enumerate(engine.kv_cache.contents()):
            yield n_tokens, engine.runner.count_cells(slot)


async def test_every_sequence_of_a_mixed_batch_is_what_it_is_alone(engine: AsyncEngine) -> None:
    requests = [ask(task, max_tokens=80, n_logprobs=2) for task in TASKS]
    alone = [await engine.generate(request) for request in requests]
    batched = await generate_all(engine, requests)
    for one, other in zip(alone, batched, strict=True):
        assert_same_up_to_ties(one, other)


async def test_a_preempted_sequence_ends_as_if_nothing_had_happened(make_settings: Any) -> None:
    crowded = AsyncEngine(
        make_settings(kv_layout="unified", max_context_tokens=256, kv_cache_tokens=256, prefill_chunk_tokens=64)
    )
    requests = [ask(task, max_tokens=50, n_logprobs=2, logit_bias=NEVER_END) for task in TASKS]
    alone = [await crowded.generate(request) for request in requests]
    batched = await generate_all(crowded, requests)
    for one, other in zip(alone, batched, strict=True):
        assert_same_up_to_ties(one, other)
    assert crowded.statistics().n_running == 0
    await crowded.aclose()


async def test_sixteen_requests_on_eight_slots_all_complete(engine: AsyncEngine) -> None:
    results = await generate_all(engine, [ask(task, max_tokens=40, n_logprobs=2) for task in TASKS * 2])
    assert len(results) == 16
    for first, second in zip(results[:8], results[8:], strict=True):
        assert_same_up_to_ties(first, second)
    assert engine.statistics().n_requests == 16


async def test_equal_seeds_are_equal_and_completions_differ_by_their_index(engine: AsyncEngine) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "max_tokens": 30, "logit_bias": NEVER_END}
    first, second = [await engine.generate(ask("x", seed=5, **hot)) for _ in range(2)]
    other = await engine.generate(ask("x", seed=6, **hot))
    assert first.completions == second.completions != other.completions
    unseeded = [(await engine.generate(ask("x", **hot))).completions for _ in range(2)]
    assert unseeded[0] != unseeded[1]


async def test_completions_of_one_prompt_share_its_cells(engine: AsyncEngine) -> None:
    request = ask(TASKS[0], temperature=1.5, top_k=0, top_p=1.0, seed=3, max_tokens=30, logit_bias=NEVER_END)
    forked = await engine.generate(GenerationRequest(request.messages, n=4, sampling=request.sampling))
    single = await engine.generate(request)
    texts = [completion.text for completion in forked.completions]
    assert len(set(texts)) == 4
    assert texts[0] == single.completions[0].text
    assert forked.usage.prompt_tokens == single.usage.prompt_tokens
    assert forked.usage.completion_tokens == 120


async def test_a_prompt_that_begins_like_an_earlier_one_is_cached(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(prefix_cache_tokens=256))
    first = await engine.generate(ask(TASKS[0], max_tokens=60, n_logprobs=2))
    again = await engine.generate(ask(TASKS[0], max_tokens=60, n_logprobs=2))
    assert first.usage.cached_tokens == 0
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert_same_up_to_ties(first, again)
    await engine.aclose()


async def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(engine: AsyncEngine) -> None:
    with pytest.raises(ContextLengthError) as caught:
        await engine.generate(GenerationRequest(prompt="word " * 1500))
    assert "1024" in caught.value.message
    assert str((await engine.tokenize(TokenizeRequest("word " * 1500))).n_tokens) in caught.value.message


async def test_max_tokens_is_capped_to_what_fits_the_context(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(max_context_tokens=64))
    prompt = GenerationRequest(prompt="a b c", sampling=SamplingParams(max_tokens=5000, logit_bias=NEVER_END))
    result = await engine.generate(prompt)
    assert result.usage.prompt_tokens + result.usage.completion_tokens == 64
    assert result.completions[0].finish_reason == "length"
    longest = GenerationRequest(prompt="a" + " b" * 62)
    assert (await engine.tokenize(TokenizeRequest(longest.prompt or ""))).n_tokens == 63
    assert (await engine.generate(longest)).usage.completion_tokens <= 1
    await engine.aclose()


async def test_a_full_queue_refuses_at_once(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(n_slots=1, max_waiting=2))
    long = ask("x", max_tokens=900, logit_bias=NEVER_END)
    running = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        running.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, long, on_delta)
            await running.wait()
            group.start_soon(engine.generate, long)
            group.start_soon(engine.generate, long)
            await anyio.wait_all_tasks_blocked()
            assert engine.statistics().n_waiting == 2
            with pytest.raises(QueueFullError):
                await engine.generate(long)
            group.cancel_scope.cancel()
        await engine.aclose()


async def test_what_arrives_while_the_consumer_is_busy_is_delivered_in_one_call(engine: AsyncEngine) -> None:
    calls: list[tuple[Delta, ...]] = []
    other_is_done = anyio.Event()

    async def slow(deltas: tuple[Delta, ...]) -> None:
        calls.append(deltas)
        await other_is_done.wait()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, ask("x", max_tokens=30, logit_bias=NEVER_END), slow)
            while not calls:
                await anyio.lowlevel.checkpoint()
            await engine.generate(ask("x", max_tokens=200, logit_bias=NEVER_END))
            other_is_done.set()
    assert len(calls) == 2
    assert len(calls[1]) == 1
    assert calls[0][0].n_tokens + calls[1][0].n_tokens == 30


async def test_an_aborted_request_frees_its_slot_and_its_cells(make_settings: Any) -> None:
    watched = WatchedHost(make_settings(n_slots=2))
    engine = AsyncEngine(watched.settings, make_host=watched.make)
    started = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        started.set()

    endless = ask("x", logit_bias=NEVER_END)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(
                engine.generate, GenerationRequest(endless.messages, n=4, sampling=endless.sampling), on_delta
            )
            await started.wait()
            group.cancel_scope.cancel()
        await engine.tokenize(TokenizeRequest("after the abort"))
    statistics = engine.statistics()
    assert (statistics.n_running, statistics.n_waiting, statistics.n_aborted) == (0, 0, 1)
    assert list(watched.cells()) == [(0, 0), (0, 0)]
    await engine.aclose()


@pytest.mark.parametrize(
    ("kv_layout", "kept_tokens"), [("unified", 0), ("unified", 256), ("split", 0), ("split", 8192)]
)
@pytest.mark.parametrize("n_requests", [40, pytest.param(150, marks=pytest.mark.sweep)])
async def test_a_storm_of_submits_and_aborts_leaves_nothing_behind(
    make_settings: Any, kv_layout: str, kept_tokens: int, n_requests: int
) -> None:
    watched = WatchedHost(make_settings(max_waiting=1000, prefix_cache_tokens=kept_tokens, kv_layout=kv_layout))
    engine = AsyncEngine(watched.settings, make_host=watched.make)
    draw = random.Random(11)  # noqa: S311  # a repeatable test

    async def one(patience: int, n: int, n_tokens: int) -> None:
        seen = 0
        with anyio.CancelScope() as scope:

            async def on_delta(deltas: tuple[Delta, ...]) -> None:
                nonlocal seen
                seen += sum(delta.n_tokens for delta in deltas)
                if seen > patience:
                    scope.cancel()
                await anyio.lowlevel.checkpoint()

            request = ask(draw.choice(TASKS), max_tokens=n_tokens, temperature=1.0)
            await engine.generate(GenerationRequest(request.messages, n=n, sampling=request.sampling), on_delta)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(n_requests):
                group.start_soon(one, draw.choice([0, 0, 3, 10, 1000]), draw.choice([1, 1, 2, 5]), draw.randint(1, 25))
                for _ in range(draw.randint(0, 8)):
                    await anyio.lowlevel.checkpoint()
        await engine.tokenize(TokenizeRequest("after the storm"))
    statistics = engine.statistics()
    assert (statistics.n_running, statistics.n_waiting, statistics.n_requests) == (0, 0, n_requests)
    assert statistics.n_aborted > 0
    cells = list(watched.cells())
    assert all(recorded == native for recorded, native in cells)
    assert sum(recorded for recorded, _ in cells) <= kept_tokens
    await engine.aclose()


async def test_a_crash_of_the_worker_fails_who_waits_and_the_next_request_starts_another(make_settings: Any) -> None:
    settings = make_settings()

    class CrashingOnce(EngineHost):
        n_made = 0

        def __init__(self) -> None:
            super().__init__(settings, ModelCatalog(settings))
            CrashingOnce.n_made += 1

        def statistics(self) -> Any:
            statistics = super().statistics()
            if CrashingOnce.n_made == 1 and statistics.n_steps > 3:
                raise ZeroDivisionError
            return statistics

    engine = AsyncEngine(settings, make_host=CrashingOnce)
    failures = []

    async def doomed() -> None:
        try:
            await engine.generate(ask("x", logit_bias=NEVER_END))
        except EngineError as error:
            failures.append(error)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(doomed)
            group.start_soon(doomed)
        assert len(failures) == 2
        assert (await engine.generate(ask("x", max_tokens=2))).completions[0].text
    assert CrashingOnce.n_made == 2
    await engine.aclose()


async def test_a_closed_engine_fails_who_waits_and_refuses_more(engine: AsyncEngine) -> None:
    failures = []
    started = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        started.set()

    async def waiting() -> None:
        try:
            await engine.generate(ask("x", logit_bias=NEVER_END), on_delta)
        except EngineError as error:
            failures.append(error)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(waiting)
            await started.wait()
            await engine.aclose()
        with pytest.raises(EngineError, match="closed"):
            await engine.tokenize(TokenizeRequest("x"))
    assert len(failures) == 1


async def test_a_text_too_long_to_embed_is_refused_and_running_streams_go_on(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(embedding_tokens=16))
    with pytest.raises(ContextLengthError, match="16"):
        await engine.embed(EmbeddingRequest(("word " * 40,)))
    raw = await engine.embed(EmbeddingRequest(("sort a list",), normalize=False))
    unit = await engine.embed(EmbeddingRequest(("sort a list",)))
    length = sum(x * x for x in raw.embeddings[0]) ** 0.5
    assert raw.embeddings[0] == pytest.approx([x * length for x in unit.embeddings[0]], rel=1e-5)
    await engine.aclose()


def test_importing_the_engine_loads_no_heavy_library() -> None:
    heavy = "{'llama_cpp', 'huggingface_hub', 'numpy', 'jinja2'}"
    code = f"import sys, mcp_server.engine.async_engine; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "set()"


async def test_nothing_is_printed_by_the_native_library(make_settings: Any, capfd: pytest.CaptureFixture[str]) -> None:
    engine = AsyncEngine(make_settings())
    await engine.generate(ask("x", max_tokens=2))
    await engine.aclose()
    assert capfd.readouterr() == ("", "")
