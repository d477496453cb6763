"""OpenAI's endpoints at the llama-server door: official answers, with what llama.cpp's server adds."""

import base64
import math
import struct
from typing import Any

import httpx
import pytest

from mcp_server.contract import Completion, EmbeddingRequest, GenerationRequest, GenerationResult, TokenLogprob
from shim.dialects.llama_sampling import DEFAULTS
from shim.dialects.openai_embeddings import normalized
from shim.doors.atlas.llama import DOOR
from tests.doors.official import assert_official, chunks_of
from tests.fakes import EMBEDDING_DIMENSIONS, SCRIPTED_MODEL, ScriptedEngine
from tests.stack import open_door

TEXT = "one two\nthree"
HI = [{"role": "user", "content": "hi"}]
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


async def ask(client: httpx.AsyncClient, path: str = COMPLETIONS, **fields: Any) -> Any:
    given = {CHAT: {"messages": HI}, COMPLETIONS: {"prompt": "hi there"}, EMBEDDINGS: {"input": "hi there"}}[path]
    response = await client.post(path, json=given | fields)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("path", [CHAT, "/chat/completions"])
async def test_a_chat_answer_is_official_and_has_timings(client: httpx.AsyncClient, path: str) -> None:
    body = (await client.post(path, json={"messages": HI})).json()
    assert_official(body, "CreateChatCompletionResponse")
    assert body["choices"][0]["message"]["content"] == TEXT
    assert body["timings"]["predicted_n"] == 3
    assert "draft_n" not in body["timings"]


async def test_a_streamed_chat_is_official_and_ends_with_timings(client: httpx.AsyncClient) -> None:
    fields = {"messages": HI, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = chunks_of(await client.post(CHAT, json=fields), "CreateChatCompletionStreamResponse")
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == TEXT
    assert (last["choices"], last["usage"]["completion_tokens"], last["timings"]["predicted_n"]) == ([], 3, 3)
    assert not [chunk for chunk in chunks if "timings" in chunk]
    assert {chunk["model"] for chunk in chunks} == {SCRIPTED_MODEL}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_timings_come_with_every_chunk_when_asked_for(client: httpx.AsyncClient, path: str) -> None:
    given = {"messages": HI} if path == CHAT else {"prompt": "hi"}
    schema = "CreateChatCompletionStreamResponse" if path == CHAT else "CreateCompletionResponse"
    response = await client.post(path, json={**given, "stream": True, "timings_per_token": True})
    *chunks, last = chunks_of(response, schema)
    counts = [chunk["timings"]["predicted_n"] for chunk in chunks]
    assert (counts, counts[-1], last["timings"]["predicted_n"]) == (sorted(counts), 3, 3)


async def test_chat_takes_the_options_of_llama_cpp(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await ask(client, CHAT)
    assert engine.requests[-1].sampling == DEFAULTS
    await ask(client, CHAT, mirostat=2, typical_p=0.5, samplers=["temperature"], cache_prompt=False, seed=-1, n_probs=2)
    sampling = engine.requests[-1].sampling
    assert (sampling.mirostat, sampling.typical_p, sampling.top_k, sampling.seed) == (2, 1.0, 0, None)
    assert sampling.n_logprobs == 2
    assert engine.requests[-1].scheduling.cache_prompt is False


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_object", "schema": SCHEMA},
    ],
    ids=" ".join,
)
async def test_a_schema_is_taken_in_all_three_forms(
    client: httpx.AsyncClient, engine: ScriptedEngine, response_format: dict[str, Any]
) -> None:
    await ask(client, CHAT, response_format=response_format)
    assert engine.requests[-1].sampling.json_schema == SCHEMA
    assert not engine.requests[-1].sampling.json_mode


