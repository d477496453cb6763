"""Chat at the ATLAS proxy: answers that OpenAI's own schemas accept, and every documented field passed on."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from mcp_server.contract import Message, SamplingParams
from shim.doors.atlas.proxy import DOOR
from tests.fakes import ScriptedEngine
from tests.stack import open_door

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TEXT = "def f():\n    return '🙂'\n"
SCHEMAS = json.loads((Path(__file__).parents[2] / "openai_schemas.json").read_text(encoding="utf-8"))["$defs"]
EMPTY_ATLAS_FIELDS = {"atlas_gx_score", "atlas_verdict", "atlas_sandbox_passed", "atlas_repair_attempt"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def assert_official(value: Any, schema: str) -> None:
    """Check *value* against a component of OpenAI's API document."""
    Draft202012Validator({"$ref": f"#/$defs/{schema}", "$defs": SCHEMAS}).validate(value)


def chunks_of(response: httpx.Response) -> list[dict[str, Any]]:
    """Read a stream to its end; every chunk is an official one."""
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    for chunk in chunks:
        assert_official(chunk, "CreateChatCompletionStreamResponse")
    return chunks


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of this file from one event loop, so that the door is built once."""
    return "asyncio"


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine([TEXT], models=("other",))


@pytest.fixture(scope="module")
async def client(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(DOOR, tmp_path_factory.mktemp("home"), engine=engine, models=("other",)) as client:
        yield client


async def ask(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post(CHAT, json={"messages": HI, **fields})


@pytest.mark.parametrize("path", [CHAT, "/chat/completions"])
async def test_an_answer_is_an_official_chat_completion(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={"messages": HI})
    body = response.json()
    assert_official(body, "CreateChatCompletionResponse")
    (choice,) = body["choices"]
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", TEXT)
    assert (choice["finish_reason"], choice["index"], choice["logprobs"]) == ("stop", 0, None)
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 5


@pytest.mark.parametrize("path", [CHAT, "/chat/completions"])
async def test_a_streamed_answer_is_official_chunks(client: httpx.AsyncClient, path: str) -> None:
    chunks = chunks_of(await client.post(path, json={"messages": HI, "stream": True}))
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert [delta.get("role") for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.get("content", "") for delta in deltas) == TEXT
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert not [chunk for chunk in chunks if chunk.get("usage")]


async def test_an_answer_says_that_nothing_verified_it_and_leaves_out_what_is_empty(client: httpx.AsyncClient) -> None:
    body = (await ask(client)).json()
    assert body["atlas_verification"] == "not_verified"
    assert body["atlas_route"] == "standard"
    assert not EMPTY_ATLAS_FIELDS & set(body)
    *chunks, last = chunks_of(await ask(client, stream=True))
    assert last["atlas_verification"] == "not_verified"
    assert not [chunk for chunk in chunks if "atlas_verification" in chunk]


async def test_usage_comes_last_in_a_stream_when_it_is_asked_for(client: httpx.AsyncClient) -> None:
    whole = (await ask(client)).json()["usage"]
    *chunks, last = chunks_of(await ask(client, stream=True, stream_options={"include_usage": True}))
    assert (last["choices"], last["usage"]) == ([], whole)
    assert all(chunk.get("usage") is None for chunk in chunks)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [({}, "scripted"), ({"model": "other"}, "other"), ({"model": "gpt-4o"}, "scripted"), ({"model": ""}, "scripted")],
    ids=str,
)
async def test_an_unknown_model_is_answered_by_the_default_and_told(
    client: httpx.AsyncClient, asked: dict[str, str], answered: str
) -> None:
    assert (await ask(client, **asked)).json()["model"] == answered
    assert {chunk["model"] for chunk in chunks_of(await ask(client, **asked, stream=True))} == {answered}


async def test_roles_and_content_parts_become_plain_messages(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": ""},
        {"role": "user", "name": "me", "content": parts},
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42", "tool_call_id": "x"},
    ]
    assert (await ask(client, messages=messages)).status_code == 200
    assert engine.requests[-1].messages == (
        Message("system", "be brief"),
        Message("system", ""),
        Message("user", "ab", name="me"),
        Message("assistant", ""),
        Message("tool", "42", tool_call_id="x"),
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 0, "top_p": 0.5, "seed": 7}, {"temperature": 0.0, "top_p": 0.5, "seed": 7}),
        ({"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.5}, {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.5}),
        ({"frequency_penalty": -2, "presence_penalty": 2}, {"frequency_penalty": -2.0, "presence_penalty": 2.0}),
        ({"stop": "END"}, {"stop": ("END",)}),
        ({"stop": ["END", "", "\n"]}, {"stop": ("END", "\n")}),
        ({"stop": []}, {}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"max_completion_tokens": 2, "max_tokens": 3}, {"max_tokens": 2}),
        ({"max_tokens": 0}, {}),
        ({"logit_bias": {"42": -100}}, {"logit_bias": {"42": -100.0}}),
        ({"logprobs": True}, {"n_logprobs": 0}),
        ({"logprobs": True, "top_logprobs": 2}, {"n_logprobs": 2}),
        ({"logprobs": False}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"json_mode": True}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            {"json_schema": SCHEMA},
        ),
        ({"grammar": 'root ::= "a"'}, {"grammar": 'root ::= "a"'}),
        ({"user": "someone", "metadata": {"a": "b"}, "tools": [], "store": False}, {}),
        ({"temperature": None, "stop": None, "n": None, "seed": None, "stream": None, "max_tokens": None}, {}),
    ],
    ids=lambda value: ",".join(value) or "nothing",
)
async def test_a_field_reaches_the_engine(
    client: httpx.AsyncClient, engine: ScriptedEngine, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    response = await ask(client, **fields)
    assert response.status_code == 200, response.text
    assert engine.requests[-1].sampling == SamplingParams(**expected)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"stop": 7}, "stop"),
        ({"stop": [7]}, "stop.0"),
    ],
    ids=str,
)
async def test_a_field_out_of_range_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str) -> None:
    response = await ask(client, **fields)
    assert response.status_code == 400
    assert_official(response.json(), "ErrorResponse")
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [{"type": "function"}]}, "function"),
        ({"top_logprobs": 2}, "needs logprobs"),
        ({"stop": ["x"] * 17}, "the most is 16"),
        ({"response_format": {"type": "json_schema"}}, "needs json_schema"),
    ],
    ids=str,
)
async def test_fields_that_do_not_go_together_are_explained(
    client: httpx.AsyncClient, fields: dict[str, Any], words: str
) -> None:
    response = await ask(client, **fields)
    assert response.status_code == 400
    assert_official(response.json(), "ErrorResponse")
    assert words in response.json()["error"]["message"]


async def test_stop_and_max_tokens_end_the_answer(client: httpx.AsyncClient) -> None:
    stopped = (await ask(client, stop="return")).json()["choices"][0]
    assert (stopped["message"]["content"], stopped["finish_reason"]) == ("def f():\n    ", "stop")
    cut = (await ask(client, max_tokens=2)).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("def f():", "length")
    assert chunks_of(await ask(client, max_tokens=2, stream=True))[-1]["choices"][0]["finish_reason"] == "length"


async def test_several_choices_are_told_apart(client: httpx.AsyncClient) -> None:
    body = (await ask(client, n=3)).json()
    assert_official(body, "CreateChatCompletionResponse")
    assert [(choice["index"], choice["message"]["content"]) for choice in body["choices"]] == [
        (i, TEXT) for i in range(3)
    ]
    chunks = chunks_of(await ask(client, n=3, stream=True))
    ends = [choice["index"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert ends == [0, 1, 2]


async def test_log_probabilities_cover_the_whole_answer(client: httpx.AsyncClient) -> None:
    body = (await ask(client, logprobs=True, top_logprobs=2)).json()
    assert_official(body, "CreateChatCompletionResponse")
    entries = body["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == TEXT
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == TEXT
    assert {len(entry["top_logprobs"]) for entry in entries} == {2}
    chunks = chunks_of(await ask(client, logprobs=True, top_logprobs=2, stream=True))
    streamed = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert [entry for part in streamed for entry in part["content"]] == entries


async def test_an_empty_answer_is_still_an_answer(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine([()])) as client:
        body = (await ask(client)).json()
        assert_official(body, "CreateChatCompletionResponse")
        assert body["choices"][0]["message"]["content"] == ""
        chunks = chunks_of(await ask(client, stream=True))
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("given", [0, -1])
async def test_no_limit_is_said_by_0_and_by_minus_1(
    client: httpx.AsyncClient, engine: ScriptedEngine, given: int
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": given, "top_p": 0}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    assert engine.requests[-1].sampling.max_tokens is None
    assert 0 < engine.requests[-1].sampling.top_p < 0.001
