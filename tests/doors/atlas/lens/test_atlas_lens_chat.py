"""The lens' chat: grounded in a project by its id, cited, within the model's context, and a plain one without."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server.contract import ErrorCode, GenerationRequest, RenderedPrompt, TokenizeRequest, TokenizeResult
from mcp_server.engine.types import ModelProperties
from mcp_server.errors import NotSupportedError
from shim.doors.atlas.lens import DOOR
from tests.doors.official import assert_official, chunks_of
from tests.fakes import SCRIPTED_CONTEXT_TOKENS, Calls, ScriptedEngine
from tests.stack import open_door

CHAT = "/v1/chat/completions"
ANSWER = "It is in `billing.py:1-3`.\n"
FILES = [
    {
        "path": "billing.py",
        "content": "def total_price(items):\n    amounts = [i.price for i in items]\n    return sum(amounts)\n",
    },
    {"path": "notes.md", "content": "# Notes\n\nA price has no tax.\n"},
]
QUESTION = "Where is the total price computed?"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
LONG = [
    {"path": f"m{i}.py", "content": "".join(f"total_price_{i}_{n} = price  # the total price\n" for n in range(60))}
    for i in range(30)
]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine([ANSWER])


@pytest.fixture
async def client(engine: ScriptedEngine, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        yield client


async def sync(client: httpx.AsyncClient, files: list[dict[str, str]] = FILES, key: str = "") -> str:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    response = await client.post("/v1/projects/sync", json={"project_name": "demo", "files": files}, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["project_id"])


async def ask(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post(CHAT, json={"messages": [{"role": "user", "content": QUESTION}], **fields})


def prompt_of(engine: ScriptedEngine) -> str:
    return engine.requests[-1].messages[-1].content


async def test_an_answer_about_a_project_is_official_and_cited(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    response = await ask(client, project_id=await sync(client))
    body = response.json()
    assert_official(body, "CreateChatCompletionResponse")
    assert body["choices"][0]["message"]["content"] == ANSWER
    best = body["citations"][0]
    assert {**best, "score": None} == {"path": "billing.py", "start_line": 1, "end_line": 3, "score": None}
    assert {citation["path"] for citation in body["citations"]} == {"billing.py", "notes.md"}
    prompt = prompt_of(engine)
    assert "### billing.py:1-3 total_price\n```python\ndef total_price(items):" in prompt
    assert prompt.endswith(f"Question:\n{QUESTION}")


async def test_the_citations_of_a_stream_are_in_its_last_chunk(client: httpx.AsyncClient) -> None:
    project = await sync(client)
    whole = (await ask(client, project_id=project)).json()
    for options in (None, {"include_usage": True}):
        response = await ask(client, project_id=project, stream=True, stream_options=options)
        *others, last = chunks_of(response, "CreateChatCompletionStreamResponse")
        assert last["citations"] == whole["citations"]
        assert not any("citations" in chunk for chunk in others)
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in others if c["choices"]) == ANSWER


async def test_without_a_project_it_is_a_chat_like_any_other(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await sync(client)
    whole = (await ask(client)).json()
    assert_official(whole, "CreateChatCompletionResponse")
    assert "citations" not in whole
    assert prompt_of(engine) == QUESTION
    chunks = chunks_of(await ask(client, stream=True), "CreateChatCompletionStreamResponse")
    assert not any("citations" in chunk for chunk in chunks)


@pytest.mark.parametrize("project_id", ["proj_0123456789abcdef", "", "../x", "a b", "x" * 300])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_project_is_a_404(client: httpx.AsyncClient, project_id: str, *, stream: bool) -> None:
    response = await ask(client, project_id=project_id, stream=stream)
    assert response.status_code == 404
    assert (response.json()["code"], response.json()["param"]) == (ErrorCode.COLLECTION_NOT_FOUND, "project_id")


async def test_the_project_of_another_key_is_a_404(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    project = await sync(client, key="mine")
    body = {"messages": [{"role": "user", "content": QUESTION}], "project_id": project}
    for headers, status in (({}, 404), ({"x-api-key": "yours"}, 404), ({"x-api-key": "mine"}, 200)):
        assert (await client.post(CHAT, json=body, headers=headers)).status_code == status
    assert len(engine.requests) == 1


async def test_a_conversation_with_tools_is_grounded_at_its_question(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
    ]
    response = await ask(client, messages=messages, tools=[WEATHER], project_id=await sync(client))
    assert response.json()["citations"]
    request = engine.requests[-1]
    assert [tool.name for tool in request.tool_use.tools] == ["weather"]
    assert [message.content for message in request.messages if message.role != "user"] == ["Be brief.", "", "sunny"]
    assert "### billing.py" in request.messages[1].content


async def test_a_tool_call_is_answered_beside_citations(tmp_path: Path) -> None:
    engine = ScriptedEngine([[Calls("weather", '{"city":"Rome"}')]])
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        body = (await ask(client, tools=[WEATHER], project_id=await sync(client))).json()
    assert_official(body, "CreateChatCompletionResponse")
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert body["citations"]


@pytest.mark.parametrize(
    "messages", [[{"role": "system", "content": "x"}], [{"role": "user", "content": " "}]], ids=str
)
async def test_without_a_question_nothing_is_cited(client: httpx.AsyncClient, messages: list[Any]) -> None:
    assert (await ask(client, messages=messages, project_id=await sync(client))).json()["citations"] == []


async def test_a_project_without_an_answer_leaves_the_question_alone(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    body = (await ask(client, project_id=await sync(client, []))).json()
    assert body["citations"] == []
    assert prompt_of(engine) == QUESTION


@pytest.mark.parametrize("budget", [0, 10, 100, 200])
async def test_the_budget_of_the_request_bounds_the_code(
    client: httpx.AsyncClient, engine: ScriptedEngine, budget: int
) -> None:
    body = (await ask(client, project_id=await sync(client, LONG), context_budget=budget)).json()
    prompt = prompt_of(engine)
    blocks = prompt[prompt.index("###") : prompt.index("Use the pieces")] if body["citations"] else ""
    assert len(blocks) <= budget * 4
    assert bool(body["citations"]) == (budget >= 100)


async def test_the_number_of_results_can_be_asked_for(client: httpx.AsyncClient) -> None:
    project = await sync(client)
    assert len((await ask(client, project_id=project, context_results=1)).json()["citations"]) == 1
    for wrong in (0, 101):
        assert (await ask(client, project_id=project, context_results=wrong)).status_code == 400


async def test_the_settings_bound_what_a_request_leaves_open(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine(), context_results=1) as client:
        assert len((await ask(client, project_id=await sync(client))).json()["citations"]) == 1
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine(), context_budget_tokens=0) as client:
        assert (await ask(client, project_id=await sync(client))).json()["citations"] == []


@pytest.mark.parametrize("max_tokens", [None, 100, 5000])
@pytest.mark.parametrize("n_words", [1, 300, 700, 1000])
async def test_code_shrinks_to_what_the_models_context_leaves(
    client: httpx.AsyncClient, engine: ScriptedEngine, n_words: int, max_tokens: int | None
) -> None:
    messages = [{"role": "user", "content": "total price " * (n_words // 2) + QUESTION}]
    body = (await ask(client, messages=messages, project_id=await sync(client, LONG), max_tokens=max_tokens)).json()
    n_prompt = body["usage"]["prompt_tokens"]
    kept = SCRIPTED_CONTEXT_TOKENS // 4 if max_tokens is None else min(max_tokens, SCRIPTED_CONTEXT_TOKENS // 2)
    if body["citations"]:
        assert n_prompt <= SCRIPTED_CONTEXT_TOKENS - kept
    else:
        assert n_words >= 300
        assert prompt_of(engine) == messages[0]["content"]
    if n_words == 1:
        assert n_prompt >= (SCRIPTED_CONTEXT_TOKENS - kept) // 2, "most of the room is used"


class _Mute(ScriptedEngine):
    """A remote model whose server tells no prompt and counts no tokens, and perhaps not even its context."""

    def __init__(self, context_tokens: int) -> None:
        super().__init__([ANSWER])
        self._context_tokens = context_tokens

    async def describe(self, model: str | None = None) -> ModelProperties:
        return replace(await super().describe(model), context_tokens=self._context_tokens)

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        del request
        msg = "its server does not tell prompts"
        raise NotSupportedError(msg)

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        del request
        msg = "its server does not count tokens"
        raise NotSupportedError(msg)


@pytest.mark.parametrize("context_tokens", [0, 1000, 100_000])
async def test_a_model_that_counts_no_tokens_is_grounded_by_an_estimate(context_tokens: int, tmp_path: Path) -> None:
    engine = _Mute(context_tokens)
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        body = (await ask(client, project_id=await sync(client, LONG))).json()
    assert body["citations"]
    if context_tokens == 1000:
        assert len(prompt_of(engine)) <= 750 * 3 + 200


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_is_told_in_the_envelope_of_the_door(tmp_path: Path, *, stream: bool) -> None:
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine([NotSupportedError("no")])) as client:
        response = await ask(client, project_id=await sync(client), stream=stream)
    assert response.status_code == 501
    assert set(response.json()) == {"detail", "code", "param"}


async def test_the_models_are_listed_in_openais_form(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/models")).json()
    assert_official(body, "ListModelsResponse")
    assert [model["id"] for model in body["data"]] == ["scripted"]


async def test_what_is_said_of_a_fence_survives_json(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    files = [{"path": "price.md", "content": "# Total price\n\n```\n🙂 \\ \u2028 total price\n```\n"}]
    response = await ask(client, project_id=await sync(client, files), stream=True)
    last = json.loads(response.text.split("\n\n")[-3].removeprefix("data: "))
    assert last["citations"][0]["path"] == "price.md"
    assert "🙂 \\ \u2028 total price" in prompt_of(engine)