async def test_a_completion_is_official(client: httpx.AsyncClient) -> None:
    body = await ask(client)
    assert_official(body, "CreateCompletionResponse")
    assert body["choices"] == [{"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["total_tokens"] == 2 + 3
    assert body["timings"]["prompt_n"] == 2


async def test_a_streamed_completion_is_official(client: httpx.AsyncClient) -> None:
    fields = {"prompt": "hi", "stream": True, "max_tokens": 2}
    chunks = chunks_of(await client.post(COMPLETIONS, json=fields), "CreateCompletionResponse")
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "one two"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "length"
    assert len({(chunk["id"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[-1]["timings"]["predicted_n"] == 2
    fields["stream_options"] = {"include_usage": True}
    last = chunks_of(await client.post(COMPLETIONS, json=fields), "CreateCompletionResponse")[-1]
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)


@pytest.mark.parametrize("prompt", [["a", "b"], [[1, 2], [3]], ["a", [1]]], ids=str)
async def test_each_prompt_has_its_choices(client: httpx.AsyncClient, prompt: Any) -> None:
    body = await ask(client, prompt=prompt, n=2)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    chunks = chunks_of(
        await client.post(COMPLETIONS, json={"prompt": prompt, "n": 2, "stream": True}), "CreateCompletionResponse"
    )
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1, 2, 3}


async def test_a_flat_list_of_tokens_is_one_prompt(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    assert len((await ask(client, prompt=[1, 2, 3]))["choices"]) == 1
    assert engine.requests[-1].prompt_token_ids == (1, 2, 3)


async def test_a_suffix_makes_a_gap(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await ask(client, prompt="def f(", suffix="return 1")
    gap = engine.requests[-1].infill
    assert gap is not None
    assert (gap.prefix, gap.suffix) == ("def f(", "return 1")


async def test_an_echo_begins_with_the_prompt(client: httpx.AsyncClient) -> None:
    assert (await ask(client, echo=True))["choices"][0]["text"] == "hi there" + TEXT
    (choice,) = (await ask(client, echo=True, max_tokens=0))["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("hi there", "length")
    body = await ask(client, max_tokens=0)
    assert (body["choices"][0]["text"], body["usage"]["completion_tokens"]) == ("", 0)


async def test_a_stream_of_no_tokens_is_its_echo(client: httpx.AsyncClient) -> None:
    fields = {"prompt": "hi there", "stream": True, "max_tokens": 0, "stream_options": {"include_usage": True}}
    for echo, text in ((True, "hi there"), (False, "")):
        response = await client.post(COMPLETIONS, json={**fields, "echo": echo})
        only, usage = chunks_of(response, "CreateCompletionResponse")
        assert (only["choices"][0]["text"], only["choices"][0]["finish_reason"]) == (text, "length")
        assert usage["usage"]["completion_tokens"] == 0


async def test_log_probabilities_are_parallel_lists(client: httpx.AsyncClient) -> None:
    body = await ask(client, logprobs=2)
    assert_official(body, "CreateCompletionResponse")
    logprobs = body["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["one", " two", "\nthree"]
    assert logprobs["text_offset"] == [0, 3, 7]
    assert logprobs["token_logprobs"] == [-0.1] * 3
    assert [len(top) for top in logprobs["top_logprobs"]] == [2] * 3
    assert (await ask(client, logprobs=0))["choices"][0]["logprobs"]["top_logprobs"] == [{}] * 3


class Ranked(ScriptedEngine):
    """Answers with completions of rising likelihood."""

    async def generate(self, request: GenerationRequest, on_delta: Any = None) -> GenerationResult:
        del on_delta
        self.requests.append(request)
        played = await super().generate(request)
        completions = tuple(
            Completion(i, f"text {i}", "stop", (TokenLogprob("x", 1, i - 9.0),)) for i in range(request.n)
        )
        return GenerationResult(played.model, completions, played.usage, played.timings)


async def test_the_likeliest_of_best_of_are_returned(tmp_path: Any) -> None:
    engine = Ranked()
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        body = await ask(client, best_of=4, n=2)
    assert [choice["text"] for choice in body["choices"]] == ["text 3", "text 2"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert body["choices"][0]["logprobs"] is None
    assert engine.requests[0].n == 4


@pytest.mark.parametrize(
    ("path", "fields", "word"),
    [
        (COMPLETIONS, {"best_of": 1, "n": 2}, "best_of"),
        (COMPLETIONS, {"best_of": 3, "stream": True}, "best_of"),
        (COMPLETIONS, {"suffix": "x", "prompt": [1, 2]}, "suffix"),
        (COMPLETIONS, {"suffix": "x", "echo": True}, "echo"),
        (COMPLETIONS, {"n": 0}, "n"),
        (COMPLETIONS, {"logprobs": 21}, "logprobs"),
        (EMBEDDINGS, {"dimensions": EMBEDDING_DIMENSIONS + 1}, "dimensions"),
        (EMBEDDINGS, {"encoding_format": "hex"}, "encoding_format"),
        (EMBEDDINGS, {"input": []}, "empty"),
        (EMBEDDINGS, {"input": [""]}, "embed"),
        (EMBEDDINGS, {"input": ["x"] * 2049}, "2049"),
        (CHAT, {"lora": [{"id": 0, "scale": 1}]}, "lora"),
        (CHAT, {"reasoning_control": True}, "reasoning_control"),
        (CHAT, {"parse_tool_calls": False}, "parse_tool_calls"),
        (CHAT, {"generation_prompt": "<think>"}, "generation_prompt"),
    ],
    ids=str,
)
async def test_what_cannot_be_honoured_is_refused(
    client: httpx.AsyncClient, path: str, fields: dict[str, Any], word: str
) -> None:
    given = {CHAT: {"messages": HI}, COMPLETIONS: {"prompt": "hi"}, EMBEDDINGS: {"input": "hi"}}[path]
    response = await client.post(path, json=given | fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert word in error["message"]
    assert_official({"error": error | {"code": str(error["code"])}}, "ErrorResponse")  # a number here, as documented


async def test_embeddings_are_official(client: httpx.AsyncClient) -> None:
    body = await ask(client, EMBEDDINGS)
    assert_official(body, "CreateEmbeddingResponse")
    (entry,) = body["data"]
    assert math.hypot(*entry["embedding"]) == pytest.approx(1)
    assert body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_embeddings_in_base64_are_the_same_numbers(client: httpx.AsyncClient) -> None:
    plain = (await ask(client, EMBEDDINGS, encoding_format="float"))["data"][0]["embedding"]
    coded = (await ask(client, EMBEDDINGS, encoding_format="base64"))["data"][0]["embedding"]
    assert struct.unpack(f"<{len(plain)}f", base64.b64decode(coded)) == pytest.approx(plain)


async def test_shorter_embeddings_have_length_1_again(client: httpx.AsyncClient) -> None:
    whole = (await ask(client, EMBEDDINGS, input="a b c d e f g"))["data"][0]["embedding"]
    short = (await ask(client, EMBEDDINGS, input="a b c d e f g", dimensions=4))["data"][0]["embedding"]
    assert short == pytest.approx(normalized(whole[:4], 2))


@pytest.mark.parametrize(
    ("given", "texts", "token_ids"),
    [
        (["a", "b"], ("a", "b"), ()),
        ([1, 2], (), ((1, 2),)),
        ([[1, 2], [3]], (), ((1, 2), (3,))),
    ],
    ids=str,
)
async def test_texts_and_tokens_are_embedded_in_order(
    client: httpx.AsyncClient, engine: ScriptedEngine, given: Any, texts: Any, token_ids: Any
) -> None:
    body = await ask(client, EMBEDDINGS, input=given)
    assert [entry["index"] for entry in body["data"]] == list(range(len(texts or token_ids)))
    assert engine.embedding_requests[-1] == EmbeddingRequest(texts, None, token_ids=token_ids)


async def test_many_texts_are_embedded_in_several_calls_and_keep_their_order(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    n_before = len(engine.embedding_requests)
    texts = [f"text {i}" for i in range(300)]
    body = await ask(client, EMBEDDINGS, input=texts)
    assert len(engine.embedding_requests) - n_before == 3
    single = await ask(client, EMBEDDINGS, input=texts[299])
    assert body["data"][299]["embedding"] == single["data"][0]["embedding"]
    assert body["usage"]["prompt_tokens"] == 600
