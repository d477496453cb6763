"""Find things in program text without parsing it: comments and literals blanked out, brackets matched.

Every function keeps offsets, so what is found in the blanked text can be cut from the original. Not a parser: what it
misreads can make a test fail to be found, which the result says, but never make one pass.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

_SLASHES = r"//[^\n]*|/\*.*?\*/"
_DOUBLE = r'"(?:\\.|[^"\\\n])*"'
_SINGLE = r"'(?:\\.|[^'\\\n])*'"
_OPENING, _CLOSING = "([{", ")]}"
_PAIRS = dict(zip(_OPENING, _CLOSING, strict=True))
LITERALS = {
    "c": re.compile(
        rf"{_SLASHES}|\b(?:u8|[uUL])?R\"(?P<tag>[^()\\\s]{{0,16}})\(.*?\)(?P=tag)\"|{_DOUBLE}|(?<![0-9A-Fa-f]){_SINGLE}",
        re.DOTALL,
    ),
    "go": re.compile(rf"{_SLASHES}|`[^`]*`|{_DOUBLE}|{_SINGLE}", re.DOTALL),
    "rust": re.compile(
        rf"{_SLASHES}|\bb?r(?P<hashes>#*)\".*?\"(?P=hashes)|\"(?:\\.|[^\"\\])*\"|'(?:\\[^'\n]+|\\'|[^'\\\n])'",
        re.DOTALL,
    ),
    "javascript": re.compile(
        rf"{_SLASHES}|{_DOUBLE}|{_SINGLE}|`(?:\\.|[^`\\])*`"
        r"|(?P<before>(?:[=(,:;!&|?{}\[+]|\breturn|=>)\s*)/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*",
        re.DOTALL,
    ),
}
IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*")


def _hollow(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _replace(match: re.Match[str]) -> str:
    text = match.group()
    if text.startswith(("//", "/*")):
        return _hollow(text)
    before = match.groupdict().get("before") or ""
    literal = text[len(before) :]
    return before + literal[0] + _hollow(literal[1:-1]) + literal[-1]


@dataclass(frozen=True)
class Scanned:
    """A text and the same text without comments and the insides of literals, position for position."""

    text: str
    blank: str

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    @cached_property
    def depths(self) -> list[int]:
        """How many brackets are open at each position; an opening bracket itself still lies outside."""
        depths, depth = [], 0
        for character in self.blank:
            if character in _CLOSING:
                depth = max(0, depth - 1)
            depths.append(depth)
            if character in _OPENING:
                depth += 1
        return depths

    def line(self, position: int) -> int:
        """Return the line of a position, from 1."""
        return bisect_right(self._starts, position)

    def closing(self, position: int) -> int:
        """Return the position of the bracket that closes the one at `position`; the text's end if none does."""
        opening = self.blank[position]
        closing, depth = _PAIRS[opening], 0
        for match in re.compile(f"[{re.escape(opening + closing)}]").finditer(self.blank, position):
            depth += 1 if match.group() == opening else -1
            if depth == 0:
                return match.start()
        return len(self.blank) - 1

    def find(self, pattern: str, depth: int | None = None) -> Iterator[re.Match[str]]:
        """Yield the matches in the blanked text, those that start at one depth of brackets if that is given."""
        for match in re.finditer(pattern, self.blank, re.MULTILINE):
            if depth is None or self.depths[match.start()] == depth:
                yield match

    def skip_space(self, position: int) -> int:
        """Return the first position from `position` on that holds something."""
        match = re.compile(r"\S").search(self.blank, position)
        return match.start() if match else len(self.blank)

    def identifiers(self) -> frozenset[str]:
        """Return every identifier and keyword of the text."""
        return frozenset(IDENTIFIER.findall(self.blank))


def scan(text: str, syntax: str) -> Scanned:
    """Blank comments and literals of a text."""
    return Scanned(text, LITERALS[syntax].sub(_replace, text))


def edit(text: str, changes: list[tuple[int, int, str]]) -> str:
    """Return the text with spans replaced. Spans do not overlap."""
    parts, position = [], 0
    for start, end, new in sorted(changes):
        parts += [text[position:start], new]
        position = end
    return "".join([*parts, text[position:]])


def numbered(names: list[str]) -> list[str]:
    """Return the names, each that repeats an earlier one with its number: `line 3`, `line 3 (2)`."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
