"""Building GBNF grammars out of parts: literals, schemas as sub-grammars, and "any text up to these letters".

Rules of sub-grammars are renamed, so that any number of them live in one grammar. Knows nothing of tools or models.
Reference: llama.cpp `grammars/README.md`.
"""

import re
from typing import Any

from mcp_server.engine.grammar import gbnf
from mcp_server.engine.grammar.gbnf import Chars
from mcp_server.engine.grammar.grammar import schema_grammar

# Outside of these, a word is the name of a rule.
_OPAQUE = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*|\{[^}\n]*\}|<[^>\n]*>|(?P<name>[A-Za-z][\w-]*)')


class Gbnf:
    """The rules of one grammar, while it is built."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}
        self._n_parts = 0

    def text(self, root: str) -> str:
        """Give the grammar whose root is the expression `root`."""
        lines = [f"root ::= {root}", *(f"{name} ::= {rule}" for name, rule in self._rules.items())]
        return "\n".join(lines) + "\n"

    def rule(self, name: str, expression: str) -> str:
        """Add a rule under a fresh name that begins with `name`; give its name."""
        self._n_parts += 1
        fresh = f"{name}-{self._n_parts}"
        self._rules[fresh] = expression
        return fresh

    def embed(self, grammar: str) -> str:
        """Add a whole grammar, its rules renamed; give the name of its root."""
        self._n_parts += 1
        prefix = f"part{self._n_parts}-"
        renamed = _OPAQUE.sub(lambda match: prefix + match[0] if match["name"] else match[0], grammar)
        for rule in _split_rules(renamed):
            name, _, expression = rule.partition("::=")
            self._rules[name.strip()] = expression.strip()
        return f"{prefix}root"

    def schema(self, schema: dict[str, Any]) -> str:
        """Add JSON of a schema; give the name of its rule.

        Raises:
            InvalidRequestError: The schema cannot be used.
        """
        return self.embed(schema_grammar(schema, param="tools").text)

    def until(self, end: str) -> str:
        """Add any text up to and with the first `end`; give the name of its rule.

        One rule for each letter of `end` that was just met, as in the algorithm of Knuth, Morris and Pratt.
        """
        self._n_parts += 1
        names = [f"until{self._n_parts}-{n}" for n in range(len(end))]
        letters = sorted(set(end))
        others = ~Chars.of((ord(letter), ord(letter)) for letter in letters)
        for n, name in enumerate(names):
            ways = [
                literal(letter) + (f" {names[target]}" if target < len(end) else "")
                for letter in letters
                for target in (_overlap(end[:n] + letter, end),)
            ]
            self._rules[name] = " | ".join([*ways, f"{others} {names[0]}"])
        return names[0]


def literal(text: str) -> str:
    """Write a text as a literal; nothing for the empty text."""
    return gbnf.literal(text) if text else ""


def joined(*parts: str) -> str:
    """Write parts in a row, empty ones left out."""
    return " ".join(part for part in parts if part)


def _overlap(text: str, end: str) -> int:
    """Count the letters at the end of `text` that begin `end`."""
    return next(n for n in range(min(len(text), len(end)), -1, -1) if text.endswith(end[:n]))


def _split_rules(grammar: str) -> list[str]:
    """Split a grammar at its rules; an expression may go over several lines."""
    rules: list[str] = []
    for line in grammar.splitlines():
        if "::=" in _OPAQUE.sub(lambda match: match[0] if match["name"] else "", line):
            rules.append(line)
        elif rules:
            rules[-1] += "\n" + line
    return rules
