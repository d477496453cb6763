"""Docstrings of Python files: taken out line by line, and their first sentences as questions for their functions.

What is blanked keeps its lines, so a span of the original is a span of the result. Knows nothing of packages.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

# Shorter sentences ("Return the name.") say nothing that one function alone does; longer ones are no questions.
MIN_WORDS: Final = 5
MAX_WORDS: Final = 40

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SENTENCE_END: Final = re.compile(r"(?<=[^.][.!?])\s+(?=[A-Z`:*])")


@dataclass(frozen=True)
class Documented:
    """A function and the first sentence of its docstring; lines are 1-based and include decorators."""

    sentence: str
    start_line: int
    end_line: int


def strip_docstrings(data: bytes) -> bytes:
    """Blank every docstring of a module; what is no Python stays as it is."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return data
    lines = data.splitlines(keepends=True)
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and (docstring := _docstring(node)) is not None:
            _blank(lines, docstring, is_all=len(node.body) == 1 and not isinstance(node, ast.Module))
    return b"".join(lines)


def documented_functions(data: bytes) -> Iterator[Documented]:
    """Yield the functions whose first sentence is long enough to be a question."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, _Function) and (docstring := _docstring(node)) is not None:
            sentence = _first_sentence(str(docstring.value))
            if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield Documented(sentence, first, node.end_lineno or node.lineno)


def _docstring(node: ast.Module | ast.ClassDef | _Function) -> ast.Constant | None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def _blank(lines: list[bytes], docstring: ast.Constant, *, is_all: bool) -> None:
    """Take out a docstring; a body that was nothing else, or goes on in the same line, becomes or keeps a `...`."""
    first, last = docstring.lineno - 1, (docstring.end_lineno or docstring.lineno) - 1
    before = lines[first][: docstring.col_offset]
    after = lines[last][docstring.end_col_offset :]
    filler = b"..." if is_all or after.lstrip().startswith(b";") else b""
    if first == last:
        lines[first] = before + filler + after
        return
    lines[first] = before + filler + b"\n"
    lines[first + 1 : last] = [b"\n"] * (last - first - 1)
    lines[last] = after if after.strip() else b"\n"


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(inspect.cleandoc(docstring).split("\n\n", 1)[0].split())
    return _SENTENCE_END.split(paragraph, maxsplit=1)[0].strip()
