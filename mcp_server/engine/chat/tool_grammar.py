"""Grammars of tool calls: whatever a model writes under one of them is a call with arguments of the function's schema.

Three uses: from the first token for a call that must be, after the opening mark for one that may be, and beside the
grammar of an answer. Reasoning before either stays free. Knows nothing of samplers.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcp_server.engine.chat.reasoning import ReasoningTags
from mcp_server.engine.chat.tool_formats.format import ParameterTags, ToolFormat, Writing
from mcp_server.engine.grammar.gbnf import either
from mcp_server.engine.grammar.grammar import Grammar
from mcp_server.engine.grammar.grammar_parts import Gbnf, joined, literal
from mcp_server.engine.types import Tool
from mcp_server.errors import InvalidRequestError

MAX_CALLS = 16  # of one forced answer; a grammar without an end would let a small model call for ever
SPACE = "[ \\n\\t]?"  # between the marks of a JSON object, where models differ


@dataclass(frozen=True)
class Thought:
    """Reasoning that may come before what a grammar describes."""

    tags: ReasoningTags
    is_open: bool  # the prompt opened the block


def forced_calls(writing: Writing, tools: Sequence[Tool], *, parallel: bool, thought: Thought | None = None) -> Grammar:
    """Give the grammar of one call, or of several, with reasoning before it if the model has any."""
    grammar = Gbnf()
    return Grammar(grammar.text(joined(_thought(grammar, thought), _calls(grammar, writing, tools, parallel=parallel))))


def possible_calls(
    one: ToolFormat, tools: Sequence[Tool], *, parallel: bool, thought: Thought | None = None
) -> Grammar | None:
    """Give the grammar that begins where a call is opened, or None where the format has none."""
    if one.writing is None:
        return None
    opening = one.writing.section_open + one.writing.call_open
    marks = [re.escape(mark) for mark in one.marks if opening.startswith(mark)]
    if one.only_at_start:
        names = "|".join(re.escape(json.dumps(tool.name, ensure_ascii=False)) for tool in tools)
        marks = [rf'\{{\s*"{re.escape(one.writing.name_key)}"\s*:\s*(?:{names})']
    if not marks:
        return None
    grammar = Gbnf()
    text = grammar.text(_calls(grammar, one.writing, tools, parallel=parallel))
    return Grammar(text, tuple(_trigger(mark, thought, at_start=one.only_at_start) for mark in marks))


def calls_or_answer(
    writing: Writing, tools: Sequence[Tool], answer: str, *, parallel: bool, thought: Thought | None = None
) -> Grammar:
    """Give the grammar of either calls or an answer of the grammar `answer`."""
    grammar = Gbnf()
    calls = _calls(grammar, writing, tools, parallel=parallel)
    return Grammar(grammar.text(joined(_thought(grammar, thought), either([calls, grammar.embed(answer)]))))


def answer_after_thought(answer: str, thought: Thought) -> Grammar:
    """Give the grammar of reasoning, then an answer of the grammar `answer`."""
    grammar = Gbnf()
    return Grammar(grammar.text(joined(_thought(grammar, thought), grammar.embed(answer))))


def _thought(grammar: Gbnf, thought: Thought | None) -> str:
    """Write the rest of a block that the prompt opened, or a block if the model likes."""
    if thought is None:
        return ""
    tags = thought.tags
    rest = joined(grammar.until(tags.close), "[ \\n]{0,4}", *(f"({literal(drop)})?" for drop in tags.drops))
    return rest if thought.is_open else f"({joined(literal(tags.open), rest)})?"


def _trigger(mark: str, thought: Thought | None, *, at_start: bool) -> str:
    """Write the expression whose group begins a call: not inside a thought, which may speak of calls."""
    gap = r"\s*" if at_start else r"[\s\S]*?"
    if thought is None:
        return rf"\A\s*({mark})" if at_start else f"({mark})"
    close = re.escape(thought.tags.close)
    if thought.is_open:
        return rf"{close}{gap}({mark})"
    return rf"(?:\A(?!\s*{re.escape(thought.tags.open)})|{close}){gap}({mark})"


def _calls(grammar: Gbnf, writing: Writing, tools: Sequence[Tool], *, parallel: bool) -> str:
    bodies = [_body(grammar, writing, tool) for tool in tools]
    one = grammar.rule("call", joined(literal(writing.call_open), either(bodies), literal(writing.call_close)))
    more = f"({joined(literal(writing.between), one)}){{0,{MAX_CALLS - 1}}}" if parallel else ""
    return grammar.rule("calls", joined(literal(writing.section_open), one, more, literal(writing.section_close)))


def _body(grammar: Gbnf, writing: Writing, tool: Tool) -> str:
    if writing.shape == "tagged":
        parameters = _parameters(grammar, writing.parameter, tool) if writing.parameter else ""
        return joined(literal(tool.name + writing.name_end), parameters, literal(writing.body_close))
    arguments = _arguments(grammar, tool)
    name = json.dumps(tool.name, ensure_ascii=False)
    if writing.shape == "named":
        return joined(literal(tool.name + writing.name_end), arguments)
    if writing.shape == "keyed":
        marks = ["{", name, ":"]
    else:
        marks = ["{", json.dumps(writing.name_key), ":", name, ",", json.dumps(writing.arguments_key), ":"]
    return joined(*(f"{literal(mark)} {SPACE}" for mark in marks), arguments, SPACE, literal("}"))


def _arguments(grammar: Gbnf, tool: Tool) -> str:
    if not tool.parameters.get("properties") and tool.parameters.get("additionalProperties") is not True:
        return f"{literal('{')} {SPACE} {literal('}')}"
    return _embedded(grammar, tool.parameters, tool)


def _parameters(grammar: Gbnf, tags: ParameterTags, tool: Tool) -> str:
    """Write the parameters in the order of the schema, those that are not required as the model likes."""
    required = tool.parameters.get("required", [])
    written = []
    for key, schema in tool.parameters.get("properties", {}).items():
        parameter = _parameter(grammar, tags, (key, schema), tool)
        written.append(parameter if key in required else f"({parameter})?")
    return joined(*written)


def _parameter(grammar: Gbnf, tags: ParameterTags, named: tuple[str, Any], tool: Tool) -> str:
    key, schema = named
    is_text = not isinstance(schema, dict) or schema.get("type", "string") == "string"
    opening = tags.open.format(key=key, hint=tags.text_hint if is_text else tags.json_hint)
    if is_text and isinstance(schema, dict) and isinstance(schema.get("enum"), list):
        value = joined(either([literal(str(item)) for item in schema["enum"]]), literal(tags.close))
    elif is_text and not (isinstance(schema, dict) and {"$ref", "anyOf", "oneOf", "allOf", "const"} & schema.keys()):
        value = grammar.until(tags.close)
    else:
        shared = {name: tool.parameters[name] for name in ("$defs", "definitions") if name in tool.parameters}
        value = joined(_embedded(grammar, schema | shared, tool), literal(tags.close))
    return joined(literal(opening), value)


def _embedded(grammar: Gbnf, schema: dict[str, Any], tool: Tool) -> str:
    try:
        return grammar.schema(schema)
    except InvalidRequestError as error:
        msg = f"The parameters of the tool {tool.name!r} cannot be used: {error.message}"
        raise InvalidRequestError(msg, param="tools") from error
