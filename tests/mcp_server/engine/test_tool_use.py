"""Tools with real engines: a call that must be is one of the schema, in every format; one that may be, once begun."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from jsonschema import Draft202012Validator

from mcp_server import engine as engine_package
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.chat.output_parser import Kind, OutputLayout, OutputParser
from mcp_server.engine.chat.reasoning import HARMONY
from mcp_server.engine.chat.tool_formats.catalogue import FORMATS
from mcp_server.engine.chat.tool_formats.format import ToolFormat
from mcp_server.engine.chat.tool_grammar import forced_calls
from mcp_server.engine.types import Delta, GenerationRequest, Message, SamplingParams, TemplateParams, Tool, ToolUse
from mcp_server.errors import InvalidRequestError
from tests.chat_templates import chat_templates
from tests.random_models import make_random_gguf

pytestmark = pytest.mark.anyio

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
SCHEMA = {
    "type": "object",
    "properties": {
        "unit": {"enum": ["c", "f"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 99},
        "where": {"$ref": "#/$defs/point"},
    },
    "required": ["unit", "days"],
    "additionalProperties": False,
    "$defs": {"point": POINT},
}
TOOLS = (Tool("get_weather", "The weather", SCHEMA), Tool("now", "The time"))
EMBEDDED = Path(engine_package.__file__).parent / "embedded" / "cinque-tiny-v0.gguf"
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}
ASK = (Message("user", "What is the weather?"),)
WRITTEN = [one for one in FORMATS if one.writing is not None]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def engine(shared_engine: AsyncEngine) -> AsyncEngine:
    return shared_engine


@pytest.fixture
async def qwen(make_settings: Callable[..., Any], tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """An engine with a template that knows tools and reasoning, and random weights."""
    template = chat_templates()["Qwen-Qwen3-0.6B"]
    model = make_random_gguf(tmp_path / "qwen.gguf", EMBEDDED, chat_template=template, context=4096)
    engine = AsyncEngine(make_settings(model=str(model), kv_cache_tokens=4096))
    yield engine
    await engine.aclose()


def forced(use: ToolUse, **sampling: Any) -> GenerationRequest:
    given = {"max_tokens": 600, "seed": 3, "temperature": 1.0} | sampling
    return GenerationRequest(ASK, n=3, tool_use=use, sampling=SamplingParams(**given))


def assert_valid(name: str, arguments: Any) -> None:
    assert isinstance(arguments, dict)
    Draft202012Validator(SCHEMAS[name] or {"type": "object", "maxProperties": 0}).validate(arguments)


@pytest.mark.parametrize("one", WRITTEN, ids=lambda one: one.name)
async def test_a_forced_call_satisfies_its_schema_in_every_format(engine: AsyncEngine, one: ToolFormat) -> None:
    assert one.writing is not None
    for parallel in (False, True):
        grammar = forced_calls(one.writing, TOOLS, parallel=parallel).text
        sampling = SamplingParams(grammar=grammar, max_tokens=300, temperature=1.0, seed=5)
        result = await engine.generate(GenerationRequest(prompt="def call():", sampling=sampling))
        for completion in result.completions:
            tags = HARMONY if one.name == "harmony" else None
            parser = OutputParser(OutputLayout(tags=tags, formats=(one,), schemas=SCHEMAS))
            segments = parser.feed(completion.text) + parser.finish()
            calls = [call for segment in segments for call in segment.calls]
            is_whole = completion.finish_reason == "stop"
            assert calls
            assert not is_whole or not [one for one in segments if one.kind is Kind.TEXT]
            assert parallel or (is_whole and len(calls) == 1)
            for call in calls:
                assert_valid(call.name, call.arguments)


@pytest.mark.parametrize("name", [None, "now", "get_weather"])
async def test_a_required_call_is_made_and_a_named_one_is_that(engine: AsyncEngine, name: str | None) -> None:
    seen: list[Delta] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        seen.extend(deltas)

    choice: Any = "required" if name is None else "auto"
    result = await engine.generate(forced(ToolUse(TOOLS, choice, name, parallel=False)), on_delta)
    for completion in result.completions:
        (call,) = completion.tool_calls
        assert name in (None, call.name)
        assert (completion.text, completion.finish_reason) == ("", "stop")
        assert call.call_id.startswith("call_")
        assert len(call.call_id) == len("call_") + 24
        assert_valid(call.name, json.loads(call.arguments))
        assert [d.tool_calls[0].arguments for d in seen if d.index == completion.index and d.tool_calls] == [
            call.arguments
        ]


async def test_a_model_that_thinks_may_think_before_a_required_call(qwen: AsyncEngine) -> None:
    properties = await qwen.describe()
    assert (properties.has_native_tools, properties.has_reasoning, properties.can_infill) == (True, True, False)
    use = ToolUse(TOOLS, "required", parallel=False)
    for template in (TemplateParams({"enable_thinking": False}), TemplateParams()):
        result = await qwen.generate(replace(forced(use, max_tokens=300), template=template))
        for completion in result.completions:
            assert completion.text == ""
            assert bool(completion.reasoning) != bool(completion.tool_calls)  # random weights never stop thinking
            assert completion.tool_calls or template == TemplateParams()
            for call in completion.tool_calls:
                assert_valid(call.name, json.loads(call.arguments))


async def test_without_a_choice_tools_are_only_offered(qwen: AsyncEngine) -> None:
    none = await qwen.render(GenerationRequest(ASK, tool_use=ToolUse(TOOLS, "none")))
    plain = await qwen.render(GenerationRequest(ASK))
    auto = await qwen.render(GenerationRequest(ASK, tool_use=ToolUse(TOOLS)))
    assert none == plain
    assert "get_weather" in auto.prompt
    result = await qwen.generate(forced(ToolUse(TOOLS), max_tokens=20))
    assert not any(completion.tool_calls for completion in result.completions)


async def test_tools_that_contradict_themselves_are_refused(engine: AsyncEngine) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await engine.generate(forced(ToolUse(TOOLS, "required"), json_mode=True))
    assert caught.value.param == "tool_choice"
    with pytest.raises(InvalidRequestError, match="forbidden") as caught:
        await engine.generate(forced(ToolUse(TOOLS, "none", name=TOOLS[0].name)))
    assert caught.value.param == "tool_choice"
    bad = Tool("f", "", {"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}})
    with pytest.raises(InvalidRequestError) as caught:
        await engine.generate(forced(ToolUse((bad,), "required")))
    assert caught.value.param == "tools"
    wrong: tuple[dict[str, Any], ...] = ({"properties": []}, {"properties": {}, "required": 5})
    for broken in wrong:
        with pytest.raises(InvalidRequestError, match="schema") as caught:
            await engine.generate(forced(ToolUse((Tool("f", "", broken),))))
        assert caught.value.param == "tools"
    assert (await engine.generate(forced(ToolUse(TOOLS, "none"), json_mode=True))).completions[0].text


async def test_an_answer_of_a_form_or_calls_are_both_possible(engine: AsyncEngine) -> None:
    request = forced(ToolUse(TOOLS), json_schema={"type": "object", "properties": {"a": {"type": "boolean"}}})
    for completion in (await engine.generate(request)).completions:
        assert bool(completion.tool_calls) != bool(completion.text)
        assert completion.tool_calls or json.loads(completion.text).keys() <= {"a"}


async def test_json_comes_after_the_thought(qwen: AsyncEngine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    sampling = SamplingParams(json_schema=schema, max_tokens=200, seed=1, temperature=1.0)
    for template in (TemplateParams({"enable_thinking": False}), TemplateParams()):
        result = await qwen.generate(GenerationRequest(ASK, n=3, sampling=sampling, template=template))
        for completion in result.completions:
            assert bool(completion.reasoning) != bool(completion.text)
            assert completion.reasoning or set(json.loads(completion.text)) == {"a"}
            assert completion.text or template == TemplateParams()


async def test_a_request_with_tools_leaves_nothing_behind_when_it_is_cancelled(engine: AsyncEngine) -> None:
    first = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        first.set()
        await anyio.sleep_forever()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, forced(ToolUse(TOOLS, "required")), on_delta)
            await first.wait()
            group.cancel_scope.cancel()
        await engine.generate(GenerationRequest(ASK, sampling=SamplingParams(max_tokens=1)))
    assert engine.statistics().n_running == 0
