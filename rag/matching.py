"""Exact and regex search: every chunk whose text holds a string or matches a pattern, in the order of the files.

Patterns run on RE2, which reads each text once whatever the pattern, so none can hang the server as `(a+)+$` would;
what RE2 lacks (look-around, back-references) is refused with a reason. A time limit bounds large collections. Knows
nothing of ranking; the only importer of re2.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Final, TypeAlias

from rag.errors import InvalidRequestError
from rag.types import Chunk

# Lines reported of one chunk; a pattern such as `.` matches all of them and says nothing by it.
MAX_MATCHED_LINES: Final = 100

# A pattern is written by a person or a model; a longer one is generated and would be slow.
MAX_PATTERN_CHARS: Final = 1_000

# Bytes that RE2 may use for a pattern. Refuses nested counts such as `(x{100}){100}` and keeps the automata of the rest
# small: the slowest pattern found that fits, `(((a?){30}){30})x`, takes 0.4 s a chunk, most take 0.01 ms.
MAX_PATTERN_BYTES: Final = 1 << 20

# Past this the matches found so far are the answer, marked as truncated (s).
TIME_LIMIT_S: Final = 5.0

Spans: TypeAlias = Iterator[tuple[int, int]]
Finder: TypeAlias = Callable[[bytes], Spans]


@dataclass(frozen=True)
class Match:
    """One chunk with matches, and the lines of its file that they touch, ascending, MAX_MATCHED_LINES at most."""

    chunk: Chunk
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Matches:
    """Matching chunks in the order given, and whether there may be more."""

    found: tuple[Match, ...]
    truncated: bool


def compile_exact(text: str) -> Finder:
    """Find a literal text, letter case included; it may span lines."""
    sought = text.encode("utf-8", "replace")

    def find(content: bytes) -> Spans:
        start = content.find(sought)
        while start >= 0:
            yield start, start + len(sought)
            start = content.find(sought, start + max(1, len(sought)))

    return find


def compile_regex(pattern: str) -> Finder:
    """Find a regular expression in RE2's syntax, which is Python's without look-around and back-references.

    `^` and `$` match at every line. Raises InvalidRequestError when RE2 cannot compile the pattern.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise InvalidRequestError(
            f"the pattern has {len(pattern)} characters and the limit is {MAX_PATTERN_CHARS}; shorten it", param="query"
        )
    re2 = _re2()
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    try:
        compiled = re2.compile(b"(?m)" + pattern.encode("utf-8", "replace"), options)
    except re2.error as error:
        detail = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise InvalidRequestError(
            f"the pattern cannot be used: {detail}; look-around and back-references are not supported, and mode "
            "'exact' searches for a text as it stands",
            param="query",
        ) from error

    def find(content: bytes) -> Spans:
        return (match.span() for match in compiled.finditer(content))

    return find


def match_chunks(chunks: Iterable[Chunk], find: Finder, max_results: int) -> Matches:
    """Match chunks until `max_results` of them have a line that no chunk before had, or until time is up.

    Overlapping windows of one file share lines; each line is reported once, with the first chunk that has it.
    """
    found: list[Match] = []
    reported: set[int] = set()  # lines of the current file
    path = ""
    deadline = time.monotonic() + TIME_LIMIT_S
    for chunk in chunks:
        if time.monotonic() > deadline:
            return Matches(tuple(found), truncated=True)
        if chunk.path != path:
            path, reported = chunk.path, set()
        lines = [line for line in _lines(chunk, find) if line not in reported]
        if not lines:
            continue
        if len(found) == max_results:
            return Matches(tuple(found), truncated=True)
        reported.update(lines)
        found.append(Match(chunk, tuple(lines)))
    return Matches(tuple(found), truncated=False)


def _lines(chunk: Chunk, find: Finder) -> list[int]:
    """The lines of the file that matches within one chunk touch."""
    content = chunk.text.encode("utf-8", "replace")
    lines: list[int] = []
    line, at = chunk.start_line, 0
    for start, end in find(content):
        line, at = line + content.count(b"\n", at, start), start
        last = line + content.count(b"\n", start, max(start, end - 1))
        lines.extend(range(max(line, lines[-1] + 1 if lines else line), last + 1))
        if len(lines) >= MAX_MATCHED_LINES:
            return lines[:MAX_MATCHED_LINES]
    return lines


def _re2() -> ModuleType:
    import re2  # noqa: PLC0415 - loaded on first use: few sessions search by pattern

    module: ModuleType = re2
    return module
