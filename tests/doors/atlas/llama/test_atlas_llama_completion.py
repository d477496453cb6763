"""Raw completion at the llama-server door: every documented field does what is documented, or is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server.contract import GenerationRequest, GenerationResult, SamplingParams
from mcp_server.errors import InvalidRequestError
from shim.dialects.llama_sampling import DEFAULTS
from shim.doors.atlas.llama import DOOR
from tests.doors.official import events_of
from tests.fakes import SCRIPTED_CONTEXT_TOKENS, SCRIPTED_MODEL, Reply, ScriptedEngine
from tests.stack import open_door

TEXT = "one two\nthree"
PATH = "/completion"


async def ask(client: httpx.AsyncClient, **fields: Any) -> Any:
    response = await client.post(PATH, json={"prompt": "hi there", **fields})
    assert response.status_code == 200, response.text
    return response.json()


async def refused(client: httpx.AsyncClient, path: str = PATH, **fields: Any) -> dict[str, Any]:
    response = await client.post(path, json={"prompt": "hi", **fields})
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    assert (error["code"], error["type"]) == (400, "invalid_request_error")
    return error


@pytest.mark.parametrize("path", ["/completion", "/completions"])
async def test_a_completion_has_the_documented_members(client: httpx.AsyncClient, path: str) -> None:
    body = (await client.post(path, json={"prompt": "hi there"})).json()
    settings, timings = body.pop("generation_settings"), body.pop("timings")
    assert body == {
        "index": 0,
        "content": TEXT,
        "tokens": [],
        "id_slot": -1,
        "stop": True,
        "model": SCRIPTED_MODEL,
        "tokens_predicted": 3,
        "tokens_evaluated": 2,
        "prompt": "hi there",
        "has_new_line": True,
        "truncated": False,
        "stop_type": "eos",
        "stopping_word": "",
        "tokens_cached": 0,
    }
    assert (settings["n_ctx"], settings["model"]) == (SCRIPTED_CONTEXT_TOKENS, SCRIPTED_MODEL)
    assert (timings["prompt_n"], timings["cache_n"], timings["predicted_n"]) == (2, 0, 3)
    assert timings["predicted_per_second"] == pytest.approx(1000)
    assert timings["prompt_per_token_ms"] == pytest.approx(0.5)


async def test_the_defaults_are_those_of_llama_cpp(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    settings = (await ask(client))["generation_settings"]
    assert engine.requests[-1].sampling == DEFAULTS
    expected = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_last_n": 64, "seed": 2**32 - 1}
    assert settings.items() >= (expected | {"n_predict": -1, "dry_penalty_last_n": 64, "mirostat": 0}).items()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": -1}, {"temperature": 0.0}),
        ({"dynatemp_range": 0.5, "dynatemp_exponent": 2}, {"dynatemp_range": 0.5, "dynatemp_exponent": 2.0}),
        ({"top_k": 0, "top_p": 0, "min_p": 0.2}, {"top_k": 0, "top_p": 1e-6, "min_p": 0.2}),
        ({"typical_p": 0.5, "top_n_sigma": 1.5}, {"typical_p": 0.5, "top_n_sigma": 1.5}),
        ({"top_n_sigma": -1}, {}),
        ({"top_n_sigma": 0}, {}),
        ({"xtc_probability": 0.5, "xtc_threshold": 0.2}, {"xtc_probability": 0.5, "xtc_threshold": 0.2}),
        ({"min_keep": 0}, {}),
        ({"min_keep": 3}, {"min_keep": 3}),
        ({"repeat_penalty": 1.2, "repeat_last_n": 9}, {"repetition_penalty": 1.2, "penalty_window": 9}),
        ({"presence_penalty": 1, "frequency_penalty": 2}, {"presence_penalty": 1.0, "frequency_penalty": 2.0}),
        (
            {"dry_multiplier": 0.8, "dry_base": 2, "dry_allowed_length": 3, "dry_penalty_last_n": -1},
            {"dry_multiplier": 0.8, "dry_base": 2.0, "dry_allowed_length": 3, "dry_window": -1},
        ),
        ({"dry_base": 0.5}, {}),
        ({"dry_sequence_breakers": [";"]}, {"dry_sequence_breakers": (";",)}),
        (
            {"mirostat": 2, "mirostat_tau": 3, "mirostat_eta": 0.2},
            {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.2},
        ),
        ({"grammar": 'root ::= "a"'}, {"grammar": 'root ::= "a"'}),
        ({"grammar": ""}, {}),
        ({"json_schema": {}}, {"json_schema": {}}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {}),
        ({"seed": 2**32 - 1}, {}),
        ({"ignore_eos": True}, {"ignore_eos": True}),
        ({"n_probs": 0}, {}),
        ({"n_predict": 2}, {"max_tokens": 2}),
        ({"n_predict": -1}, {}),
        ({"max_tokens": 2}, {"max_tokens": 2}),
        ({"t_max_predict_ms": 0}, {}),
        ({"t_max_predict_ms": 50}, {"max_decode_ms": 50.0}),
        ({"stop": "x"}, {"stop": ("x",)}),
        ({"stop": ["x", "", "y"]}, {"stop": ("x", "y")}),
        ({"logit_bias": [[5, 1.5], [6, False], [7, 1000]]}, {"logit_bias": {"5": 1.5, "6": -100.0, "7": 100.0}}),
        ({"logit_bias": {"5": -2}}, {"logit_bias": {"5": -2.0}}),
        ({"samplers": ["temperature"]}, {"top_k": 0, "top_p": 1.0, "min_p": 0.0}),
        ({"samplers": ["top_k", "temperature"], "dry_multiplier": 1}, {"top_p": 1.0, "min_p": 0.0}),
        ({"samplers": "kt"}, {"top_p": 1.0, "min_p": 0.0}),
        ({"samplers": ["penalties", "dry", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]}, {}),
    ],
    ids=str,
)
async def test_a_field_reaches_the_engine(
    client: httpx.AsyncClient, engine: ScriptedEngine, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    await ask(client, **fields)
    assert engine.requests[-1].sampling == SamplingParams(
        **{"temperature": 0.8, "min_p": 0.05, "penalty_window": 64, "dry_window": 64, **expected}
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"lora": [{"id": 0, "scale": 1}]}, None),
        ({"n_indent": 2}, None),
        ({"n_cache_reuse": 256}, None),
        ({"return_progress": True}, None),
        ({"sse_ping_interval": 5}, None),
        ({"samplers": ["top_k", "top_k"]}, None),
        ({"samplers": ["temperature", "top_k"]}, None),
        ({"samplers": ["magic"]}, None),
        ({"grammar": "x", "json_schema": {}}, None),
        ({"prompt": []}, None),
        ({"prompt": [[]]}, None),
        ({"prompt": [[1], 2]}, None),
        ({"prompt": {"prompt_string": "x", "multimodal_data": ["aGk="]}}, None),
        ({"prompt": ["x"] * 257}, None),
        ({"stop": ["x"] * 65}, None),
        ({"prompt": [True]}, "prompt.0"),
        ({"id_slot": 8}, "id_slot"),
        ({"top_p": 1.5}, "top_p"),
        ({"n_probs": 129}, "n_probs"),
        ({"logit_bias": [[5, True]]}, "logit_bias.0.1"),
        ({"logit_bias": {"5": "much"}}, "logit_bias.5"),
        ({"logit_bias": [[f"word{i}", 1] for i in range(65)]}, "logit_bias"),
    ],
    ids=str,
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str | None
) -> None:
    error = await refused(client, **fields)
    assert error["param"] == param
    name = next(iter(fields)) if "grammar" not in fields else "json_schema"
    assert name in error["message"] or "multimodal_data" in error["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"n_keep": -1, "n_discard": 0, "n_indent": 0, "n_cache_reuse": 0, "lora": [], "sse_ping_interval": -1},
        {"id_slot": -1, "cache_prompt": True, "return_progress": False},
        {"id_slot": 7},
        {"something_new": {"that": "llama.cpp ignores"}},
    ],
    ids=str,
)
async def test_what_changes_nothing_is_taken(
    client: httpx.AsyncClient, engine: ScriptedEngine, fields: dict[str, Any]
) -> None:
    assert (await ask(client, **fields))["content"] == TEXT
    assert engine.requests[-1].sampling == DEFAULTS


async def test_cache_prompt_reaches_the_engine(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await ask(client, cache_prompt=False)
    assert engine.requests[-1].scheduling.cache_prompt is False


async def test_n_predict_0_computes_the_prompt_and_returns_nothing(client: httpx.AsyncClient) -> None:
    body = await ask(client, n_predict=0, return_tokens=True)
    assert (body["content"], body["tokens"], body["tokens_predicted"], body["stop_type"]) == ("", [], 0, "limit")
    assert body["generation_settings"]["n_predict"] == 0
    (last,) = events_of(await client.post(PATH, json={"prompt": "hi", "n_predict": 0, "stream": True}))
    assert (last["content"], last["stop"]) == ("", True)


@pytest.mark.parametrize(
    ("fields", "stop_type", "word"),
    [({}, "eos", ""), ({"n_predict": 1}, "limit", ""), ({"stop": ["two"]}, "word", "two")],
    ids=str,
)
async def test_the_end_is_told(client: httpx.AsyncClient, fields: dict[str, Any], stop_type: str, word: str) -> None:
    body = await ask(client, **fields)
    assert (body["stop_type"], body["stopping_word"]) == (stop_type, word)
    last = events_of(await client.post(PATH, json={"prompt": "hi", "stream": True, **fields}))[-1]
    assert (last["stop_type"], last["stopping_word"], last["stop"]) == (stop_type, word, True)


async def test_an_answer_that_the_context_ends_is_truncated(tmp_path: Path) -> None:
    fields = {"prompt": " ".join(["x"] * (SCRIPTED_CONTEXT_TOKENS - 1))}
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine([Reply(("y",), "length")])) as client:
        body = await ask(client, **fields)
        assert (body["truncated"], body["stop_type"]) == (True, "limit")
        assert events_of(await client.post(PATH, json={**fields, "stream": True}))[-1]["truncated"] is True
        assert (await ask(client, **fields, n_predict=1))["truncated"] is False, "that limit was the client's own"


async def test_the_settings_name_the_samplers_that_were_used(client: httpx.AsyncClient) -> None:
    settings = (await ask(client, samplers=["top_k", "temperature"]))["generation_settings"]
    assert settings["samplers"] == ["top_k", "temperature"]
    assert len((await ask(client))["generation_settings"]["samplers"]) == 9


async def test_a_prompt_of_tokens_is_sent_as_it_is(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    tokens = (await client.post("/tokenize", json={"content": "hi there"})).json()["tokens"]
    body = await ask(client, prompt=tokens)
    assert engine.requests[-1].prompt_token_ids == tuple(tokens)
    assert body["prompt"] == "hi there"


async def test_a_mixed_prompt_is_tokenized_in_place(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    (hi,), (there,) = [
        (await client.post("/tokenize", json={"content": word})).json()["tokens"] for word in ("hi", " there")
    ]
    await ask(client, prompt=["hi", there, "hi"])
    assert engine.requests[-1].prompt_token_ids == (hi, there, hi)


async def test_a_refused_field_has_the_name_that_the_client_used(tmp_path: Path) -> None:
    error = InvalidRequestError("999999 is no token of this model.", param="prompt_token_ids")
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine([error])) as client:
        assert (await refused(client, prompt=[999999]))["param"] == "prompt"


async def test_a_model_without_token_ids_counts_by_its_usage(tmp_path: Path) -> None:
    class Remote(ScriptedEngine):
        async def generate(self, request: GenerationRequest, on_delta: Any = None) -> GenerationResult:
            result = await super().generate(request, on_delta)
            return replace(result, completions=tuple(replace(one, token_ids=()) for one in result.completions))

    async with open_door(DOOR, tmp_path, engine=Remote([TEXT])) as client:
        assert events_of(await client.post(PATH, json={"prompt": "a", "stream": True}))[-1]["tokens_predicted"] == 3
        assert (await ask(client, return_tokens=True))["tokens_predicted"] == 3


async def test_an_object_is_a_prompt_too(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    assert isinstance(await ask(client, prompt={"prompt_string": "from an object"}), dict)
    assert engine.requests[-1].prompt == "from an object"


@pytest.mark.parametrize(
    ("prompt", "n_cmpl", "n_results"),
    [(["a", "b"], 1, 2), (["a", "b"], 2, 4), ("a", 3, 3), ([{"prompt_string": "a"}, "b"], 1, 2)],
    ids=str,
)
async def test_several_completions_are_a_list_in_order(
    client: httpx.AsyncClient, prompt: Any, n_cmpl: int, n_results: int
) -> None:
    results = await ask(client, prompt=prompt, n_cmpl=n_cmpl)
    assert [result["index"] for result in results] == list(range(n_results))
    if n_cmpl == 1:
        texts = [one["prompt_string"] if isinstance(one, dict) else one for one in prompt]
        assert [result["prompt"] for result in results] == texts
    assert all(result["tokens_predicted"] == 3 for result in results)


@pytest.mark.parametrize("prompt", ["a", ["a"], [["a"]], [{"prompt_string": "a"}]], ids=str)
async def test_one_completion_is_no_list_whatever_its_prompt_came_in(client: httpx.AsyncClient, prompt: Any) -> None:
    response = await client.post(PATH, json={"prompt": prompt, "response_fields": ["content"]})
    assert response.json() == {"content": TEXT}


async def test_a_stream_is_new_texts_and_a_last_event_for_each_completion(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"prompt": ["a", "b"], "stream": True})
    events = events_of(response)
    for index in (0, 1):
        *parts, last = [event for event in events if event["index"] == index]
        assert "".join(part["content"] for part in parts) == TEXT
        assert [part["stop"] for part in parts] == [False] * len(parts)
        counts = [part["tokens_predicted"] for part in parts]  # what arrived together travels as one event
        assert (counts, counts[-1]) == (sorted(set(counts)), 3)
        assert sum(len(part["tokens"]) for part in parts) == 3
        assert (last["stop"], last["content"], last["tokens"], last["tokens_predicted"]) == (True, "", [], 3)
        assert last["timings"]["predicted_n"] == 3


async def test_timings_come_with_every_event_when_asked_for(client: httpx.AsyncClient) -> None:
    *parts, _ = events_of(await client.post(PATH, json={"prompt": "a", "stream": True, "timings_per_token": True}))
    assert [part["timings"]["predicted_n"] for part in parts] == [part["tokens_predicted"] for part in parts]
    *parts, _ = events_of(await client.post(PATH, json={"prompt": "a", "stream": True}))
    assert not [part for part in parts if "timings" in part]


async def test_tokens_are_returned_when_asked_for(client: httpx.AsyncClient) -> None:
    body = await ask(client, return_tokens=True)
    assert (await client.post("/detokenize", json={"tokens": body["tokens"][:0]})).json() == {"content": ""}
    assert len(body["tokens"]) == 3


async def test_probabilities_are_logarithms_or_shares(client: httpx.AsyncClient) -> None:
    first = (await ask(client, n_probs=2))["completion_probabilities"][0]
    assert (first["token"], first["bytes"], first["logprob"]) == ("one", list(b"one"), -0.1)
    assert [set(top) for top in first["top_logprobs"]] == [{"id", "token", "bytes", "logprob"}] * 2
    first = (await ask(client, n_probs=2, post_sampling_probs=True))["completion_probabilities"][0]
    assert first["prob"] == pytest.approx(0.904837)
    assert [set(top) for top in first["top_probs"]] == [{"id", "token", "bytes", "prob"}] * 2
    *parts, last = events_of(await client.post(PATH, json={"prompt": "a", "n_probs": 1, "stream": True}))
    assert sum(len(part["completion_probabilities"]) for part in parts) == 3
    assert "completion_probabilities" not in last


async def test_only_the_chosen_members_are_returned(client: httpx.AsyncClient) -> None:
    body = await ask(client, n_predict=2, response_fields=["content", "generation_settings/n_predict", "no/such", "x"])
    assert body == {"content": "one two", "generation_settings/n_predict": 2}


async def test_a_text_is_biased_by_its_tokens(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    tokens = (await client.post("/tokenize", json={"content": "Hello, World!"})).json()["tokens"]
    for bias in ([["Hello, World!", -0.5]], {"Hello, World!": -0.5}):
        await ask(client, logit_bias=bias)
        assert engine.requests[-1].sampling.logit_bias == {str(token): -0.5 for token in tokens}


async def test_a_gap_is_filled(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    fields = {"input_prefix": "def f(", "input_suffix": "return 1", "prompt": "a", "n_predict": 2}
    extra = [{"filename": "b.py", "text": "import c"}]
    response = await client.post("/infill", json={**fields, "input_extra": extra})
    assert response.json()["content"] == "one two"
    gap = engine.requests[-1].infill
    assert gap is not None
    assert (gap.prefix, gap.suffix, gap.middle) == ("def f(", "return 1", "a")
    assert [(file.filename, file.text) for file in gap.extra] == [("b.py", "import c")]
    assert events_of(await client.post("/infill", json={**fields, "stream": True}))[-1]["stop_type"] == "limit"


@pytest.mark.parametrize(("asked", "answered"), [("other", "other"), ("gpt-4o", SCRIPTED_MODEL)])
async def test_an_unknown_model_is_answered_by_the_default(
    client: httpx.AsyncClient, asked: str, answered: str
) -> None:
    assert (await ask(client, model=asked))["model"] == answered
