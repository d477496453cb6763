"""Which GBNF grammar a request asks for: its own, one made of its JSON schema, or any JSON object.

The conversion is llama_cpp's, with two repairs: strings exclude the raw control characters that JSON forbids, and
repetitions that would expand to thousands of rules are refused or dropped. Numeric bounds of a schema are not
expressed: who needs them validates the finished text. Reference: llama.cpp `grammars/README.md`.
"""

import itertools
import json
import re
from typing import Any

from mcp_server.engine.llama import schema_to_grammar
from mcp_server.engine.types import SamplingParams
from mcp_server.errors import InvalidRequestError

MAX_GRAMMAR_CHARS = 1 << 18  # characters; parsing and stepping a larger one would stall every stream
MAX_NESTING = 1024  # groups inside groups; the native parser is recursive and a few thousand overflow its stack
MAX_REPETITIONS = 512  # items or characters; the converter nests one group for each
ANY_OBJECT: dict[str, Any] = {"type": "object"}

# JSON forbids U+0000-U+001F in strings; U+007F is legal, but no program text needs it raw.
STRING_CHAR = r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])'
PATTERN_DOT = r'[^"\\\x00-\x1F\x7F]'
_REPAIRS = {"char": STRING_CHAR, "dot": PATTERN_DOT}

_MAXIMA = ("maxLength", "maxItems")
_MINIMA = ("minLength", "minItems")
_LITERALS = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*', re.DOTALL)
_QUANTIFIER = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


def grammar_of(sampling: SamplingParams) -> str | None:
    """Give the grammar to sample under, or None.

    Raises:
        InvalidRequestError: Both a grammar and JSON are asked for, or one of them cannot be used.
    """
    is_json = sampling.json_mode or sampling.json_schema is not None
    if sampling.grammar is not None and is_json:
        msg = "`grammar` and JSON output exclude each other; leave one of them out."
        raise InvalidRequestError(msg, param="grammar")
    if sampling.grammar is not None:
        return _check_size(sampling.grammar, "grammar")
    if sampling.json_schema is not None:
        return _check_size(_convert(sampling.json_schema), "json_schema")
    return _convert(ANY_OBJECT) if sampling.json_mode else None


def _check_size(grammar: str, param: str) -> str:
    if not grammar.strip():
        msg = "The grammar is empty; give GBNF rules, one of them named `root`."
        raise InvalidRequestError(msg, param=param)
    if len(grammar) > MAX_GRAMMAR_CHARS:
        msg = f"The grammar has {len(grammar)} characters; at most {MAX_GRAMMAR_CHARS} can be used. Simplify it."
        raise InvalidRequestError(msg, param=param)
    if _count_nesting(grammar) > MAX_NESTING:
        msg = f"The grammar nests more than {MAX_NESTING} groups; name the inner ones as rules of their own."
        raise InvalidRequestError(msg, param=param)
    return grammar


def _count_nesting(grammar: str) -> int:
    depths = itertools.accumulate({"(": 1, ")": -1}.get(char, 0) for char in _LITERALS.sub("", grammar))
    return max(depths, default=0)


def _convert(schema: dict[str, Any]) -> str:
    try:
        grammar = schema_to_grammar(_bounded(schema))
    except (AssertionError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        msg = f"The JSON schema cannot be used for generation: {str(error) or type(error).__name__}. Simplify it."
        raise InvalidRequestError(msg, param="json_schema") from error
    return "\n".join(_repair(line) for line in grammar.splitlines())


def _repair(line: str) -> str:
    name, _, _ = line.partition(" ::= ")
    return f"{name} ::= {_REPAIRS[name]}" if name in _REPAIRS else line


def _bounded(schema: Any) -> Any:
    """Copy a schema without the upper bounds that are too large to express.

    Raises:
        InvalidRequestError: A lower bound or a pattern's repetition is too large, which dropping would falsify.
    """
    copy = json.loads(json.dumps(schema))
    stack = [copy]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            _bound(node)
        if isinstance(node, dict | list):
            stack += node.values() if isinstance(node, dict) else node
    return copy


def _bound(node: dict[str, Any]) -> None:
    for key in _MAXIMA:
        if isinstance(node.get(key), int) and node[key] > MAX_REPETITIONS:
            del node[key]
    pattern = node.get("pattern")
    counts = _QUANTIFIER.findall(pattern) if isinstance(pattern, str) else []
    repetitions = [int(text) for pair in counts for text in pair if text]
    repetitions += [node[key] for key in _MINIMA if isinstance(node.get(key), int)]
    if max(repetitions, default=0) > MAX_REPETITIONS:
        msg = f"The JSON schema repeats something {max(repetitions)} times; at most {MAX_REPETITIONS} can be used."
        raise InvalidRequestError(msg, param="json_schema")
