"""What models write, sorted: every format of calls, reasoning, and what only looks like either, cut at any letter."""

import itertools
import random

import pytest

from mcp_server.engine.chat.output_parser import Kind, OutputLayout, OutputParser
from mcp_server.engine.chat.reasoning import HARMONY, ReasoningTags
from mcp_server.engine.chat.tool_formats.catalogue import FENCED, FORMATS, HERMES, PLAIN
from mcp_server.engine.chat.tool_formats.format import ToolFormat

THINK = ReasoningTags("<think>", "</think>")
SCHEMAS = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}},
    },
    "now": {},
}
ROME = ("get_weather", {"city": "Rome, Italy", "days": 3})
NOW: tuple[str, dict[str, object]] = ("now", {})
BY_NAME = {one.name: one for one in FORMATS}
D_OPEN, D_CLOSE = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
D_CALL, D_END = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581call\u2581end\uff5c>"
D_SEP = "<\uff5ctool\u2581sep\uff5c>"
OBJECT = '{"name": "get_weather", "arguments": {"city": "Rome, Italy", "days": 3}}'
ARGUMENTS = '{"city": "Rome, Italy", "days": 3}'

# Each as its models write it, with a second call where the format has several.
WRITTEN = {
    "hermes": f'<tool_call>\n{OBJECT}\n</tool_call>\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>',
    "function-tags": (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nRome, Italy\n</parameter>\n<parameter=days>\n3\n"
        "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>"
    ),
    "seed-tags": (
        "<seed:tool_call>\n<function=get_weather>\n<parameter=city>Rome, Italy</parameter>\n"
        "<parameter=days>3</parameter>\n</function>\n<function=now>\n</function>\n</seed:tool_call>"
    ),
    "argument-pairs": (
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome, Italy</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call><tool_call>now</tool_call>"
    ),
    "argument-pairs-opensource": (
        "<tool_calls:opensource>\n<tool_call:opensource>get_weather<tool_sep:opensource>\n"
        "<arg_key:opensource>city</arg_key:opensource>\n<arg_value:opensource>Rome, Italy</arg_value:opensource>\n"
        "<arg_key:opensource>days</arg_key:opensource>\n<arg_value:opensource>3</arg_value:opensource>\n"
        "</tool_call:opensource>\n<tool_call:opensource>now<tool_sep:opensource>\n</tool_call:opensource>\n"
        "</tool_calls:opensource>"
    ),
    "minimax": (
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Rome, Italy</parameter>\n'
        '<parameter name="days">3</parameter>\n</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>'
    ),
    "dsml-functions": (
        '<\uff5cDSML\uff5cfunction_calls>\n<\uff5cDSML\uff5cinvoke name="get_weather">\n'
        '<\uff5cDSML\uff5cparameter name="city" string="true">Rome, Italy</\uff5cDSML\uff5cparameter>\n'
        '<\uff5cDSML\uff5cparameter name="days" string="false">3</\uff5cDSML\uff5cparameter>\n'
        "</\uff5cDSML\uff5cinvoke>\n"
        '<\uff5cDSML\uff5cinvoke name="now">\n</\uff5cDSML\uff5cinvoke>\n</\uff5cDSML\uff5cfunction_calls>'
    ),
    "atem": (
        '<atem:function_calls>\n<atem:invoke name="get_weather">\n<atem:parameter name="city">Rome, Italy'
        '</atem:parameter>\n<atem:parameter name="days">3</atem:parameter>\n</atem:invoke>\n<atem:invoke name="now">\n'
        "</atem:invoke>\n</atem:function_calls>"
    ),
    "function-attributes": (
        '<function name="get_weather"><param name="city">Rome, Italy</param><param name="days">3</param></function>'
        '<function name="now"></function>'
    ),
    "mistral-named": f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{{}}",
    "mistral-array": f'[TOOL_CALLS] [{OBJECT}, {{"name": "now", "arguments": {{}}, "id": "123456789"}}]',
    "functionary": f"<function=get_weather>{ARGUMENTS}</function><function=now>{{}}</function>",
    "deepseek-fenced": (
        f"{D_OPEN}{D_CALL}function{D_SEP}get_weather\n```json\n{ARGUMENTS}\n```{D_END}\n"
        f"{D_CALL}function{D_SEP}now\n```json\n{{}}\n```{D_END}{D_CLOSE}"
    ),
    "deepseek": f"{D_OPEN}{D_CALL}get_weather{D_SEP}{ARGUMENTS}{D_END}{D_CALL}now{D_SEP}{{}}{D_END}{D_CLOSE}",
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        f"{ARGUMENTS}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{{}}"
        "<|tool_call_end|><|tool_calls_section_end|>"
    ),
    "harmony": (
        f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{ARGUMENTS}<|call|>"
        "<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}<|call|>"
    ),
    "solar": (
        f"<|tool_calls|><|tool_call:begin|>x1<|tool_call:name|>get_weather<|tool_call:args|>{ARGUMENTS}"
        "<|tool_call:end|><|tool_call:begin|>x2<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|>"
    ),
    "apertus": f'<|tools_prefix|>[{{"get_weather": {ARGUMENTS}}}, {{"now": {{}}}}]<|tools_suffix|>',
    "tool-calls-array": f'<tool_calls>[{OBJECT}, {{"name": "now", "arguments": {{}}}}]</tool_calls>',
    "nemotron": f'<TOOLCALL>[{OBJECT}, {{"name": "now", "arguments": {{}}}}]</TOOLCALL>',
    "cohere": (
        f'<|START_ACTION|>[\n    {{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {ARGUMENTS}}},\n'
        '    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>'
    ),
    "granite": f'<|tool_call|>[{OBJECT}, {{"name": "now", "arguments": {{}}}}]',
    "gigachat": f'<|function_call|>{OBJECT}<|function_call|>{{"name": "now", "arguments": {{}}}}',
    "functools": f'functools[{OBJECT}, {{"name": "now", "arguments": {{}}}}]',
    "lfm": '<|tool_call_start|>[get_weather(city="Rome, Italy", days=3), now()]<|tool_call_end|>',
    "gemma": (
        '<|tool_call>call:get_weather{city:<|"|>Rome, Italy<|"|>,days:3}<tool_call|><|tool_call>call:now{}<tool_call|>'
    ),
    "plain-parameters": (
        f'{{"name": "get_weather", "parameters": {ARGUMENTS}}}; {{"name": "now", "parameters": {{}}}}'
    ),
    "plain": f'[{OBJECT}, {{"name": "now", "arguments": {{}}}}]',
    "fenced": f"```json\n{OBJECT}\n```",
}
WRITTEN["dsml-tools"] = WRITTEN["dsml-functions"].replace("function_calls", "tool_calls")

