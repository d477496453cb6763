"""Every parameter moves the distribution in the direction that its description says, drawn from a real context.

The logits are the test's own, so that each expectation is a plain computation. `t10` stands for token 10.
"""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.sampling.sampler_chain import within_context
from mcp_server.engine.types import GenerationRequest, Message, SamplingParams

pytestmark = pytest.mark.anyio

FREE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}  # draws from all tokens
LADDER = {f"t{10 * i}": float(4 - i) for i in range(1, 6)}  # t10 e times as likely as t20, and so on


@pytest.fixture
def engine(shared_engine: AsyncEngine) -> AsyncEngine:
    return shared_engine


def support(drawer: Any, logits: Any, n: int = 400, **sampling: Any) -> set[int]:
    """Give the tokens that are ever drawn."""
    return set(drawer.draw(drawer.sampler(**(FREE | sampling)), logits, n=n))


def share(drawer: Any, logits: Any, token: int, n: int = 2000, **sampling: Any) -> float:
    """Give how often a token is drawn; its standard error is at most 0.011."""
    drawn: list[int] = drawer.draw(drawer.sampler(**(FREE | sampling)), logits, n=n)
    return drawn.count(token) / n


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        ({}, {10, 20, 30, 40, 50}),
        ({"top_k": 2}, {10, 20}),
        ({"top_k": 2, "min_keep": 3}, {10, 20, 30}),
        ({"top_p": 0.8}, {10, 20}),  # the shares are 64, 23, 9, 3 and 1 %
        ({"top_p": 0.1, "min_keep": 3}, {10, 20, 30}),
        ({"min_p": 0.1}, {10, 20, 30}),  # e^-2 is 14 % of the likeliest, e^-3 is 5 %
        ({"min_p": 0.5, "min_keep": 2}, {10, 20}),
        ({"typical_p": 0.2}, {20}),  # 20 has the information nearest to the entropy of 0.98
        ({"typical_p": 0.2, "min_keep": 2}, {10, 20}),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.2}, {20, 30, 40, 50}),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.05}, {30, 40, 50}),
        ({"xtc_probability": 1.0, "xtc_threshold": 0.6}, {10, 20, 30, 40, 50}),
    ],
)
def test_cutting_leaves_the_tokens_that_its_rule_names(drawer: Any, sampling: dict[str, Any], kept: set[int]) -> None:
    assert support(drawer, drawer.flat(**LADDER), n=1500, **sampling) == kept


def test_top_n_sigma_drops_what_is_far_below_the_likeliest(drawer: Any) -> None:
    logits = np.random.default_rng(1).normal(0, 1, drawer.n_vocab).astype(np.float32)
    logits[10], logits[20], logits[30] = 12.0, 11.5, 9.0
    assert support(drawer, logits, top_n_sigma=1.0) == {10, 20}
    assert support(drawer, logits, top_n_sigma=4.0) == {10, 20, 30}


def test_xtc_happens_as_often_as_its_probability(drawer: Any) -> None:
    logits = drawer.flat(t10=2.0, t20=0.0)
    always, never = share(drawer, logits, 10), 0.0
    half = share(drawer, logits, 10, xtc_probability=0.5, xtc_threshold=0.1)
    assert share(drawer, logits, 10, xtc_probability=1.0, xtc_threshold=0.1) == never
    assert half == pytest.approx(always / 2, abs=0.05)


def test_temperature_flattens(drawer: Any) -> None:
    logits = drawer.flat(t10=1.0, t20=0.0)
    shares = [share(drawer, logits, 10, temperature=t) for t in (0.25, 1.0, 4.0)]
    assert shares == pytest.approx([1 / (1 + math.exp(-1 / t)) for t in (0.25, 1.0, 4.0)], abs=0.05)


def test_dynamic_temperature_follows_the_entropy(drawer: Any) -> None:
    """A sure distribution is drawn from as with a low temperature, an unsure one as with a high one."""
    cut = {"top_k": 2, "dynatemp_range": 0.9}
    sure, unsure = drawer.flat(t10=2.5, t20=0.0), drawer.flat(t10=0.5, t20=0.0)
    assert share(drawer, sure, 10, **cut) > share(drawer, sure, 10) + 0.03
    assert share(drawer, unsure, 10, **cut) < share(drawer, unsure, 10) - 0.03
    eager = share(drawer, unsure, 10, **cut, dynatemp_exponent=30.0)  # a high exponent wants near-certain ignorance
    assert eager > share(drawer, unsure, 10, **cut) + 0.1


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_converges_near_its_target_surprise(drawer: Any, version: int) -> None:
    """Surprise is of what was left after cutting; its mean over the later half is within a fifth of tau."""
    rank = np.arange(1, drawer.n_vocab + 1)
    logits = (-1.1 * np.log(rank)).astype(np.float32)  # Zipf, which version 1 assumes
    means = []
    for tau in (2.0, 4.0):
        sampler = drawer.sampler(
            temperature=1.0, mirostat=version, mirostat_tau=tau, n_logprobs=0, post_sampling_logprobs=True
        )
        surprises = []
        for _ in range(400):
            (token,) = drawer.draw(sampler, logits)
            surprises.append(-sampler.report(drawer.runner.native_context, drawer.row, token).logprob / math.log(2))
        means.append(sum(surprises[200:]) / 200)
    assert means == [pytest.approx(2.0, rel=0.2), pytest.approx(4.0, rel=0.2)]


