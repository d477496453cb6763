"""Tools and reasoning at the ATLAS proxy: what a client sends reaches the engine, and answers are OpenAI's own."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mcp_server.contract import Message, OutputParams, TemplateParams, Tool, ToolCall, ToolUse
from shim.doors.atlas.proxy import DOOR
from tests.doors.official import assert_official
from tests.fakes import Calls, Reply, ScriptedEngine, Thinks
from tests.stack import open_door

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "W", "parameters": SCHEMA}}
NOW = {"type": "function", "function": {"name": "now"}}
TOOLS = (Tool("weather", "W", SCHEMA), Tool("now"))
ROME = Calls("weather", '{"city": "Rome"}')
TIME = Calls("now")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine([Reply((Thinks("Hm, "), Thinks("well."), "I ", "look.", ROME, TIME)), Reply((ROME,))])


@pytest.fixture
def rewound(engine: ScriptedEngine) -> ScriptedEngine:
    engine.rewind()
    return engine


@pytest.fixture(scope="module")
async def client(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(DOOR, tmp_path_factory.mktemp("home"), engine=engine) as client:
        yield client


async def ask(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await client.post(CHAT, json={"messages": HI, **fields})


def entry(call: Calls) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": str(call)}}


pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("rewound")]


async def test_an_answer_with_text_reasoning_and_calls_is_an_official_one(client: httpx.AsyncClient) -> None:
    body = (await ask(client, tools=[WEATHER, NOW])).json()
    assert_official(body, "CreateChatCompletionResponse")
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "I look.",
        "refusal": None,
        "reasoning_content": "Hm, well.",
        "tool_calls": [entry(ROME), entry(TIME)],
    }


async def test_content_is_null_beside_calls_alone(client: httpx.AsyncClient) -> None:
    await ask(client)
    message = (await ask(client, tools=[WEATHER])).json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [entry(ROME)]}


async def test_chunks_accumulate_to_the_whole_answer_as_the_clients_do_it(client: httpx.AsyncClient) -> None:
    response = await ask(client, tools=[WEATHER, NOW], stream=True)
    *events, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    calls: dict[int, dict[str, Any]] = {}
    texts = {"content": "", "reasoning_content": ""}
    for chunk in chunks:
        assert_official(chunk, "CreateChatCompletionStreamResponse")
        delta = chunk["choices"][0]["delta"]
        for name in texts:
            texts[name] += delta.get(name) or ""
        for call in delta.get("tool_calls", ()):
            made = calls.setdefault(call["index"], {"function": {"name": "", "arguments": ""}})
            made |= {name: call[name] for name in ("id", "type") if name in call}
            for name in call["function"]:
                made["function"][name] += call["function"][name]
    assert texts == {"content": "I look.", "reasoning_content": "Hm, well."}
    assert [calls[index] for index in sorted(calls)] == [entry(ROME), entry(TIME)]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"][0]["finish_reason"]] == [
        "tool_calls"
    ]


@pytest.mark.parametrize(
    ("fields", "use"),
    [
        ({}, ToolUse()),
        ({"tools": [WEATHER, NOW]}, ToolUse(TOOLS)),
        ({"tools": [WEATHER, NOW], "tool_choice": "none"}, ToolUse(TOOLS, "none")),
        ({"tools": [WEATHER, NOW], "tool_choice": "required"}, ToolUse(TOOLS, "required")),
        ({"tools": [WEATHER, NOW], "tool_choice": NOW}, ToolUse(TOOLS, name="now")),
        ({"tools": [WEATHER, NOW], "parallel_tool_calls": False}, ToolUse(TOOLS, parallel=False)),
        (
            {
                "tools": [WEATHER, NOW],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NOW]}},
            },
            ToolUse((Tool("now"),), "required"),
        ),
        ({"functions": [WEATHER["function"]], "function_call": "auto"}, ToolUse(TOOLS[:1])),
        (
            {"functions": [WEATHER["function"]], "function_call": {"name": "weather"}},
            ToolUse(TOOLS[:1], name="weather"),
        ),
    ],
    ids=str,
)
async def test_what_may_be_called_reaches_the_engine(
    client: httpx.AsyncClient, engine: ScriptedEngine, fields: dict[str, Any], use: ToolUse
) -> None:
    assert (await ask(client, **fields)).status_code == 200
    assert engine.requests[-1].tool_use == use


async def test_calls_and_their_results_in_messages_reach_the_engine(
    client: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    called = {"name": "weather", "arguments": {"city": "Rome"}}
    messages = [
        *HI,
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [entry(ROME)]},
        {"role": "tool", "tool_call_id": ROME.call_id, "content": "sunny"},
        {"role": "assistant", "tool_calls": [{"id": "a1", "type": "function", "function": called}]},
        {"role": "tool", "tool_call_id": "a1", "content": [{"type": "text", "text": "rain"}]},
        {"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": "{}"}},
        {"role": "function", "name": "now", "content": "noon"},
    ]
    assert (await ask(client, messages=messages)).status_code == 200
    assert engine.requests[-1].messages[1:] == (
        Message("assistant", "", reasoning="Hm.", tool_calls=(ToolCall(ROME.call_id, "weather", str(ROME)),)),
        Message("tool", "sunny", tool_call_id=ROME.call_id),
        Message("assistant", "", tool_calls=(ToolCall("a1", "weather", '{"city": "Rome"}'),)),
        Message("tool", "rain", tool_call_id="a1"),
        Message("assistant", "", tool_calls=(ToolCall("function-now", "now", "{}"),)),
        Message("tool", "noon", tool_call_id="function-now", name="now"),
    )


async def test_options_of_the_template_reach_the_engine(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await ask(
        client,
        messages=[*HI, {"role": "assistant", "content": "Well"}],
        chat_template_kwargs={"enable_thinking": False},
        reasoning_effort="low",
        continue_final_message=True,
        reasoning_format="none",
    )
    request = engine.requests[-1]
    variables = {"enable_thinking": False, "reasoning_effort": "low"}
    assert request.template == TemplateParams(variables, continue_final_message=True)
    assert request.output == OutputParams(reasoning="inline")


async def test_no_effort_is_no_thinking(client: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await ask(client, messages=HI, reasoning_effort="none")
    assert engine.requests[-1].template == TemplateParams({"enable_thinking": False})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"tools": [NOW], "tool_choice": "sometimes"}, "tool_choice"),
        ({"messages": [{"role": "user", "content": "hi", "tool_calls": [entry(ROME)]}]}, "messages"),
        ({"chat_template_kwargs": "yes"}, "chat_template_kwargs"),
    ],
    ids=str,
)
async def test_tools_that_cannot_be_used_are_a_400(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    response = await ask(client, **fields)
    assert response.status_code == 400
    assert_official(response.json(), "ErrorResponse")
    assert str(response.json()["error"]["param"]).startswith(param)