every_or_each = pytest.mark.parametrize(
    "step", [pytest.param(5, id="every fifth letter"), pytest.param(1, id="each letter", marks=pytest.mark.sweep)]
)


def layout_of(*formats: ToolFormat, tags: ReasoningTags | None = None, **changes: object) -> OutputLayout:
    return OutputLayout(tags=tags, formats=formats, schemas=SCHEMAS, **changes)  # type: ignore[arg-type]  # fields of it


def sort(layout: OutputLayout, *pieces: str) -> tuple[str, str, list[tuple[str, dict[str, object]]]]:
    """Give text, reasoning and calls; nothing may be lost on the way."""
    parser = OutputParser(layout)
    segments = [segment for piece in pieces for segment in parser.feed(piece)] + parser.finish()
    if not parser.is_complete:
        assert "".join(segment.raw for segment in segments) == "".join(pieces)
    text = "".join(segment.raw for segment in segments if segment.kind is Kind.TEXT)
    reasoning = "".join(segment.raw for segment in segments if segment.kind is Kind.REASONING)
    return text, reasoning, [(call.name, call.arguments) for segment in segments for call in segment.calls]


def format_named(name: str) -> ToolFormat:
    return FENCED if name == "fenced" else BY_NAME[name]


def test_every_format_has_its_example() -> None:
    assert {*BY_NAME, "fenced"} == set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_calls_are_read_in_every_format(name: str) -> None:
    tags = HARMONY if name == "harmony" else None
    wanted = [ROME] if name == "fenced" else [ROME, NOW]
    assert sort(layout_of(format_named(name), tags=tags), WRITTEN[name]) == ("", "", wanted)


