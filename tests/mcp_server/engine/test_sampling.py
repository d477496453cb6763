"""Grammars, schemas, penalties, biases and log-probabilities on the embedded model, against plain computations."""

import json
import math
import subprocess
import sys
from typing import Any

import anyio
import jsonschema
import numpy as np
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.sampling.logprobs import token_logprob
from mcp_server.engine.types import GenerationRequest, Message, SamplingParams
from mcp_server.errors import InvalidRequestError

pytestmark = pytest.mark.anyio

ASK = (Message("user", "Describe the function is_even(n) as JSON."),)
POINT = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "size": {"type": "integer"}, "ok": {"type": "boolean"}},
    "required": ["name", "size", "ok"],
    "additionalProperties": False,
}
CHOICE = {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}, "required": ["kind"]}
LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3}},
    "required": ["items"],
}
REFERENCE = {
    "type": "object",
    "properties": {"first": {"$ref": "#/$defs/word"}, "second": {"$ref": "#/$defs/word"}},
    "required": ["first", "second"],
    "$defs": {"word": {"type": "string", "pattern": "^[a-z]{2,5}$"}},
}


@pytest.fixture
def engine(shared_engine: AsyncEngine) -> AsyncEngine:
    return shared_engine


def draw_logits(drawer: Any, seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 3, drawer.n_vocab).astype(np.float32)


def sample(drawer: Any, logits: Any, **sampling: Any) -> int | None:
    sampler = drawer.sampler(**sampling)
    (token,) = drawer.draw(sampler, logits)
    sampler.close()
    sampler.close()
    return token


@pytest.mark.parametrize("schema", [POINT, CHOICE, LIST, REFERENCE], ids=["flat", "enum", "array", "reference"])
@pytest.mark.parametrize("temperature", [0.0, 1.2])
async def test_a_schema_is_kept(engine: AsyncEngine, schema: dict[str, Any], temperature: float) -> None:
    sampling = SamplingParams(temperature=temperature, seed=4, max_tokens=300, json_schema=schema)
    result = await engine.generate(GenerationRequest(ASK, n=3, sampling=sampling))
    for completion in result.completions:
        assert completion.finish_reason == "stop"
        jsonschema.validate(json.loads(completion.text), schema)


async def test_json_mode_gives_an_object(engine: AsyncEngine) -> None:
    sampling = SamplingParams(temperature=0.7, seed=2, max_tokens=600, json_mode=True)
    result = await engine.generate(GenerationRequest(ASK, sampling=sampling))
    assert isinstance(json.loads(result.completions[0].text), dict)


