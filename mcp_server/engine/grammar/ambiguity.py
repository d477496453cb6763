"""How many ways of reading a text a GBNF grammar holds open, counted on its text before the native code gets it.

The native matcher keeps each way as a stack and compares every new one with all others, and nothing can interrupt it.
`(("a"?){40}){40}` holds 1,600 ways open and makes 1.3 million of them at every letter: 20 s for one token. Counted are
the stacks that one letter can make, at the worst place of the grammar; equal ones count as often as they are made.
Not covered: ways that multiply with every turn of a recursion, which `grammar_state` tells by the time they take.
Knows nothing of letters: any two sets count as if they could meet. Reference: llama.cpp `grammars/README.md`.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_WAYS = 10_000  # stacks made at one letter; as many take some 25 ms, all streams waiting
MANY = 1 << 40  # counts stop here
MAX_ROUNDS = 16  # over all rules; two to four suffice unless rules refer to later ones in long chains

_TOKENS = re.compile(
    r'\#[^\n]*|"(?P<text>(?:\\.|[^"\\])*)"|(?P<set>\[(?:\\.|[^\]\\])*\]|!?<[^>\s]*>|\.)|(?P<defined>[\w-]+)\s*::='
    r"|(?P<name>[\w-]+)|(?P<mark>[()|])|(?P<short>[*+?])|\{\s*(?P<least>\d+)\s*(?P<comma>,)?\s*(?P<most>\d*)\s*\}",
    re.DOTALL,
)
_LETTER = re.compile(r"\\(?:x..|u.{4}|U.{8}|.)|.", re.DOTALL)
_SHORT: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Ways(NamedTuple):
    """What matters of one part of a grammar."""

    is_optional: bool  # it may be empty
    n_first: int  # stacks before its first letter
    n_last: int  # of these, how many may be at its end after that letter
    n_second: int  # stacks that this letter makes of them, within the part

    def then(self, other: "Ways") -> "Ways":
        """Put another part behind this one."""
        return Ways(
            self.is_optional and other.is_optional,
            min(MANY, self.n_first + self.is_optional * other.n_first),
            min(MANY, other.is_optional * self.n_last + self.is_optional * other.n_last),
            min(MANY, self.n_second + self.n_last * other.n_first + self.is_optional * other.n_second),
        )

    def or_(self, other: "Ways") -> "Ways":
        """Make another part an alternative to this one."""
        sums = (min(MANY, one + two) for one, two in zip(self[1:], other[1:], strict=True))
        return Ways(self.is_optional or other.is_optional, *sums)

    def times(self, n: int) -> "Ways":
        """Put the part behind itself until it is there `n` times."""
        result, power = EMPTY, self
        while n:
            result, power, n = result.then(power) if n & 1 else result, power.then(power), n >> 1
        return result

    def up_to(self, n: int | None) -> "Ways":
        """Repeat the part at most `n` times (None: without end), each time within the one before."""
        if n is None:
            again = min(MANY, self.n_second + self.n_last * self.n_first)
            return Ways(is_optional=True, n_first=self.n_first, n_last=self.n_last, n_second=again)
        if self.is_optional:
            return self.times(n)
        nested = EMPTY
        for _ in range(min(2, n)):  # a third one changes nothing
            nested = self.then(nested).or_(EMPTY)
        return nested


EMPTY = Ways(is_optional=True, n_first=0, n_last=0, n_second=0)
LETTER = Ways(is_optional=False, n_first=1, n_last=1, n_second=0)
NONE = Ways(is_optional=False, n_first=0, n_last=0, n_second=0)


class _Repeat(NamedTuple):
    """An item just `least` times, or where that is 0 up to `most` times."""

    item: "Ways | str | _Repeat"
    least: int
    most: int | None


_Item = Ways | str | _Repeat  # a text is the name of a rule
_Body = list[list[_Item]]  # alternatives, each a row of items


def count_ways(grammar: str) -> int:
    """Count the stacks that one letter can make at the worst place of a grammar; costs some 2 microseconds a letter."""
    bodies = list(_bodies(grammar))
    known: dict[str, Ways] = {}
    worst = 0
    for _ in range(MAX_ROUNDS):
        bodies.reverse()  # some rules are used before they are defined, some after
        before = known.copy()
        for name, body in itertools.chain.from_iterable(bodies):
            known[name], here = _measure(body, known)
            worst = max(worst, here)
        if known == before:
            break
    return worst


def _measure(body: _Body, known: dict[str, Ways]) -> tuple[Ways, int]:
    """Give the ways of a rule, and the most stacks that a letter makes at any of its places."""
    total, worst = NONE, 0
    for items in body:
        rest = EMPTY
        for item in reversed(items):
            rest = _ways(item, known).then(rest)
            worst = max(worst, rest.n_second)
        total = total.or_(rest)
    return total, max(worst, total.n_second)


def _ways(item: _Item, known: dict[str, Ways]) -> Ways:
    if isinstance(item, Ways):
        return item
    if isinstance(item, str):
        return known.get(item, NONE)
    ways = _ways(item.item, known)
    return ways.times(item.least) if item.least else ways.up_to(item.most)


def _bodies(grammar: str) -> Iterator[list[tuple[str, _Body]]]:
    """Read the rules, each with its groups before it, as rules of their own; what is no GBNF is passed over."""
    name, n_groups = "", 0
    groups: list[tuple[str, _Body]] = []
    open_: list[_Body] = [[[]]]  # the rule and the groups that are open, innermost last
    for match in _TOKENS.finditer(grammar):
        row = open_[-1][-1]
        if (defined := match["defined"]) is not None:
            yield [*groups, (name, open_[0])]
            name, groups, open_ = defined, [], [[[]]]
        elif match["mark"] == "(":
            open_.append([[]])
        elif match["mark"] == "|":
            open_[-1].append([])
        elif match["mark"] == ")" and len(open_) > 1:
            n_groups += 1
            groups.append((f"({n_groups}", open_.pop()))
            open_[-1][-1].append(groups[-1][0])
        elif row and (times := _times(match)) is not None:
            row[-1:] = _repeats(row[-1], *times)
        elif (item := _item(match)) is not None:
            row.append(item)
    yield [*groups, (name, open_[0])]


def _repeats(item: _Item, least: int, most: int | None) -> list[_Item]:
    """Repeat an item in two parts, so that the place where it may end is a place of its own."""
    parts: list[_Item] = [_Repeat(item, least, least)] if least else []
    return parts if most == least else [*parts, _Repeat(item, 0, None if most is None else max(0, most - least))]


def _times(match: re.Match[str]) -> tuple[int, int | None] | None:
    if match["short"]:
        return _SHORT[match["short"]]
    if match["least"] is None:
        return None
    least = int(match["least"][:9])
    if match["comma"] is None:
        return least, least
    return least, int(match["most"][:9]) if match["most"] else None


def _item(match: re.Match[str]) -> _Item | None:
    if match["name"] or match["set"]:
        return match["name"] or LETTER
    if match["text"] is None:
        return None
    n_letters = sum(1 for _ in _LETTER.finditer(match["text"]))
    return LETTER.times(min(2, n_letters))  # where there are more, two say all