def test_mirostat_with_a_learning_rate_of_zero_does_not_adapt(drawer: Any) -> None:
    """Its bound then stays at twice tau: tokens of more than 2 bits are never drawn."""
    logits = drawer.flat(t10=math.log(0.8), t20=math.log(0.15), t30=math.log(0.05))
    assert support(drawer, logits, mirostat=2, mirostat_tau=1.0, mirostat_eta=0.0) == {10}
    assert support(drawer, logits, mirostat=2, mirostat_tau=1.0, mirostat_eta=1.0) > {10}


@pytest.mark.parametrize(
    "penalty", [{"presence_penalty": 2.0}, {"frequency_penalty": 2.0}, {"repetition_penalty": 3.0}]
)
def test_a_penalised_token_is_not_chosen_again(drawer: Any, penalty: dict[str, Any]) -> None:
    logits = drawer.flat(t10=3.0, t20=2.0)
    assert drawer.draw(drawer.sampler(temperature=0, **penalty), logits, n=2) == [10, 20]
    assert drawer.draw(drawer.sampler(temperature=0, **penalty, penalty_window=0), logits, n=2) == [10, 10]


def test_frequency_counts_and_presence_does_not(drawer: Any) -> None:
    logits = drawer.flat(t10=3.0, t20=0.0)
    assert drawer.draw(drawer.sampler(temperature=0, frequency_penalty=1.0), logits, n=6).count(20) >= 1
    assert drawer.draw(drawer.sampler(temperature=0, presence_penalty=1.0), logits, n=6) == [10] * 6


def test_only_repetition_and_dry_look_into_the_prompt(drawer: Any) -> None:
    logits = drawer.flat(t10=1.0, t20=0.5)
    prompt = (10, 7, 8, 10, 7, 8)
    assert drawer.draw(drawer.sampler(temperature=0, prompt=prompt, repetition_penalty=3.0), logits) == [20]
    assert drawer.draw(drawer.sampler(temperature=0, prompt=prompt, dry_multiplier=5.0), logits) == [20]
    assert drawer.draw(drawer.sampler(temperature=0, prompt=prompt, presence_penalty=5.0), logits) == [10]
    assert drawer.draw(drawer.sampler(temperature=0, prompt=prompt, frequency_penalty=5.0), logits) == [10]


def test_the_windows_bound_what_is_seen(drawer: Any) -> None:
    logits = drawer.flat(t10=1.0, t20=0.5)
    prompt = (10, 7, 8, 10, 7, 8)
    near = drawer.sampler(temperature=0, prompt=prompt, repetition_penalty=3.0, penalty_window=2)
    assert drawer.draw(near, logits) == [10]
    near = drawer.sampler(temperature=0, prompt=prompt, dry_multiplier=5.0, dry_window=4)
    assert drawer.draw(near, logits) == [10]
    far = drawer.sampler(temperature=0, prompt=prompt, dry_multiplier=5.0, dry_window=6)
    assert drawer.draw(far, logits) == [20]
    assert drawer.draw(drawer.sampler(temperature=0, prompt=prompt, dry_multiplier=5.0, dry_window=0), logits) == [10]


def test_dry_spares_short_runs_and_grows_with_long_ones(drawer: Any) -> None:
    logits, prompt = drawer.flat(t10=4.0, t20=0.0), (10, 7, 8, 9, 10, 7, 8, 9)
    short = {"temperature": 0, "prompt": prompt, "dry_multiplier": 1.0}
    assert drawer.draw(drawer.sampler(**short, dry_allowed_length=5), logits) == [10]
    assert drawer.draw(drawer.sampler(**short, dry_base=1.0), logits) == [10]  # 1 x 1.0^2
    assert drawer.draw(drawer.sampler(**short, dry_base=3.0), logits) == [20]  # 1 x 3.0^2


def test_a_sequence_breaker_ends_a_run(drawer: Any) -> None:
    """The run `xyz` comes twice, but with the breaker in it only what follows the breaker counts."""
    first, breaker, last = (drawer.vocabulary.encode(text, is_prompt=False) for text in ("x", ":", "z"))
    again = (*first, *breaker, *last)
    prompt = (*again, 10, *again)
    logits = drawer.flat(t10=1.0, t20=0.5)
    asked = {"temperature": 0, "prompt": prompt, "dry_multiplier": 5.0}
    assert drawer.draw(drawer.sampler(**asked, dry_sequence_breakers=()), logits) == [20]
    assert drawer.draw(drawer.sampler(**asked, dry_sequence_breakers=(":",)), logits) == [10]