async def test_a_grammar_of_the_callers_own_is_kept(engine: AsyncEngine) -> None:
    sampling = SamplingParams(temperature=1, grammar='root ::= ("yes" | "no") "!"')
    result = await engine.generate(GenerationRequest(ASK, n=4, sampling=sampling))
    assert {completion.text for completion in result.completions} <= {"yes!", "no!"}


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        ({"grammar": "root ::= ("}, "grammar"),
        ({"grammar": "leaf ::= [a-z]"}, "grammar"),
        ({"grammar": 'root ::= root "a" | "b"'}, "grammar"),
        ({"grammar": "  "}, "grammar"),
        ({"grammar": "x" * 300_000}, "grammar"),
        ({"grammar": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000}, "grammar"),
        ({"grammar": 'root ::= "a"', "json_mode": True}, "grammar"),
        ({"json_schema": {"type": "no such type"}}, "json_schema"),
        ({"json_schema": {"$ref": "https://example.com/schema"}}, "json_schema"),
        ({"json_schema": {"type": "string", "pattern": "(?=ahead)"}}, "json_schema"),
        ({"json_schema": {"type": "integer", "minimum": 5, "maximum": 4}}, "json_schema"),
        ({"json_schema": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}, "json_schema"),
        ({"json_schema": {"type": "string", "pattern": "^a{1000000}$"}}, "json_schema"),
        ({"json_schema": {"type": "array", "items": {}, "minItems": 10_000_000}}, "json_schema"),
        ({"logit_bias": {"99999999": 1.0}}, "logit_bias"),
        ({"logit_bias": {"one": 1.0}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1.0}}, "logit_bias"),
        ({"logit_bias": {"\u0663": 1.0}}, "logit_bias"),
        ({"logit_bias": {"1": math.nan}}, "logit_bias"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": 1e308}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"top_p": math.nan}, "top_p"),
        ({"top_k": 2**31}, "top_k"),
        ({"top_k": 10**1000}, "top_k"),
        ({"dynatemp_range": -1.0}, "dynatemp_range"),
        ({"dynatemp_exponent": math.nan}, "dynatemp_exponent"),
        ({"typical_p": 1.5}, "typical_p"),
        ({"top_n_sigma": 0.0}, "top_n_sigma"),
        ({"xtc_probability": 2.0}, "xtc_probability"),
        ({"xtc_threshold": -1.0}, "xtc_threshold"),
        ({"min_keep": -1}, "min_keep"),
        ({"repetition_penalty": 1e308}, "repetition_penalty"),
        ({"frequency_penalty": 1e30}, "frequency_penalty"),
        ({"penalty_window": -2}, "penalty_window"),
        ({"dry_multiplier": -1.0}, "dry_multiplier"),
        ({"dry_base": 1e300}, "dry_base"),
        ({"dry_base": 0.5}, "dry_base"),
        ({"dry_allowed_length": -1}, "dry_allowed_length"),
        ({"dry_window": -2}, "dry_window"),
        ({"dry_sequence_breakers": ("x",) * 10_000}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("a\0b",)}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": ("x" * 41,)}, "dry_sequence_breakers"),
        ({"mirostat": 3}, "mirostat"),
        ({"mirostat_tau": math.inf}, "mirostat_tau"),
        ({"mirostat_eta": -0.1}, "mirostat_eta"),
        ({"max_decode_ms": math.nan}, "max_decode_ms"),
        ({"stop": ("x",) * 1000}, "stop"),
        ({"stop": ("x" * 10_000,)}, "stop"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"presence_penalty": math.inf}, "presence_penalty"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n_logprobs": 1000}, "n_logprobs"),
    ],
)
async def test_bad_sampling_is_refused_with_its_field(
    engine: AsyncEngine, sampling: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await engine.generate(GenerationRequest(ASK, sampling=SamplingParams(**sampling)))
    assert caught.value.param == param


def test_a_grammar_that_does_not_parse_is_not_printed() -> None:
    code = """
import anyio
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.types import GenerationRequest, SamplingParams
from mcp_server.errors import InvalidRequestError

async def main():
    engine = AsyncEngine()
    try:
        await engine.generate(GenerationRequest(prompt="x", sampling=SamplingParams(grammar="root ::= secret (")))
    except InvalidRequestError as error:
        print(error.message)
    await engine.aclose()

anyio.run(main)
import os
os.write(2, b"after")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert "grammar" in done.stdout
    assert done.stderr == "after"


async def test_parentheses_in_literals_are_not_nesting(engine: AsyncEngine) -> None:
    grammar = 'root ::= "' + "(" * 2000 + '"? [(] # ' + "(" * 2000 + "\n"
    sampling = SamplingParams(temperature=0, grammar=grammar, max_tokens=1)
    assert (await engine.generate(GenerationRequest(ASK, sampling=sampling))).completions[0].text.startswith("(")


async def test_a_huge_upper_bound_is_dropped_rather_than_refused(engine: AsyncEngine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 10**9}}, "required": ["a"]}
    sampling = SamplingParams(temperature=0, json_schema=schema, max_tokens=200)
    result = await engine.generate(GenerationRequest(ASK, sampling=sampling))
    jsonschema.validate(json.loads(result.completions[0].text), schema)


def test_logprobs_agree_with_a_plain_log_softmax(drawer: Any) -> None:
    logits = draw_logits(drawer, 3)
    total = math.fsum(math.exp(float(x)) for x in logits)
    plain = [float(x) - math.log(total) for x in logits]
    reported = token_logprob(drawer.vocabulary, logits, 17, 5)
    order = sorted(range(len(plain)), key=lambda token: -plain[token])
    assert reported.logprob == pytest.approx(plain[17], abs=1e-6)
    assert [top.token_id for top in reported.top] == order[:5]
    assert [top.logprob for top in reported.top] == pytest.approx([plain[token] for token in order[:5]], abs=1e-6)
    assert all(bytes(top.bytes_) == drawer.vocabulary.pieces[top.token_id] for top in reported.top)
    everything = token_logprob(drawer.vocabulary, logits, 0, len(logits)).top
    assert math.fsum(math.exp(top.logprob) for top in everything) == pytest.approx(1)


def test_equal_logits_are_reported_in_the_order_of_their_ids(drawer: Any) -> None:
    reported = token_logprob(drawer.vocabulary, np.zeros(drawer.n_vocab, np.float32), 9, 3)
    assert [top.token_id for top in reported.top] == [0, 1, 2]


def test_logprobs_after_sampling_are_of_what_was_left_to_draw_from(drawer: Any) -> None:
    asked = {"temperature": 0.5, "top_k": 2, "top_p": 1.0, "n_logprobs": 5}
    sampler = drawer.sampler(**asked, post_sampling_logprobs=True)
    (token,) = drawer.draw(sampler, drawer.flat(t10=1.0, t20=0.5, t30=0.4))
    after = sampler.report(drawer.runner.native_context, drawer.row, token)
    likelier = 1 / (1 + math.exp(-1))
    assert [(top.token_id, math.exp(top.logprob)) for top in after.top] == [
        (10, pytest.approx(likelier)),
        (20, pytest.approx(1 - likelier)),
    ]
    assert math.exp(after.logprob) == pytest.approx(likelier if token == 10 else 1 - likelier)
    before = drawer.sampler(**asked)
    (token,) = drawer.draw(before)
    assert len(before.report(drawer.runner.native_context, drawer.row, token).top) == 5
    greedy = drawer.sampler(temperature=0, n_logprobs=2, post_sampling_logprobs=True)
    (token,) = drawer.draw(greedy)
    assert greedy.report(drawer.runner.native_context, drawer.row, token).logprob == 0
    assert drawer.sampler().report(drawer.runner.native_context, drawer.row, 10) is None


async def test_greedy_tokens_are_the_likeliest_of_their_own_logprobs(engine: AsyncEngine) -> None:
    result = await engine.generate(
        GenerationRequest(ASK, sampling=SamplingParams(temperature=0, n_logprobs=3, max_tokens=20))
    )
    for logprob in result.completions[0].logprobs or ():
        assert logprob.token_id == logprob.top[0].token_id
        assert list(logprob.top) == sorted(logprob.top, key=lambda top: -top.logprob)
        assert logprob.logprob == logprob.top[0].logprob


def test_temperature_zero_takes_the_likeliest(drawer: Any) -> None:
    logits = draw_logits(drawer, 5)
    best = int(np.argmax(logits))
    assert sample(drawer, logits, temperature=0) == best
    assert sample(drawer, logits, temperature=0, xtc_probability=1.0, typical_p=0.1, dynatemp_range=5.0) == best
    assert sample(drawer, logits, temperature=0, mirostat=2, repetition_penalty=1.5) == best
    assert sample(drawer, logits, temperature=1e-300, top_k=0, top_p=1.0) == best
    assert sample(drawer, logits, temperature=2.0, top_k=1) == best
    assert sample(drawer, logits, temperature=2.0, top_k=0, top_p=0.0) == best
    assert sample(drawer, logits, temperature=2.0, top_k=0, top_p=1.0, min_p=1.0) == best


def test_draws_follow_the_softmax(drawer: Any) -> None:
    """3,000 draws over two tokens that matter: the share of the likelier one is within 4 standard errors."""
    sampler = drawer.sampler(temperature=1, top_k=0, top_p=1, seed=9)
    drawn = drawer.draw(sampler, drawer.flat(t10=1.0, t20=0.0), n=3000)
    assert drawn.count(10) / 3000 == pytest.approx(1 / (1 + math.exp(-1)), abs=4 * math.sqrt(0.25 / 3000))


def test_a_bias_forces_and_forbids(drawer: Any) -> None:
    logits = draw_logits(drawer, 6)
    best = int(np.argmax(logits))
    assert sample(drawer, logits, temperature=0, logit_bias={"7": 100.0}) == 7
    assert sample(drawer, logits, temperature=0, logit_bias={str(best): -100.0}) == int(np.argsort(logits)[-2])


def test_the_same_seed_draws_the_same_and_another_does_not(drawer: Any) -> None:
    rows = [draw_logits(drawer, seed) for seed in range(20)]

    def draws(seed: int) -> list[int | None]:
        sampler = drawer.sampler(seed=seed, temperature=1.5, top_k=0, xtc_probability=0.5, xtc_threshold=0.01)
        return [drawer.draw(sampler, logits)[0] for logits in rows]

    assert draws(3) == draws(3) == draws(3 + 0xFFFFFFFF)
    assert draws(3) != draws(4)
    assert draws(-1) == draws(-1)


@pytest.mark.parametrize(
    "sampling", [{}, {"json_mode": True}, {"mirostat": 2}, {"dry_multiplier": 1.0, "n_logprobs": 2}]
)
async def test_a_seeded_request_is_the_same_alone_and_among_seven_others(
    engine: AsyncEngine, sampling: dict[str, Any]
) -> None:
    """On this model and machine to the letter; where rounding could decide, `sampler` says so."""
    params = SamplingParams(temperature=1.0, seed=11, max_tokens=40, **sampling)
    request = GenerationRequest(ASK, sampling=params)
    alone = await engine.generate(request)
    texts: list[str] = []

    async def run(i: int) -> None:
        other = GenerationRequest((Message("user", f"task {i}"),), sampling=SamplingParams(seed=i, max_tokens=30 + i))
        result = await engine.generate(other if i else request)
        texts.extend([] if i else [result.completions[0].text])

    async with anyio.create_task_group() as group:
        for i in range(8):
            group.start_soon(run, i)
    assert texts == [alone.completions[0].text]
