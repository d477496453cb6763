"""Pieces of GBNF, llama.cpp's grammar notation: literals, sets of characters, repetitions, and a set of named rules.

Knows nothing of JSON or of requests. Reference: llama.cpp `grammars/README.md`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

MAX_RULES = 20_000  # of one grammar; a schema that needs more is refused before it fills memory
LAST_CHAR = 0x10FFFF

Span = tuple[int, int]  # first and last code point


@dataclass(frozen=True)
class Chars:
    """A set of characters, as spans that are sorted and apart."""

    spans: tuple[Span, ...]

    @classmethod
    def of(cls, spans: Iterable[Span]) -> "Chars":
        """Sort spans and join those that touch."""
        joined: list[Span] = []
        for first, last in sorted(spans):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        return cls(tuple(joined))

    def __invert__(self) -> "Chars":
        edges = [-1, *(edge for span in self.spans for edge in span), LAST_CHAR + 1]
        gaps = zip(edges[::2], edges[1::2], strict=True)
        return Chars.of((before + 1, after - 1) for before, after in gaps if before + 1 <= after - 1)

    def __and__(self, other: object) -> "Chars":
        if not isinstance(other, Chars):
            return NotImplemented
        pairs = ((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans)
        return Chars.of((first, last) for first, last in pairs if first <= last)

    def __contains__(self, code: object) -> bool:
        return isinstance(code, int) and any(first <= code <= last for first, last in self.spans)

    def __str__(self) -> str:
        return "[" + "".join(_span(first, last) for first, last in self.spans) + "]"


class Rules:
    """Named rules; equal bodies share one name."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}  # body: name
        self._n_reserved = 0

    def add(self, body: str, stem: str = "r") -> str:
        """Name a body, or give the name that it has.

        Raises:
            ValueError: There are too many rules.
        """
        if body not in self._names:
            self.define(self.reserve(stem), body)
        return self._names[body]

    def reserve(self, stem: str) -> str:
        """Give a name for a rule that refers to itself; `define` must follow."""
        self._n_reserved += 1
        if self._n_reserved > MAX_RULES:
            msg = f"it needs more than {MAX_RULES} rules"
            raise ValueError(msg)
        return f"{stem}-{self._n_reserved}"

    def define(self, name: str, body: str) -> None:
        """Give a reserved name its body."""
        self._bodies[name] = body
        self._names.setdefault(body, name)

    def text(self, root: str) -> str:
        """Write the grammar."""
        return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._bodies.items())]) + "\n"


def literal(text: str) -> str:
    """Write a text that must come as it is."""
    return '"' + "".join(_escaped(char, '"\\') for char in text) + '"'


def either(alternatives: Iterable[str]) -> str:
    """Write a choice, in parentheses where there is one to make; equal alternatives count once."""
    unique = list(dict.fromkeys(alternatives))
    return unique[0] if len(unique) == 1 else "(" + " | ".join(unique) + ")"


def repeat(body: str, least: int, most: int | None) -> str:
    """Write a repetition of a body that is one item: a name, a literal, a set or a group."""
    if (least, most) == (1, 1):
        return body
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    if short is not None:
        return body + short
    if most == 0:
        return '""'
    count = str(least) if least == most else f"{least},{'' if most is None else most}"
    return f"{body}{{{count}}}"


def _span(first: int, last: int) -> str:
    edges = [_escaped(chr(code), "\\]^-[") for code in ((first,) if first == last else (first, last))]
    return "-".join(edges)


def _escaped(char: str, special: str) -> str:
    code = ord(char)
    if " " <= char <= "~" and char not in special:
        return char
    digits = f"{code:08X}"
    if code < 1 << 8:
        return f"\\x{digits[-2:]}"
    return f"\\u{digits[-4:]}" if code < 1 << 16 else f"\\U{digits}"