async def test_dry_breaks_a_loop_that_the_model_is_in(engine: AsyncEngine) -> None:
    async def most_repeated(**sampling: Any) -> int:
        """Count how often the commonest five characters come."""
        params = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True, **sampling)
        request = GenerationRequest(prompt="one two three four " * 12, sampling=params)
        text = (await engine.generate(request)).completions[0].text
        return max(Counter(text[i : i + 5] for i in range(len(text) - 4)).values())

    assert await most_repeated(dry_multiplier=2.0, dry_sequence_breakers=()) * 2 <= await most_repeated()


async def test_without_its_ends_a_model_goes_on_to_the_limit(engine: AsyncEngine) -> None:
    ask = (Message("user", "Write a Python function is_even(n) that returns True if n is even."),)
    ended = await engine.generate(GenerationRequest(ask, sampling=SamplingParams(temperature=0, max_tokens=200)))
    assert ended.completions[0].finish_reason == "stop"
    endless = SamplingParams(temperature=0, max_tokens=200, ignore_eos=True)
    result = await engine.generate(GenerationRequest(ask, sampling=endless))
    assert result.completions[0].finish_reason == "length"
    assert result.usage.completion_tokens == 200
    beside: tuple[dict[str, Any], ...] = ({"mirostat": 1}, {"logit_bias": {"0": 50.0}}, {"repetition_penalty": 1.1})
    for more in beside:
        sampling = SamplingParams(temperature=0.7, max_tokens=80, ignore_eos=True, **more)
        result = await engine.generate(GenerationRequest(ask, sampling=sampling))
        assert result.completions[0].finish_reason == "length"


EXTREMES: tuple[dict[str, Any], ...] = (
    {"temperature": 1000.0, "dynatemp_range": 1000.0, "dynatemp_exponent": 100.0},
    {"temperature": 1e-9, "dynatemp_range": 1e-9, "top_k": 0},
    {"top_k": 2**31 - 1, "min_keep": 2**31 - 1, "top_p": 0.0, "typical_p": 0.0, "min_p": 1.0},
    {"repetition_penalty": 1000.0, "frequency_penalty": 100.0, "presence_penalty": -100.0},
    {"repetition_penalty": 0.001, "penalty_window": 2**31 - 1},
    {"dry_multiplier": 100.0, "dry_base": 100.0, "dry_allowed_length": 0, "dry_window": 2**31 - 1},
    {"dry_multiplier": 1.0, "dry_allowed_length": 2**31 - 1, "dry_sequence_breakers": ("\u4e16", "\ud800", "\x7f")},
    {"mirostat": 1, "mirostat_tau": 0.0, "mirostat_eta": 10.0},
    {"mirostat": 2, "mirostat_tau": 100.0, "mirostat_eta": 10.0, "temperature": 1e-5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.0, "min_keep": 0},
    {"top_n_sigma": 0.001, "typical_p": 0.5, "top_k": 0, "ignore_eos": True},
    {"seed": -(10**30), "n_logprobs": 128, "post_sampling_logprobs": True, "typical_p": 0.9},
)


@pytest.mark.parametrize("sampling", EXTREMES, ids=lambda sampling: next(iter(sampling)))
async def test_the_ends_of_every_range_can_be_computed_with(engine: AsyncEngine, sampling: dict[str, Any]) -> None:
    params = SamplingParams(**({"max_tokens": 12, "seed": 1} | sampling))
    result = await engine.generate(GenerationRequest(prompt="one two one two one", sampling=params))
    assert result.completions[0].finish_reason in ("stop", "length")
    for logprob in result.completions[0].logprobs or ():
        assert all(after.logprob <= before.logprob for before, after in pairwise(logprob.top))


@pytest.mark.parametrize("logits", ["zeros", "huge", "impossible"])
def test_odd_logits_of_a_model_are_drawn_from(drawer: Any, logits: str) -> None:
    row = np.zeros(drawer.n_vocab, np.float32)
    if logits == "huge":
        row[:] = np.random.default_rng(2).normal(0, 1e30, drawer.n_vocab)
    if logits == "impossible":
        row[:] = -np.inf
    for sampling in (
        {},
        {"typical_p": 0.5},
        {"mirostat": 1},
        {"mirostat": 2},
        {"temperature": 0},
        {"dynatemp_range": 1.0},
    ):
        (token,) = drawer.draw(drawer.sampler(**sampling), row)
        assert 0 <= token < drawer.n_vocab


def test_windows_of_penalties_are_no_longer_than_the_context() -> None:
    """They take memory from the start, whether there is a text or not."""
    for asked, least in ((-1, 100), (0, 0), (7, 7), (10**9, 100)):
        bounded = within_context(SamplingParams(penalty_window=asked, dry_window=asked), 100)
        assert (bounded.penalty_window, bounded.dry_window) == (least, least)
