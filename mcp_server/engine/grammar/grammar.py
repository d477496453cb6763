"""Which GBNF grammar a request asks for: its own, one made of its JSON schema, or any JSON object.

A completion cut by its limit of tokens is no whole JSON; what a grammar cannot force of a schema is told in
`json_grammar`. Validation and asking again are the caller's, who alone knows the budget.
"""

import itertools
import re
from functools import lru_cache
from typing import Any, NamedTuple

from mcp_server.engine.grammar.ambiguity import MAX_WAYS, count_ways
from mcp_server.engine.grammar.json_grammar import json_grammar
from mcp_server.engine.types import SamplingParams
from mcp_server.errors import InvalidRequestError

MAX_GRAMMAR_CHARS = 1 << 18  # characters; parsing and stepping a larger one would stall every stream
MAX_NESTING = 1024  # groups inside groups; the native parser is recursive and a few thousand overflow its stack
COUNTS_KEPT = 32  # grammars whose ways are counted already, remembered with their texts, 8 MB at most
ANY_OBJECT: dict[str, Any] = {"type": "object"}

_LITERALS = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*', re.DOTALL)


class Grammar(NamedTuple):
    """A GBNF grammar with a rule `root`, and what makes it begin."""

    text: str
    triggers: tuple[str, ...] = ()  # regular expressions of `re`; none: it holds from the first token
    allows_hidden: bool = False  # whether control tokens may spell what it asks for, which are no text of a completion


def grammar_of(sampling: SamplingParams) -> Grammar | None:
    """Give the grammar to sample under, or None.

    Raises:
        InvalidRequestError: Both a grammar and JSON are asked for, or one of them cannot be used.
    """
    is_json = sampling.json_mode or sampling.json_schema is not None
    if sampling.grammar is not None and is_json:
        msg = "`grammar` and JSON output exclude each other; leave one of them out."
        raise InvalidRequestError(msg, param="grammar")
    if sampling.grammar is not None:
        return Grammar(_check(sampling.grammar, "grammar"))
    if not is_json:
        return None
    return schema_grammar(ANY_OBJECT if sampling.json_schema is None else sampling.json_schema)


def schema_grammar(schema: dict[str, Any], *, param: str = "json_schema") -> Grammar:
    """Convert a JSON schema that came from the request's field `param`.

    Raises:
        InvalidRequestError: It cannot be expressed.
    """
    try:
        text = json_grammar(schema)
    except RecursionError as error:
        msg = "The JSON schema cannot be used for generation: its parts are nested too deeply. Simplify it."
        raise InvalidRequestError(msg, param=param) from error
    except (TypeError, ValueError, AttributeError) as error:
        msg = f"The JSON schema cannot be used for generation: {error}. Simplify it."
        raise InvalidRequestError(msg, param=param) from error
    return Grammar(_check(text, param))


def mentions_tokens(text: str) -> bool:
    """Tell whether a grammar names tokens by id, as `<[7]>` or `<think>`, instead of characters only."""
    return "<" in _LITERALS.sub("", text)


def _check(grammar: str, param: str) -> str:
    if not grammar.strip():
        msg = "The grammar is empty; give GBNF rules, one of them named `root`."
        raise InvalidRequestError(msg, param=param)
    if len(grammar) > MAX_GRAMMAR_CHARS:
        msg = f"The grammar has {len(grammar)} characters; at most {MAX_GRAMMAR_CHARS} can be used. Simplify it."
        raise InvalidRequestError(msg, param=param)
    if _count_nesting(grammar) > MAX_NESTING:
        msg = f"The grammar nests more than {MAX_NESTING} groups; name the inner ones as rules of their own."
        raise InvalidRequestError(msg, param=param)
    if _count_ways(grammar) > MAX_WAYS:
        msg = (
            f"The grammar holds too many ways open: one letter can make more than {MAX_WAYS} of them. Do not repeat "
            "what may be empty, nor repetitions within repetitions."
        )
        raise InvalidRequestError(msg, param=param)
    return grammar


@lru_cache(maxsize=COUNTS_KEPT)
def _count_ways(grammar: str) -> int:
    """Count once for the many requests of one grammar."""
    return count_ways(grammar)


def _count_nesting(grammar: str) -> int:
    depths = itertools.accumulate({"(": 1, ")": -1}.get(char, 0) for char in _LITERALS.sub("", grammar))
    return max(depths, default=0)
