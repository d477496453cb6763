"""Grammars, schemas, penalties, biases and log-probabilities on the embedded model, against plain computations."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.catalog import ModelCatalog
from mcp_server.engine.grammar import grammar_of
from mcp_server.engine.model_runner import ModelRunner
from mcp_server.engine.sampler import Candidates, TokenSampler, token_logprob
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import GenerationRequest, Message, SamplingParams
from mcp_server.errors import InvalidRequestError

pytestmark = pytest.mark.anyio

ASK = (Message("user", "Describe the function is_even(n) as JSON."),)
NEVER_END = {"0": -100.0, "2": -100.0}
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


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRunner]:
    settings = EngineSettings(home=tmp_path_factory.mktemp("home"), kv_cache_tokens=2048)
    runner = ModelRunner(Path(ModelCatalog(settings).resolve(None).path), settings)
    yield runner
    runner.close()


def draw_logits(runner: ModelRunner, seed: int) -> Any:
    return np.random.default_rng(seed).normal(0, 3, runner.vocabulary.n_tokens).astype(np.float32)


def sample(runner: ModelRunner, logits: Any, **sampling: Any) -> int | None:
    sampler = TokenSampler(runner.vocabulary, SamplingParams(**sampling), seed=1, grammar=None)
    token = sampler.sample(Candidates(len(logits)), logits)
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


@pytest.mark.parametrize("raw", ["\t", "\n", "\x00", "\x1f", "\x7f"], ids=repr)
def test_strings_exclude_raw_control_characters(runner: ModelRunner, raw: str) -> None:
    """A draft from which the repair was missing would accept the raw character."""
    grammar = grammar_of(SamplingParams(json_schema={"type": "string"}))
    assert "\\x00-\\x1F\\x7F" in str(grammar)
    sampler = TokenSampler(runner.vocabulary, SamplingParams(temperature=0), seed=1, grammar=grammar)
    candidates = Candidates(runner.vocabulary.n_tokens)
    (quote,) = runner.vocabulary.encode('"')
    (control,) = runner.vocabulary.encode(raw)
    logits = np.zeros(runner.vocabulary.n_tokens, np.float32)
    logits[quote] = 5
    assert sampler.sample(candidates, logits) == quote
    logits[quote], logits[control] = 0, 5
    assert sampler.sample(candidates, logits) != control
    sampler.close()


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
        ({"json_schema": {"type": "string", "pattern": "unanchored"}}, "json_schema"),
        ({"json_schema": {"type": "string", "pattern": "^a{1000000}$"}}, "json_schema"),
        ({"json_schema": {"type": "array", "items": {}, "minItems": 10_000_000}}, "json_schema"),
        ({"logit_bias": {"99999999": 1.0}}, "logit_bias"),
        ({"logit_bias": {"one": 1.0}}, "logit_bias"),
        ({"logit_bias": {"9" * 5000: 1.0}}, "logit_bias"),
        ({"logit_bias": {"\u0663": 1.0}}, "logit_bias"),
        ({"logit_bias": {"1": math.nan}}, "logit_bias"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"presence_penalty": math.inf}, "presence_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
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


def test_logprobs_agree_with_a_plain_log_softmax(runner: ModelRunner) -> None:
    logits = draw_logits(runner, 3)
    total = math.fsum(math.exp(float(x)) for x in logits)
    plain = [float(x) - math.log(total) for x in logits]
    reported = token_logprob(runner.vocabulary, logits, 17, 5)
    order = sorted(range(len(plain)), key=lambda token: -plain[token])
    assert reported.logprob == pytest.approx(plain[17], abs=1e-6)
    assert [top.token_id for top in reported.top] == order[:5]
    assert [top.logprob for top in reported.top] == pytest.approx([plain[token] for token in order[:5]], abs=1e-6)
    everything = token_logprob(runner.vocabulary, logits, 0, len(logits)).top
    assert math.fsum(math.exp(top.logprob) for top in everything) == pytest.approx(1)


async def test_greedy_tokens_are_the_likeliest_of_their_own_logprobs(engine: AsyncEngine) -> None:
    result = await engine.generate(
        GenerationRequest(ASK, sampling=SamplingParams(temperature=0, n_logprobs=3, max_tokens=20))
    )
    for logprob in result.completions[0].logprobs or ():
        assert logprob.token_id == logprob.top[0].token_id
        assert list(logprob.top) == sorted(logprob.top, key=lambda top: -top.logprob)
        assert logprob.logprob == logprob.top[0].logprob


def test_temperature_zero_takes_the_likeliest(runner: ModelRunner) -> None:
    logits = draw_logits(runner, 5)
    assert sample(runner, logits, temperature=0) == int(np.argmax(logits))
    assert sample(runner, logits, temperature=2.0, top_k=1) == int(np.argmax(logits))
    assert sample(runner, logits, temperature=2.0, top_k=0, top_p=1e-6) == int(np.argmax(logits))
    assert sample(runner, logits, temperature=2.0, top_k=0, top_p=1.0, min_p=1.0) == int(np.argmax(logits))


def test_draws_follow_the_softmax(runner: ModelRunner) -> None:
    """3,000 draws over two tokens that matter: the share of the likelier one is within 4 standard errors."""
    logits = np.full(runner.vocabulary.n_tokens, -50, np.float32)
    logits[10], logits[20] = 1.0, 0.0
    sampler = TokenSampler(runner.vocabulary, SamplingParams(temperature=1, top_k=0, top_p=1), seed=9, grammar=None)
    candidates = Candidates(len(logits))
    share = sum(sampler.sample(candidates, logits) == 10 for _ in range(3000)) / 3000
    sampler.close()
    assert share == pytest.approx(1 / (1 + math.exp(-1)), abs=4 * math.sqrt(0.25 / 3000))


def test_a_bias_forces_and_forbids(runner: ModelRunner) -> None:
    logits = draw_logits(runner, 6)
    best = int(np.argmax(logits))
    assert sample(runner, logits, temperature=0, logit_bias={"7": 100.0}) == 7
    assert sample(runner, logits, temperature=0, logit_bias={str(best): -100.0}) == int(np.argsort(logits)[-2])


@pytest.mark.parametrize(
    "penalty", [{"presence_penalty": 2.0}, {"frequency_penalty": 2.0}, {"repetition_penalty": 3.0}]
)
def test_a_penalised_token_is_not_chosen_again(runner: ModelRunner, penalty: dict[str, Any]) -> None:
    logits = np.zeros(runner.vocabulary.n_tokens, np.float32)
    logits[10], logits[20] = 3.0, 2.0
    sampler = TokenSampler(runner.vocabulary, SamplingParams(temperature=0, **penalty), seed=1, grammar=None)
    candidates = Candidates(len(logits))
    assert [sampler.sample(candidates, logits) for _ in range(2)] == [10, 20]
    sampler.close()


def test_a_grammar_that_allows_no_token_ends_the_sequence(runner: ModelRunner) -> None:
    """After the grammar's only word nothing is possible but an end, and these logits forbid that."""
    sampler = TokenSampler(runner.vocabulary, SamplingParams(temperature=0), seed=1, grammar='root ::= "a"')
    candidates = Candidates(runner.vocabulary.n_tokens)
    logits = np.zeros(runner.vocabulary.n_tokens, np.float32)
    (only,) = runner.vocabulary.encode("a")
    assert sampler.sample(candidates, logits) == only
    token = sampler.sample(candidates, logits)
    assert token is not None
    assert runner.vocabulary.is_end(token)
    ends = [token for token in range(runner.vocabulary.n_tokens) if runner.vocabulary.is_end(token)]
    logits[ends] = -np.inf
    sampler = TokenSampler(runner.vocabulary, SamplingParams(temperature=0), seed=1, grammar='root ::= "a"')
    assert sampler.sample(candidates, logits) == only
    assert sampler.sample(candidates, logits) is None
    sampler.close()
