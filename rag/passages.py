"""Cut a ranked list of chunks to what the caller has room for: hits without repeated lines, within a token budget.

The best hit is always there: one larger than the budget is cut at a line's end. Of overlapping windows the better one
keeps the shared lines. Neighbours widen a hit by the chunks right before and after it, with what the hits have left of
the budget, so that they push no hit out. Knows nothing of how the list was ranked.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from rag.types import Chunk, Hit

# The unit of `max_tokens`: English and code are both near four characters a token.
CHARS_PER_TOKEN: Final = 4

# The chunks of one file by line, as `fill` looks up neighbours.
FileChunks: TypeAlias = Callable[[str], Sequence[Chunk]]


@dataclass(frozen=True)
class Limits:
    """What a caller has room for."""

    max_results: int
    max_tokens: int


def fill(hits: Iterable[Hit], limits: Limits, file_chunks: FileChunks | None = None) -> tuple[tuple[Hit, ...], bool]:
    """Take hits, best first, until a limit is met; tell whether a limit cut anything off.

    A hit that does not fit is left out and smaller ones behind it may still come. With `file_chunks` hits are widened
    by their neighbours.
    """
    taken: list[Hit] = []
    left = limits.max_tokens * CHARS_PER_TOKEN
    truncated = False
    for hit in hits:
        rest = _without_lines_of(hit, taken)
        if rest is None:
            continue
        if len(taken) == limits.max_results:
            truncated = True
            break
        if len(rest.text) > left:
            truncated = True
            if taken:
                continue
            rest = _cut(rest, left)
        left -= len(rest.text)
        taken.append(rest)
    if file_chunks is not None:
        taken = _widened(taken, left, file_chunks)
    return tuple(taken), truncated


def _without_lines_of(hit: Hit, taken: Sequence[Hit]) -> Hit | None:
    """Drop the lines of `hit` that better hits of its file already show; None when none are left."""
    for other in taken:
        if other.path != hit.path or hit.start_line > other.end_line or other.start_line > hit.end_line:
            continue
        if hit.start_line == hit.end_line and other.start_line == other.end_line:
            if hit.text in other.text:
                return None
            continue  # two pieces of one long line
        if hit.end_line > other.end_line:
            hit = _lines_of(hit, other.end_line + 1, hit.end_line)
        elif hit.start_line < other.start_line:
            hit = _lines_of(hit, hit.start_line, other.start_line - 1)
        else:
            return None
    return hit


def _lines_of(hit: Hit, first: int, last: int) -> Hit:
    lines = hit.text.split("\n")[first - hit.start_line : last + 1 - hit.start_line]
    matched = tuple(line for line in hit.matched_lines if first <= line <= last)
    return replace(hit, text="\n".join(lines), start_line=first, end_line=last, matched_lines=matched)


def _cut(hit: Hit, size: int) -> Hit:
    """Cut a hit to `size` characters: after the last line that fits whole, or within its first line.

    A hit with matched lines begins at the first of them, so that what was sought is there.
    """
    if hit.matched_lines:
        hit = _lines_of(hit, hit.matched_lines[0], hit.end_line)
        if len(hit.text) <= size:
            return hit
    end = hit.text.rfind("\n", 0, size + 1)
    if end <= 0:
        hit = _lines_of(hit, hit.start_line, hit.start_line)
        return replace(hit, text=hit.text[:size])
    return _lines_of(hit, hit.start_line, hit.start_line + hit.text.count("\n", 0, end))


def _widened(taken: Sequence[Hit], left: int, file_chunks: FileChunks) -> list[Hit]:
    """Widen hits, best first, by the chunk before and the chunk after each, as far as `left` characters go."""
    wide = list(taken)
    for number, hit in enumerate(taken):
        for neighbour in _neighbours(hit, file_chunks(hit.path)):
            others = (other for other in wide if other.path == hit.path and other is not wide[number])
            if any(
                neighbour.start_line <= other.end_line and other.start_line <= neighbour.end_line for other in others
            ):
                continue
            joined = _joined(wide[number], neighbour)
            grown = len(joined.text) - len(wide[number].text)
            if grown <= left:
                wide[number] = joined
                left -= grown
    return wide


def _neighbours(hit: Hit, chunks: Sequence[Chunk]) -> list[Hit]:
    """The chunks of a file, in line order, right before and right after a hit, without lines that the hit has."""
    before = [chunk for chunk in chunks if chunk.start_line < hit.start_line][-1:]
    after = [chunk for chunk in chunks if chunk.end_line > hit.end_line][:1]
    spans = [(chunk, chunk.start_line, min(chunk.end_line, hit.start_line - 1)) for chunk in before]
    spans += [(chunk, max(chunk.start_line, hit.end_line + 1), chunk.end_line) for chunk in after]
    return [
        _lines_of(replace(hit, text=chunk.text, start_line=chunk.start_line, matched_lines=()), first, last)
        for chunk, first, last in spans
    ]


def _joined(hit: Hit, neighbour: Hit) -> Hit:
    """Join a hit and a neighbour. The lines between them are blank ones, or else they would be a chunk."""
    first, second = (neighbour, hit) if neighbour.end_line < hit.start_line else (hit, neighbour)
    text = first.text + "\n" * (second.start_line - first.end_line) + second.text
    return replace(hit, text=text, start_line=first.start_line, end_line=second.end_line)
