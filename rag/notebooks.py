r"""Jupyter notebooks as scripts, line by line: each line keeps its number, so that an answer's span is one in the file.

A notebook is JSON with one line of source on each line of the file. Here that line becomes what it says, prose becomes
comments, and everything else (outputs, pictures, metadata) becomes empty, which no chunk holds. What was not written in
that form stays as it is. Format: https://nbformat.readthedocs.io/en/latest/format_description.html
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

SUFFIX: Final = ".ipynb"

# Between the last line of a cell and the first of the next stand at least this many lines of JSON.
MIN_ROWS_BETWEEN_CELLS: Final = 6

_SOURCE: Final = re.compile(r'\s*"source": \[\s*')
_CELL: Final = re.compile(r'\s*"cell_type": "(\w+)",?\s*')


def read_notebook(content: str) -> str:
    """Turn a notebook into a script with as many lines; other text comes back as it is."""
    try:
        notebook = json.loads(content)
        cells = [(cell["cell_type"], _joined(cell["source"])) for cell in notebook["cells"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return content
    lines = content.split("\n")
    found = list(_source_lines(lines))
    # Told apart by their form alone, the lines must be those that the JSON has.
    if "".join(text for _, _, text in found) != "".join(source for _, source in cells):
        return content
    script = [""] * len(lines)
    for row, kind, text in found:
        bare = text.rstrip("\n")
        is_code = kind == "code" and not bare.startswith(("%", "!"))
        script[row] = bare if is_code or not bare else f"# {bare}"
    return "\n".join(script)


def find_cells(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the (first, last) rows of the cells of a notebook that was read."""
    filled = [row for row, line in enumerate(lines) if line.strip()]
    start = 0
    for place, row in enumerate(filled):
        is_last = place + 1 == len(filled)
        if is_last or filled[place + 1] - row > MIN_ROWS_BETWEEN_CELLS:
            yield filled[start], row
            start = place + 1


def _joined(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)


def _source_lines(lines: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (row, kind of cell, text) of each line of source."""
    kind, is_source = "", False
    for row, line in enumerate(lines):
        bare = line.strip().removesuffix(",")
        if is_source and bare.startswith('"'):
            try:
                yield row, kind, str(json.loads(bare))
            except ValueError:
                return
        elif (cell := _CELL.fullmatch(line)) is not None:
            kind, is_source = cell.group(1), False
        else:
            is_source = _SOURCE.fullmatch(line) is not None
