"""What one file defines: its functions, methods and classes with their depth, or its headings.

Parses the text as indexed, so inner functions too short to be chunks of their own are there as well. A language without
a grammar has an empty outline. Knows nothing of queries.
"""

from typing import Final

from rag.errors import InvalidRequestError
from rag.generation import Generation
from rag.headings import find_headings
from rag.languages import language_of
from rag.symbols import find_definitions, grammar_of
from rag.texts import lines_of
from rag.types import Outline, OutlineItem

# Generated code may define ten thousand functions; nobody reads such an outline.
MAX_ITEMS: Final = 2_000


def outline(generation: Generation, path: str, collection: str = "") -> Outline:
    """Outline the file at `path`, in its own order.

    Raises:
        InvalidRequestError: the collection has no such file.
    """
    indexed = generation.manifest.by_path.get(path)
    if indexed is None:
        raise InvalidRequestError(
            f"the collection has no file {path[:200]!r}; give a path as hits and the overview have it", param="path"
        )
    lines = lines_of(generation, path)
    language = language_of(path)
    items = [
        OutlineItem("section", found.symbol, found.first_row + 1, found.last_row + 1, found.depth, found.title)
        for found in find_headings(lines, language)
    ] or _definitions(path, language, "\n".join(lines))
    return Outline(collection, path, language, indexed.n_lines, tuple(items[:MAX_ITEMS]))


def _definitions(path: str, language: str, content: str) -> list[OutlineItem]:
    grammar = grammar_of(path, language, content)
    if grammar is None:
        return []
    items: list[OutlineItem] = []
    open_until: list[int] = []  # last rows of the definitions around
    for found in find_definitions(content.encode("utf-8", "replace"), grammar, whole_rows=0):
        while open_until and open_until[-1] < found.first_row:
            open_until.pop()
        items.append(
            OutlineItem(
                kind=found.kind,
                symbol=found.symbol,
                start_line=found.first_row + 1,
                end_line=found.last_row + 1,
                depth=len(open_until),
                signature=found.signature,
            )
        )
        open_until.append(found.last_row)
    return items
