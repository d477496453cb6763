"""Notebooks as scripts whose lines have the numbers that they have in the file."""

import json

import pytest

from rag.chunking import chunk_document
from rag.notebooks import read_notebook
from rag.types import Document

CELLS = [
    {"cell_type": "markdown", "metadata": {}, "source": ["## Load\n", "\n", 'The "data".']},
    {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {},
        "outputs": [{"data": {"image/png": "A" * 20_000, "application/json": {"source": ["no"]}}, "source": ["no"]}],
        "source": ["%matplotlib inline\n", "import os\n", "\n", "def load(path):\n", "    return open(path)\n"],
    },
    {"cell_type": "code", "execution_count": None, "id": "x", "metadata": {}, "outputs": [], "source": []},
    {"cell_type": "raw", "metadata": {}, "source": ["raw"]},
]


def notebook(cells: list[dict[str, object]], **style: int) -> str:
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, **({"indent": 1} | style))


@pytest.mark.parametrize("indent", [1, 2, 4])
def test_source_keeps_its_lines_and_prose_becomes_comments(indent: int) -> None:
    content = notebook([CELLS[0], CELLS[2], CELLS[3]], indent=indent)
    script = read_notebook(content).split("\n")
    raw = content.split("\n")
    assert len(script) == len(raw)
    assert {line: raw[row].strip() for row, line in enumerate(script) if line} == {
        "# ## Load": '"## Load\\n",',
        '# The "data".': '"The \\"data\\"."',
        "# raw": '"raw"',
    }


def test_outputs_and_pictures_are_no_text_and_magics_are_comments() -> None:
    cell = CELLS[1] | {"outputs": [{"data": {"image/png": "A" * 20_000}}]}
    script = [line for line in read_notebook(notebook([cell])).split("\n") if line]
    assert script == ["# %matplotlib inline", "import os", "def load(path):", "    return open(path)"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        '{"cells": 3}',
        '{"cells": [{"cell_type": "code"}]}',
        notebook([CELLS[0]], indent=None),
        notebook(CELLS),  # a source within an output
        notebook([CELLS[0] | {"source": "one string"}]),
    ],
)
def test_what_is_not_written_as_a_notebook_stays_as_it_is(content: str) -> None:
    assert read_notebook(content) == content


def test_each_cell_is_a_chunk_and_so_is_each_function_in_it() -> None:
    cell = CELLS[1] | {"outputs": []}
    content = read_notebook(notebook([CELLS[0], cell, CELLS[3]]))
    chunks = chunk_document(Document("a.ipynb", content))
    assert [(chunk.kind, chunk.symbol, chunk.text) for chunk in chunks] == [
        ("window", "", '# ## Load\n\n# The "data".'),
        ("window", "", "# %matplotlib inline\nimport os"),
        ("function", "load", "def load(path):\n    return open(path)"),
        ("window", "", "# raw"),
    ]
    assert {chunk.language for chunk in chunks} == {"python"}