@every_or_each
@pytest.mark.parametrize("name", WRITTEN)
def test_where_tokens_cut_the_output_does_not_matter(name: str, step: int) -> None:
    one = format_named(name)
    before = "" if one.only_at_start else "I will look. < [ "
    tags = HARMONY if name == "harmony" else THINK
    thought = f"{tags.open}\nWhich <function=x> [TOOL_CALLS] city?\n{tags.close}\n\n"
    text = thought + before + WRITTEN[name] + "\n and then\n"
    layout = layout_of(one, tags=tags)
    whole = sort(layout, text)
    assert whole[1] == "Which <function=x> [TOOL_CALLS] city?"
    assert whole[2]
    for at in range(0, len(text), step):
        assert sort(layout, text[:at], text[at:]) == whole
    assert sort(layout, *text) == whole


@pytest.mark.parametrize("name", WRITTEN)
def test_a_call_to_a_function_that_was_not_offered_stays_text(name: str) -> None:
    text = WRITTEN[name].replace("get_weather", "rm_rf").replace("now", "later")
    tags = HARMONY if name == "harmony" else None
    seen, _, calls = sort(layout_of(format_named(name), tags=tags), text)
    assert calls == []
    assert "rm_rf" in seen


@every_or_each
@pytest.mark.parametrize("name", WRITTEN)
def test_an_output_that_ends_at_any_letter_loses_nothing_but_marks(name: str, step: int) -> None:
    layout = layout_of(format_named(name), tags=HARMONY if name == "harmony" else None)
    for at in range(0, len(WRITTEN[name]), step):
        sort(layout, WRITTEN[name][:at])  # asserts inside


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": }}\n</tool_call>',
        "<tool_call>get the weather</tool_call>",
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": "Rome"}</tool_call>',
        '<tool_call>{"name": "get_weather"',
        "<tool_call>" + "[" * 5000 + "]" * 5000,
    ],
)
def test_what_only_looks_like_a_call_stays_text_to_the_letter(text: str) -> None:
    assert sort(layout_of(HERMES, PLAIN, FENCED), text, " more") == (f"{text} more", "", [])


def test_a_call_behind_a_broken_one_is_still_read() -> None:
    good = f"<tool_call>{OBJECT}</tool_call>"
    assert sort(layout_of(HERMES), f"<tool_call>{{]}}</tool_call>{good}") == ("<tool_call>{]}</tool_call>", "", [ROME])


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"name": "Bob", "age": 3}', "[1, 2]", "{ x = 1 }", "```python\nprint()\n```", "[", "{"]
)
def test_json_and_code_that_are_no_calls_stay_text(text: str) -> None:
    assert sort(layout_of(HERMES, PLAIN, FENCED), text) == (text, "", [])


def test_python_that_cannot_be_evaluated_is_no_call() -> None:
    text = "<|tool_call_start|>[get_weather(city={[]})]"  # a set of lists
    assert sort(layout_of(BY_NAME["lfm"]), text) == (text, "", [])


def test_json_in_the_middle_of_an_answer_is_no_call() -> None:
    text = f"For example: {OBJECT}"
    assert sort(layout_of(HERMES, PLAIN, FENCED), text) == (text, "", [])


def test_arguments_with_closing_tags_quotes_and_line_ends_inside_texts_are_whole() -> None:
    city = 'a </tool_call> "b"\\ } \n'
    text = (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "a </tool_call> \\"b\\"\\\\ } \n"}}\n</tool_call>'
    )
    assert sort(layout_of(HERMES), text) == ("", "", [("get_weather", {"city": city})])


