"""Cut one document into chunks: functions and methods, class headers, headings' sections, windows of lines.

Every line that is not blank ends up in at least one chunk, so nothing in a document is unsearchable. First each line
gets one *owner* (the innermost definition or section that covers it, or nothing), then each run of lines with one
owner becomes a chunk, cut into overlapping windows where it is too large. Knows nothing of disks or of embeddings.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rag.headings import find_headings
from rag.languages import PLAIN_TEXT, language_of
from rag.notebooks import SUFFIX as NOTEBOOK_SUFFIX
from rag.notebooks import find_cells
from rag.symbols import find_definitions, grammar_of
from rag.types import Chunk, Document

# Raise with every change of what chunks come out: a stored index of another version is made anew.
CHUNKER_VERSION: Final = 4

# A chunk of code is read by an embedding model that sees 256 tokens, about 900 characters, and by a language model that
# wants whole functions. 2,400 characters keep nine in ten functions whole; more would dilute the vector.
MAX_CHUNK_CHARS: Final = 2_400
MAX_CHUNK_LINES: Final = 80

# Windows over text without structure, and their overlap, so that a sentence on a border is whole in one of them.
WINDOW_LINES: Final = 40
OVERLAP_LINES: Final = 5

# A definition right above this many rows or fewer stays whole, whatever is nested in it.
WHOLE_ROWS: Final = 60


@dataclass(frozen=True)
class _Owner:
    """What a run of lines belongs to. Two owners are different even where their names are equal: compare identity."""

    kind: str
    symbol: str
    first_row: int
    signature: str = ""


def chunk_document(document: Document) -> list[Chunk]:
    """Cut `document` into chunks in line order; an empty or blank document has none. Never fails on broken source."""
    language = language_of(document.path)
    lines = split_lines(document.content)
    if not any(line.strip() for line in lines):
        return []
    owners = _owners(document, language, lines)
    chunks: dict[str, Chunk] = {}
    for owner, first, last in _runs(owners, lines):
        for start, end, text in _pieces(lines, first, last):
            chunk = _make_chunk(document.path, language, _describe(owner, first, start), (start, end), text)
            chunks.setdefault(chunk.chunk_id, chunk)
    return list(chunks.values())


def split_lines(content: str) -> list[str]:
    r"""Split at `\n` only, as editors and tree-sitter count, with no empty line after a final newline."""
    lines = content.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def text_to_embed(chunk: Chunk) -> str:
    """Write what the embedding model reads of a chunk: where it stands and its name, then its text.

    The name of a method has its class, and a later piece of a definition begins with the signature.
    """
    where = f"{chunk.path} {chunk.symbol}".rstrip()
    return "\n".join(line for line in (where, chunk.signature, chunk.text) if line)


def _owners(document: Document, language: str, lines: list[str]) -> list[_Owner | None]:
    """Give each line its innermost owner; inner ones come later and paint over outer ones."""
    owners: list[_Owner | None] = [None] * len(lines)
    spans = (*_cells(document.path, lines), *_sections(lines, language), *_definitions(document, language))
    for owner, last_row in spans:
        for row in range(owner.first_row, min(last_row + 1, len(lines))):
            owners[row] = owner
    return owners


def _cells(path: str, lines: list[str]) -> Iterator[tuple[_Owner, int]]:
    for first, last in find_cells(lines) if path.endswith(NOTEBOOK_SUFFIX) else ():
        yield _Owner("window", "", first), last


def _sections(lines: list[str], language: str) -> Iterator[tuple[_Owner, int]]:
    for heading in find_headings(lines, language):
        yield _Owner("section", heading.symbol, heading.first_row), heading.last_row


def _definitions(document: Document, language: str) -> Iterator[tuple[_Owner, int]]:
    grammar = grammar_of(document.path, language, document.content)
    if grammar is None:
        return
    for found in find_definitions(document.content.encode("utf-8", "replace"), grammar, WHOLE_ROWS):
        yield _Owner(found.kind, found.symbol, found.first_row, found.signature), found.last_row


def _runs(owners: list[_Owner | None], lines: list[str]) -> Iterator[tuple[_Owner | None, int, int]]:
    """Yield runs of rows with one owner, from their first to their last row that is not blank.

    Blank rows around a run are in none, so that adding a function leaves the chunk above as it was.
    """
    filled = (row for row, line in enumerate(lines) if line.strip())
    start = last = next(filled)
    for row in filled:
        if owners[row] is not owners[start]:
            yield owners[start], start, last
            start = row
        last = row
    yield owners[start], start, last


def _describe(owner: _Owner | None, first_row: int, start_row: int) -> _Owner:
    """Describe the piece at `start_row` of the run at `first_row`.

    A class's first run is its header, its later ones are what is left over. What lacks the beginning of its definition
    is told the signature.
    """
    if owner is None:
        return _Owner("window", "", start_row)
    is_left_over = owner.kind == "class" and first_row > owner.first_row
    signature = owner.signature if start_row > owner.first_row else ""
    return _Owner("window" if is_left_over else owner.kind, owner.symbol, start_row, signature)


def _pieces(lines: list[str], first: int, last: int) -> Iterator[tuple[int, int, str]]:
    """Yield (first row, last row, text) of the windows over one run; one window when it is small enough."""
    text = "\n".join(lines[first : last + 1])
    if last - first < MAX_CHUNK_LINES and len(text) <= MAX_CHUNK_CHARS:
        yield first, last, text
        return
    start = first
    while start <= last:
        end = _window_end(lines, start, last)
        if end == start and len(lines[start]) > MAX_CHUNK_CHARS:
            yield from ((start, start, part) for part in _slices(lines[start]))
        else:
            window = "\n".join(lines[start : end + 1])
            if window.strip():
                yield start, end, window
        if end == last:
            return
        start = end + 1 - min(OVERLAP_LINES, (end + 1 - start) // 4)


def _window_end(lines: list[str], start: int, last: int) -> int:
    """Find the last row of the window at `start`: WINDOW_LINES, fewer when their text is too long, at least one."""
    size = len(lines[start])
    end = start
    while end < last and end - start + 1 < WINDOW_LINES and size + 1 + len(lines[end + 1]) <= MAX_CHUNK_CHARS:
        end += 1
        size += 1 + len(lines[end])
    return end


def _slices(line: str) -> Iterator[str]:
    """Cut one line that is longer than a chunk may be."""
    for offset in range(0, len(line), MAX_CHUNK_CHARS):
        yield line[offset : offset + MAX_CHUNK_CHARS]


def _make_chunk(path: str, language: str, described: _Owner, rows: tuple[int, int], text: str) -> Chunk:
    identity = f"{path}\0{rows[0]}\0{rows[1]}\0{text}".encode("utf-8", "replace")
    return Chunk(
        chunk_id=hashlib.blake2b(identity, digest_size=16).hexdigest(),
        path=path,
        language=language or PLAIN_TEXT,
        kind=described.kind,
        symbol=described.symbol,
        start_line=rows[0] + 1,
        end_line=rows[1] + 1,
        text=text,
        signature=described.signature,
    )
