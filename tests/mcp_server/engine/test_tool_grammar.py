"""Grammars of calls, letter by letter: what a model may write next, when they begin, and how their parts are built."""

from typing import Any

import pytest

from mcp_server.engine.chat.reasoning import ReasoningTags
from mcp_server.engine.chat.tool_formats.catalogue import FORMATS, HERMES
from mcp_server.engine.chat.tool_formats.format import ToolFormat
from mcp_server.engine.chat.tool_grammar import (
    Thought,
    answer_after_thought,
    calls_or_answer,
    forced_calls,
    possible_calls,
)
from mcp_server.engine.grammar.grammar import Grammar
from mcp_server.engine.grammar.grammar_parts import Gbnf, joined, literal
from mcp_server.engine.grammar.grammar_state import GrammarState
from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.sampling.candidates import candidates_of
from mcp_server.engine.types import Tool
from mcp_server.errors import InvalidRequestError
from tests.llama_source import vocabulary

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["days"],
    "additionalProperties": False,
}
TOOLS = (Tool("get_weather", "", SCHEMA), Tool("now"))
BY_NAME = {one.name: one for one in FORMATS}
THINK = ReasoningTags("<think>", "</think>")
GOOD = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


@pytest.fixture(scope="module")
def words() -> Vocabulary:
    params: Any = native.llama_model_default_params()
    params.vocab_only = True
    return Vocabulary(native.llama_model_load_from_file(str(vocabulary("llama-bpe")).encode(), params))


def follow(words: Vocabulary, grammar: Grammar, text: str) -> tuple[str, bool]:
    """Give as much of a text as the grammar allows, one byte after the other, and whether it may end there."""
    state = GrammarState(words, candidates_of(words), grammar, param="grammar")
    allowed = b""
    for byte in text.encode():
        (token,) = words.encode(chr(byte), is_prompt=False) if byte < 128 else (None,)
        if token is None or not state.allows(token):
            break
        state.accept(token)
        allowed += bytes([byte])
    may_end = state.allows(words.end_tokens[0])
    state.close()
    return allowed.decode(), may_end


def accepts(words: Vocabulary, grammar: Grammar, text: str) -> bool:
    return follow(words, grammar, text) == (text, True)


def possible(one: ToolFormat, **changes: Any) -> Grammar:
    grammar = possible_calls(one, TOOLS, parallel=changes.pop("parallel", True), **changes)
    assert grammar is not None
    return grammar


def test_any_text_is_allowed_up_to_the_end_that_it_waits_for(words: Vocabulary) -> None:
    for end in ("</p>", "aab", "\n\n--", "]"):
        grammar = Gbnf()
        whole = Grammar(grammar.text(joined(grammar.until(end), literal("!"))))
        for text in ("", "a", "aa", "<</p", "\n", "\n\n-", "-^\\["):
            assert accepts(words, whole, f"{text}{end}!"), (end, text)
        assert follow(words, whole, f"x{end}x") == (f"x{end}", False)


def test_a_literal_may_have_any_letter(words: Vocabulary) -> None:
    for text in ("\b\f\x01", 'a"\\b', "[x]\t\r\n"):
        assert accepts(words, Grammar(f"root ::= {literal(text)}"), text)


def test_parts_keep_their_rules_apart(words: Vocabulary) -> None:
    grammar = Gbnf()
    one = grammar.embed('root ::= item "," item # a comment with root\nitem ::= "root" | [item]\n')
    other = grammar.embed('root ::= item\nitem ::= [0-9] |\n  "x"\n')
    whole = Grammar(grammar.text(joined(one, literal(";"), other)))
    assert accepts(words, whole, "root,i;7")
    assert accepts(words, whole, "m,root;x")
    assert not accepts(words, whole, "7,i;7")


def test_a_forced_call_begins_at_once_and_is_one_or_several(words: Vocabulary) -> None:
    assert HERMES.writing is not None
    one = forced_calls(HERMES.writing, TOOLS, parallel=False)
    several = forced_calls(HERMES.writing, TOOLS, parallel=True)
    assert accepts(words, one, GOOD)
    assert not accepts(words, one, f"{GOOD}\n{GOOD}")
    assert accepts(words, several, f"{GOOD}\n{GOOD}")
    assert follow(words, one, "Sure") == ("", False)
    wrong = '<tool_call>\n{"name": "get_weather", "arguments": {"days": "3'
    assert follow(words, one, wrong)[0] == wrong.removesuffix('"3')