def test_values_of_tagged_parameters_follow_the_schema() -> None:
    text = (
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n42\n</parameter>\n<parameter=days>\n42\n</parameter>\n"
        '<parameter=tags>\n["a"]\n</parameter>\n</function>\n</tool_call>'
    )
    assert sort(layout_of(BY_NAME["function-tags"]), text)[2] == [
        ("get_weather", {"city": "42", "days": 42, "tags": ["a"]})
    ]


def test_the_first_format_that_reads_a_shared_mark_wins() -> None:
    both = layout_of(BY_NAME["mistral-named"], BY_NAME["mistral-array"])
    assert sort(both, WRITTEN["mistral-array"]) == sort(both, WRITTEN["mistral-named"]) == ("", "", [ROME, NOW])


def test_reasoning_is_split_off_with_the_white_space_around_it() -> None:
    assert sort(layout_of(tags=THINK), "<think>\nHm, < 3.\n</think>\n\nYes.") == ("Yes.", "Hm, < 3.", [])


def test_output_may_begin_inside_the_reasoning() -> None:
    layout = layout_of(HERMES, tags=THINK, starts_inside=True)
    text = f"\nI could <tool_call>{OBJECT}</tool_call>, no.\n</think>\nNo."
    assert sort(layout, text) == ("No.", f"I could <tool_call>{OBJECT}</tool_call>, no.", [])


def test_reasoning_left_inline_is_text_and_its_calls_are_none() -> None:
    text = f"<think>\n<tool_call>{OBJECT}</tool_call>\n</think>\n\nYes."
    layout = layout_of(HERMES, tags=THINK, keeps_reasoning=True)
    assert sort(layout, text) == (text, "", [])
    assert sort(layout, f"{text}\n<tool_call>{OBJECT}</tool_call>\n") == (text, "", [ROME])


def test_a_tag_in_the_middle_of_an_answer_is_text() -> None:
    text = "The tag <think> begins a thought and </think> ends it."
    assert sort(layout_of(tags=THINK), text) == (text, "", [])


def test_reasoning_that_never_ends_is_reasoning() -> None:
    assert sort(layout_of(tags=THINK), "<think>so </thin") == ("", "so </thin", [])


def test_channels_are_sorted_and_their_marks_swallowed() -> None:
    text = (
        "<|channel|>analysis<|message|>Let me think.<|end|><|start|>assistant<|channel|>commentary<|message|>"
        "I look.<|end|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>"
    )
    layout = layout_of(BY_NAME["harmony"], tags=HARMONY)
    assert sort(layout, text) == ("I look.", "Let me think.", [NOW])
    final = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes."
    assert sort(layout, final) == ("Yes.", "Hm.", [])


def test_one_call_alone_ends_the_output_where_no_more_may_be() -> None:
    for text in (WRITTEN["hermes"], f"<tool_call>[{OBJECT}, {OBJECT}]</tool_call>"):
        parser = OutputParser(layout_of(HERMES, max_calls=1))
        segments = [segment for letter in text for segment in parser.feed(letter)] + parser.finish()
        assert parser.is_complete
        assert [call.name for segment in segments for call in segment.calls] == ["get_weather"]


def test_only_what_could_become_a_mark_is_held_back() -> None:
    parser = OutputParser(layout_of(HERMES, tags=THINK))
    shown = ["".join(segment.raw for segment in parser.feed(piece)) for piece in ("One", " two", "\n", "<", "b>", " .")]
    assert shown == ["One", " two", "", "", "\n<b>", " ."]


def test_random_letters_of_marks_are_cut_anywhere_and_nothing_is_lost() -> None:
    draw = random.Random(11)  # noqa: S311  # a repeatable test
    marks = ["<tool_call>", "</tool_call>", "<think>", "</think>", OBJECT, "[{", "{", '"', "\n", " ", "x", "```json"]
    layouts = [layout_of(HERMES, PLAIN, FENCED, tags=THINK, starts_inside=inside) for inside in (False, True)]
    for layout, _ in itertools.product(layouts, range(150)):
        text = "".join(draw.choices(marks, k=12))
        cuts = sorted(draw.sample(range(len(text) + 1), 4))
        pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        assert sort(layout, *pieces) == sort(layout, text) == sort(layout, *text)
