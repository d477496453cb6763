"""What a text of JavaScript tests says at its top level: by throwing, by leaving with a status, by a runner of its own.

Many tests are scripts: helpers that throw, `if (...) throw`, a function that runs what it is given and counts what it
catches. The whole top level is then one test, and what such a runner catches has failed. Read from text, by words.
"""

import re
from functools import cached_property

from sandbox.suites.scan import Scanned

TOP = "top level"  # the test that is the text itself
SPEAKS = re.compile(r"\bthrow\b|\bprocess\s*\.\s*exit(?:Code)?\b")
_FUNCTION = (
    r"\bfunction\s*\*?\s*(?P<one>[\w$]+)\s*(?=\()"
    r"|\b(?:const|let|var)\s+(?P<two>[\w$]+)\s*=\s*(?:async\b\s*)?(?:function\b\s*\*?\s*[\w$]*\s*)?(?=\(|[\w$]+\s*=>)"
)
_CATCH = re.compile(r"\bcatch\s*(?:\(\s*(?P<name>[\w$]+)[^)]*\)\s*)?(?=\{)")
_TRY = re.compile(r"\btry\s*(?=\{)")
_JUDGES = re.compile(r"\b(?:throw|assert\w*|expect|fail)\b")
_GOES_ON_AFTER = ",&|?:=+-*/%<>!.("
_GOES_ON_BEFORE = ",&|?:=*/%<>."


def statement_end(found: Scanned, position: int) -> int:
    """Return where the statement that holds a position ends, before its semicolon or the end of its line."""
    blank = found.blank
    while position < len(blank) and blank[position] not in ";)]}":
        if blank[position] in "([{":
            position = found.closing(position)
        elif blank[position] == "\n":
            following = found.skip_space(position)
            before = blank[:position].rstrip()[-1:]
            if not (before and before in _GOES_ON_AFTER) and blank[following : following + 1] not in tuple(
                _GOES_ON_BEFORE
            ):
                break
        position += 1
    return position


class Script:
    """What the top level of a text of tests does besides registering tests and asserting."""

    def __init__(self, found: Scanned, tests: list[str]) -> None:
        self._scan = found
        self._tests = set(tests)

    @cached_property
    def _functions(self) -> list[tuple[int, int, str]]:
        """Start, end and name of each function at the top."""
        listed = []
        for match in self._scan.find(_FUNCTION, depth=0):
            end = statement_end(self._scan, match.end())
            if match["one"]:
                opening = self._scan.skip_space(self._scan.closing(match.end()) + 1)
                end = self._scan.closing(opening) + 1 if self._scan.blank[opening : opening + 1] == "{" else end
            listed.append((match.start(), end, match["one"] or match["two"]))
        return listed

    def _is_reached(self, position: int) -> bool:
        """Tell whether the top level comes to a position: it lies in no function there, or in one that is used."""
        for start, end, name in self._functions:
            if start <= position < end:
                used = re.compile(rf"(?<![\w$.]){re.escape(name)}(?![\w$])")
                outside = self._scan.blank[:start] + self._scan.blank[end:]
                return name not in self._tests and used.search(outside) is not None
        return not any(start < position < end for start, end in self._registered)

    @cached_property
    def _registered(self) -> list[tuple[int, int]]:
        own = {name for _, _, name in self._functions}
        calls = self._scan.find(r"(?<![\w.$])(?P<what>describe|suite|context|test|it)(?:\.\w+)?\s*(?=\()")
        return [(one.start(), self._scan.closing(one.end())) for one in calls if one["what"] not in own]

    @cached_property
    def _swallowing(self) -> list[re.Match[str]]:
        """The catch clauses of functions that call what they are given, as a test runner does."""
        listed = []
        for start, end, _ in self._functions:
            if not self._is_reached(start):
                continue
            opening = self._scan.blank.find("(", start)
            parameters = self._scan.blank[opening : self._scan.closing(opening)] if opening >= 0 else ""
            names = "|".join(map(re.escape, re.findall(r"[A-Za-z_$][\w$]*", parameters)))
            for tried in _TRY.finditer(self._scan.blank, start, end):
                closing = self._scan.closing(tried.end())
                calls = names and re.search(rf"(?<![\w$.])(?:{names})\s*\(", self._scan.blank[tried.end() : closing])
                caught = _CATCH.match(self._scan.blank, self._scan.skip_space(closing + 1))
                listed += [caught] if calls and caught else []
        return listed

    @property
    def speaks(self) -> bool:
        """Whether the top level can fail by itself."""
        said = (match.start() for match in self._scan.find(SPEAKS.pattern))
        return bool(self._swallowing) or any(self._is_reached(position) for position in said)

    @property
    def is_sticky(self) -> bool:
        """Whether a failed assert stays one when it is caught: no catch of the text judges anew."""
        bodies = (
            self._scan.blank[match.end() : self._scan.closing(match.end())] for match in self._scan.find(_CATCH.pattern)
        )
        return not any(_JUDGES.search(body) for body in bodies)

    def changes(self, prefix: str) -> list[tuple[int, int, str]]:
        """Return the changes by which what a runner of the text's own catches is a failure."""
        return [
            (match.end() + 1, match.end() + 1, f" {prefix}.failed({match['name'] or ''});")
            for match in self._swallowing
        ]
