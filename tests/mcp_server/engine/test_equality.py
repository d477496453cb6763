"""What a sequence says in a busy batch is what it says alone, on random F32 models of four families.

Busy means: prompts of many lengths in small chunks, prefixes shared and forked, others aborted in between,
in both layouts of the cache. A different token is allowed only where the two best logits are closer than `TIE`, since a
batch may round such a pair either way; how often that happened is printed.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.types import Completion, Delta, GenerationRequest, SamplingParams
from tests.random_models import random_model

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]  # models are drawn once a machine

TIE = 1e-3  # of log-probabilities, so of logits
N_TOKENS = 12
SHARED = "You are a careful programmer. Answer with one function and nothing else. " * 4
WORDS = ("sort", "reverse", "\u00fcber", "list", "\u4e16\u754c", "of", "def f(x):", "words", "{", "return", "\n", "it")
SHAPES: dict[str, dict[str, Any]] = {  # of architectures
    "llama": {},
    "qwen2": {},
    "gemma": {},
    "gemma3": {"layers": 6},  # a sliding window: its memory cannot be cut at any token
}
OWN_VOCABULARIES = {"llama": "llama-bpe", "qwen2": "qwen2", "gemma": "gemma-4"}  # large ones load slowly
MODELS = [
    *((architecture, "llama-spm") for architecture in SHAPES),
    *(pytest.param(*own, marks=pytest.mark.sweep) for own in OWN_VOCABULARIES.items()),
]
BOTH = ("split", "unified")
LAYOUTS = {"llama": BOTH, "qwen2": ("split",), "gemma": ("unified",), "gemma3": BOTH}


@dataclass
class Tally:
    """Sequences compared so far, and how many of them parted at a tie."""

    n_sequences: int = 0
    ties: list[float] = field(default_factory=list)  # gap of the two best, where a sequence parted

    def compare(self, alone: Completion, busy: Completion) -> None:
        """Count one pair; fail where they part without a tie."""
        self.n_sequences += 1
        assert alone.logprobs is not None
        assert busy.logprobs is not None
        assert len(alone.logprobs) == len(busy.logprobs) == N_TOKENS
        for one, other in zip(alone.logprobs, busy.logprobs, strict=True):
            if one.token_id != other.token_id:
                gap = one.top[0].logprob - one.top[1].logprob
                assert gap < TIE, f"{one.token!r} became {other.token!r} though it leads by {gap}"
                self.ties.append(gap)
                return
        assert alone.text == busy.text


@pytest.fixture
def make_engine(make_settings: Any) -> Callable[..., AbstractAsyncContextManager[AsyncEngine]]:
    """Give engines of one thread, closed after use: busy cores would only wait for each other."""

    @asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[AsyncEngine]:
        engine = AsyncEngine(make_settings(threads=1, **settings))
        try:
            yield engine
        finally:
            await engine.aclose()

    return make


def some_requests(n: int) -> list[GenerationRequest]:
    """Draw requests of 1 to 80 words, every second behind the shared prefix, every third for 3 completions."""
    draw = random.Random(n)  # noqa: S311 - no secret
    requests = []
    for i in range(n):
        text = " ".join(draw.choices(WORDS, k=draw.choice((1, 2, 5, 17, 40, 80))))
        requests.append(ask(SHARED + text if i % 2 else text, n=3 if i % 3 == 0 else 1))
    return requests


def ask(prompt: str, *, n: int = 1, n_logprobs: int = 0) -> GenerationRequest:
    sampling = SamplingParams(temperature=0, max_tokens=N_TOKENS, n_logprobs=n_logprobs, ignore_eos=True)
    return GenerationRequest(prompt=prompt, n=n, sampling=sampling)


async def start_and_leave(engine: AsyncEngine, request: GenerationRequest, *, after_deltas: int) -> None:
    """Ask, and go away after some deltas."""
    n_received = 0
    with anyio.CancelScope() as scope:

        async def count(_deltas: tuple[Delta, ...]) -> None:
            nonlocal n_received
            n_received += 1
            if n_received >= after_deltas:
                scope.cancel()

        await engine.generate(request, count)


@pytest.mark.parametrize(("family", "vocabulary"), MODELS)
async def test_every_sequence_of_a_busy_batch_is_what_it_is_alone(
    make_engine: Any, family: str, vocabulary: str
) -> None:
    model = str(random_model(vocabulary, arch=family, **SHAPES[family]))
    requests = some_requests(8)
    async with make_engine(model=model, prefix_cache_tokens=0) as plain:
        alone = [(await plain.generate(ask(r.prompt or "", n_logprobs=2))).completions[0] for r in requests]
    for layout in LAYOUTS[family]:
        tally = Tally()
        async with make_engine(model=model, prefill_chunk_tokens=24, n_slots=6, kv_layout=layout) as busy:
            for _again in range(2):  # the second time with prefixes left by the first
                await compare_all(busy, requests, alone, tally)
            assert busy.statistics().n_running == 0
        assert tally.n_sequences == 2 * sum(request.n for request in requests)
        print(f"{family}, {layout}: {tally.n_sequences} sequences, {len(tally.ties)} parted at ties")  # noqa: T201


async def compare_all(
    engine: AsyncEngine, requests: list[GenerationRequest], alone: list[Completion], tally: Tally
) -> None:
    """Ask for everything at once, with others that go away."""

    async def check(i: int) -> None:
        for completion in (await engine.generate(requests[i])).completions:
            tally.compare(alone[i], completion)

    async def leave(i: int) -> None:
        await start_and_leave(engine, ask(f"{SHARED}{i}", n=2), after_deltas=i // 2)

    async with anyio.create_task_group() as group:
        for i in range(len(requests)):
            group.start_soon(check, i)
            if i % 4 == 0:
                group.start_soon(leave, i)