def test_arguments_in_tags_follow_the_schema(words: Vocabulary) -> None:
    writing = BY_NAME["function-tags"].writing
    assert writing is not None
    grammar = forced_calls(writing, TOOLS, parallel=False)
    city = "<parameter=city>\nRome <3\n</parameter>\n"
    days = "<parameter=days>\n{}\n</parameter>\n"
    opening, closing = "<tool_call>\n<function=get_weather>\n", "</function>\n</tool_call>"
    assert accepts(words, grammar, opening + city + days.format(3) + closing)
    assert accepts(words, grammar, opening + days.format(3) + closing)
    assert not accepts(words, grammar, opening + city + closing)
    assert not accepts(words, grammar, opening + days.format("three") + closing)
    assert accepts(words, grammar, f"<tool_call>\n<function=now>\n{closing}")


def test_a_possible_call_is_free_until_its_mark_and_held_behind_it(words: Vocabulary) -> None:
    grammar = possible(HERMES)
    assert accepts(words, grammar, "No call, but { and <tool.")
    assert accepts(words, grammar, f"I look.\n{GOOD}")
    assert follow(words, grammar, "I look.\n<tool_call>x")[0] == "I look.\n<tool_call>"
    assert follow(words, grammar, f"{GOOD} and more")[0] == GOOD


def test_a_mark_inside_a_thought_begins_nothing(words: Vocabulary) -> None:
    thought = Thought(THINK, is_open=False)
    musing = "<think>I could <tool_call>x.</think>"
    for grammar, text in (
        (possible(HERMES, thought=thought), musing),
        (possible(HERMES, thought=Thought(THINK, is_open=True)), musing.removeprefix("<think>")),
    ):
        assert accepts(words, grammar, text)
        assert accepts(words, grammar, f"{text}\n\n{GOOD}")
        assert follow(words, grammar, f"{text}<tool_call>x")[0] == f"{text}<tool_call>"
    assert follow(words, possible(HERMES, thought=thought), "<tool_call>x")[0] == "<tool_call>"


def test_json_is_held_to_a_call_only_once_it_names_a_function(words: Vocabulary) -> None:
    grammar = possible(BY_NAME["plain-parameters"])
    assert accepts(words, grammar, '{"name": "Bob"}')
    assert accepts(words, grammar, '{"name": "now", "parameters": {}}')
    assert follow(words, grammar, '{"name": "now", "x"')[0] == '{"name": "now", "'
    assert accepts(words, grammar, 'Say {"name": "now", "x": 1}')


def test_formats_without_a_grammar_leave_calls_free() -> None:
    assert possible_calls(BY_NAME["lfm"], TOOLS, parallel=True) is None


def test_a_thought_may_come_first(words: Vocabulary) -> None:
    assert HERMES.writing is not None
    answer = 'root ::= "yes"\n'
    closed, opened = Thought(THINK, is_open=False), Thought(THINK, is_open=True)
    after = answer_after_thought(answer, closed)
    assert accepts(words, after, "yes")
    assert accepts(words, after, "<think>no </thin or</think>\n\nyes")
    assert follow(words, after, "<think>no</think>no")[0] == "<think>no</think>"
    assert accepts(words, answer_after_thought(answer, opened), "so</think>yes")
    either = calls_or_answer(HERMES.writing, TOOLS, answer, parallel=True, thought=opened)
    assert accepts(words, either, f"so</think>\n{GOOD}")
    assert accepts(words, either, "so</think>yes")


def test_a_schema_that_cannot_be_used_names_the_tool() -> None:
    assert HERMES.writing is not None
    bad = Tool("broken", "", {"type": "object", "properties": {"x": {"$ref": "#/nowhere"}}})
    with pytest.raises(InvalidRequestError, match="'broken'") as caught:
        forced_calls(HERMES.writing, (bad,), parallel=True)
    assert caught.value.param == "tools"
