"""The headings of prose: where each section of markdown and reStructuredText begins and ends.

Line by line, without a parser: fenced code of markdown is left alone, and in reStructuredText a title is a line of text
above (and maybe below) a line of one punctuation mark at least as long. Knows nothing of chunks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MARKDOWN: Final = "markdown"
RESTRUCTURED_TEXT: Final = "rst"

_HEADING: Final = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_ADORNMENT: Final = re.compile(r"([!-/:-@\[-`{-~])\1*")


@dataclass(frozen=True)
class Heading:
    """One section: 0-based inclusive rows from its heading to the next one of any level."""

    title: str
    symbol: str  # the path of headings, `Guide > Install`
    depth: int  # 0 for a section in no other
    first_row: int
    last_row: int


def find_headings(lines: list[str], language: str) -> list[Heading]:
    """List the sections in order; empty for text without headings and for other languages."""
    if language == MARKDOWN:
        starts = list(_markdown(lines))
    elif language == RESTRUCTURED_TEXT:
        starts = list(_restructured_text(lines))
    else:
        return []
    ends = [row - 1 for row, _, _ in starts[1:]] + [len(lines) - 1]
    trail: list[tuple[int, str]] = []
    found: list[Heading] = []
    for (row, level, title), end in zip(starts, ends, strict=False):
        trail = [*(item for item in trail if item[0] < level), (level, title)]
        found.append(Heading(title, " > ".join(name for _, name in trail), len(trail) - 1, row, end))
    return found


def _markdown(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (row, level, title) of the headings outside fenced code."""
    fence = ""
    for row, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark:
            fence = _next_fence(fence, mark.group(1), line)
        heading = None if fence or mark else _HEADING.match(line)
        if heading:
            yield row, len(heading.group(1)), heading.group(2)


def _next_fence(fence: str, mark: str, line: str) -> str:
    """Track fenced code: a fence is closed by its own character, at least as long, with nothing after it."""
    if not fence:
        return mark
    closes = mark[0] == fence[0] and len(mark) >= len(fence) and line.strip() == mark
    return "" if closes else fence


def _restructured_text(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """Yield (row, level, title); a style of adornment gets its level where it first occurs."""
    levels: dict[tuple[str, bool], int] = {}
    for row in range(1, len(lines)):
        title, below = lines[row - 1].rstrip(), lines[row].rstrip()
        above = lines[row - 2].rstrip() if row > 1 else ""
        is_title = bool(title.strip()) and not _ADORNMENT.fullmatch(title) and len(below) >= len(title.strip())
        if not is_title or not _ADORNMENT.fullmatch(below):
            continue
        if above == below:
            yield row - 2, levels.setdefault((below[0], True), len(levels)), title.strip()
        elif not above and not title[0].isspace():
            yield row - 1, levels.setdefault((below[0], False), len(levels)), title
