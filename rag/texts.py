"""The text of an indexed file, put together again from its chunks.

Chunks cover every line that is not blank, so what comes back is the file with its blank lines empty: enough to parse,
to outline and to quote. Works on a committed generation, so it agrees with the line numbers of every other answer,
whatever has happened to the file meanwhile. Not covered: repeated parts of a line that is longer than a chunk.
"""

import numpy as np

from rag.generation import Generation


def lines_of(generation: Generation, path: str) -> list[str]:
    """Return the lines of `path`, each without its end; empty when no chunk is of that path."""
    number = generation.path_numbers.get(path)
    if number is None:
        return []
    indexed = generation.manifest.by_path.get(path)
    lines = [""] * (indexed.n_lines if indexed is not None else 0)
    sliced_row = -1
    for row in np.flatnonzero(generation.path_of_row == number).tolist():
        chunk = generation.chunks[row]
        first = chunk.start_line - 1
        lines.extend([""] * (chunk.end_line - len(lines)))
        if first == sliced_row:
            lines[first] += chunk.text  # the next part of a line that is longer than a chunk
        else:
            lines[first : chunk.end_line] = chunk.text.split("\n")
        sliced_row = first if chunk.start_line == chunk.end_line else -1
    return lines
