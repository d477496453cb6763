"""Names near a wrong one: the words of a program, and the edit distance between them.

A misspelt name is the commonest slip of a language model that can be mended by rule. Distances are of Damerau's
restricted kind (insert, delete, replace, swap neighbours). It knows nothing of errors.
"""

import keyword
import re
from collections.abc import Iterable

MAX_NAMES = 1500  # of one program; more are not compared, so a hostile one costs some 0.2 s at most
MAX_NAME_CHARS = 60
READ_CHARS = 256 * 1024  # of the program

_WORD = re.compile(r"[A-Za-z_]\w*")
_TEXT = re.compile(r"""(["'`])([^"'`\n\\]{1,60})\1""")
_OTHER_KEYWORDS = (
    "var let const function return new this typeof void func package import use fn mut pub impl struct enum match int "
    "char float double long short unsigned signed auto static include std endl then fi do done esac echo local"
)
_KEYWORDS = frozenset(keyword.kwlist) | frozenset(_OTHER_KEYWORDS.split())


def words_of(code: str) -> set[str]:
    """Return the identifiers of a program, keywords left out, comments and texts included."""
    words: set[str] = set()
    for match in _WORD.finditer(code[:READ_CHARS]):
        if len(match[0]) <= MAX_NAME_CHARS and match[0] not in _KEYWORDS:
            words.add(match[0])
            if len(words) >= MAX_NAMES:
                break
    return words


def texts_of(code: str) -> set[str]:
    """Return the short quoted texts of a program: what its keys are written as."""
    return {match[2] for _, match in zip(range(MAX_NAMES), _TEXT.finditer(code[:READ_CHARS]), strict=False)}


def members_of(code: str) -> set[str]:
    """Return the names that follow a dot, or are defined as a function or a field."""
    return {match[1] for match in re.finditer(r"(?:\.|\bdef |\bself\.)([A-Za-z_]\w{0,59})", code[:READ_CHARS])}


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that *name* most probably meant, or None when all are too far.

    A third of the characters may differ, at most three; a difference of case alone counts least.
    """
    limit = min(3, max(1, len(name) // 3))
    best: tuple[int, str] | None = None
    for candidate in sorted(set(candidates)):
        if candidate == name or abs(len(candidate) - len(name)) > limit or len(candidate) > MAX_NAME_CHARS:
            continue
        if len(name) == 1:  # every other letter is one edit away: no guess
            if candidate.lower() == name.lower():
                return candidate
            continue
        far = 0 if candidate.lower() == name.lower() else distance(name, candidate, limit)
        if far <= limit and (best is None or far < best[0]):
            best = (far, candidate)
    return None if best is None else best[1]


def distance(one: str, other: str, limit: int) -> int:
    """Return the edits between two names; any number above *limit* means that there are more."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]
