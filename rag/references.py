"""Where a symbol is defined, and where it is named: for whom would rather look than search.

Parsed languages give definitions (functions, methods, classes, and the constants and variables outside functions) and
references, which are identifiers and never words of a comment or a string. Elsewhere every whole word counts, and its
kind says `word`. Types are not resolved: a reference to `push` may be to any `push`. Reads only files in which the name
occurs, found by the lexical index. Works on the text as indexed.
"""

import re
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

import numpy as np
from tree_sitter import Node

from rag.errors import InvalidRequestError
from rag.generation import Generation
from rag.languages import language_of
from rag.sparse import split_words
from rag.symbols import Definition, definitions_of, grammar_of, parse
from rag.texts import lines_of
from rag.types import Chunk, SymbolLocation, SymbolRequest, SymbolResult

MAX_SYMBOL_CHARS: Final = 500
MAX_LOCATIONS: Final = 1_000

# Past this the places found so far are the answer, marked as truncated: `the` is in the comments of every file (s).
TIME_LIMIT_S: Final = 10.0

# A line is shown to people and models; generated code has longer ones.
MAX_LINE_CHARS: Final = 300

_SEPARATORS: Final = re.compile(r"::|->|\.|#")

# The parsers' node types of names, besides those that end in `identifier`.
_NAME_TYPES: Final = frozenset({"variable_name", "shorthand_property_identifier_pattern"})
_BASH_COMMANDS: Final = frozenset({"command_name", "function_definition"})

# What gives a name to a value, and the field where the name stands.
_BINDINGS: Final = {
    "assignment": "left",
    "assignment_expression": "left",
    "type_alias_statement": "left",
    "const_spec": "name",
    "var_spec": "name",
    "const_item": "name",
    "static_item": "name",
    "type_alias_declaration": "name",
    "variable_assignment": "name",
    "variable_declarator": "name",
    "init_declarator": "declarator",
    "preproc_def": "name",
    "preproc_function_def": "name",
    "enumerator": "name",
    "enum_variant": "name",
    "enum_constant": "name",
}


@dataclass
class _Found:
    """What was found so far: parsed references come before those by word."""

    limit: int  # of each; one more says that there are more
    definitions: list[SymbolLocation] = field(default_factory=list)
    references: list[SymbolLocation] = field(default_factory=list)
    words: list[SymbolLocation] = field(default_factory=list)
    is_cut: bool = False  # time was up before the last file

    def wants_definitions(self) -> bool:
        return len(self.definitions) <= self.limit

    def wants_uses(self) -> bool:
        return len(self.references) <= self.limit


@dataclass(frozen=True)
class _Name:
    """What is looked for: the parts of a name, and how its last one looks as a word and where defined."""

    parts: tuple[str, ...]
    word: re.Pattern[str]
    declared: re.Pattern[str]
    bound: re.Pattern[str]

    @classmethod
    def of(cls, symbol: str) -> "_Name | None":
        parts = tuple(part for part in _SEPARATORS.split("".join(symbol.split())) if part)
        if not parts or len(symbol) > MAX_SYMBOL_CHARS:
            return None
        word = rf"(?<!\w){re.escape(parts[-1])}(?!\w)"
        # After a word that defines, in any chunk: a function's chunk may hold an inner one.
        declared = rf"(?:class|const|def|define|enum|fn|func|function|let|struct|type|var)[ \t]+{word}"
        # `LIMIT = 3`, `limit: int`, and a line of an enumeration, outside functions
        bound = rf"{word}[^=\n(]*=(?!=)|^[ \t]*{word}[ \t]*(?::|(?:\([^\n]*)?,?[ \t\r]*$)"
        return cls(parts, re.compile(word), re.compile(declared), re.compile(bound, re.MULTILINE))

    def may_be_defined_in(self, chunk: Chunk) -> bool:
        """Tell cheaply whether a definition may be there, so that not every file is taken apart."""
        if chunk.symbol.rpartition(".")[2] == self.parts[-1] or self.declared.search(chunk.text):
            return True
        return chunk.kind not in ("function", "method") and self.bound.search(chunk.text) is not None

    def is_meant_by(self, path: str, symbol: str) -> bool:
        """Tell whether the qualified name, the file's path before it, ends in the wanted parts."""
        full = (*PurePosixPath(path).with_suffix("").parts, *symbol.split("."))
        return full[-len(self.parts) :] == self.parts


@dataclass(frozen=True)
class _File:
    """One file in which the name occurs, and the chunks of it that have the name."""

    path: str
    language: str
    lines: list[str]
    chunks: list[Chunk]

    def location(self, kind: str, symbol: str, rows: tuple[int, int], *, is_definition: bool) -> SymbolLocation:
        return SymbolLocation(
            path=self.path,
            language=self.language,
            kind=kind,
            symbol=symbol,
            start_line=rows[0] + 1,
            end_line=rows[1] + 1,
            line=self.lines[rows[0]].strip()[:MAX_LINE_CHARS],
            role="definition" if is_definition else "reference",
        )

    def use(self, kind: str, row: int) -> SymbolLocation:
        symbols = (chunk.symbol for chunk in self.chunks if chunk.start_line <= row + 1 <= chunk.end_line)
        return self.location(kind, next(symbols, ""), (row, row), is_definition=False)


def find_symbol(generation: Generation, request: SymbolRequest) -> SymbolResult:
    """Find the definitions and references of a symbol, by path and line; up to `max_results` of each, in TIME_LIMIT_S.

    A qualified name (`Stack.push`, `Stack::push`, `rag.sync.scan_folder`) narrows the definitions to those whose
    qualified name, with the file's path before it, ends in it; references are to its last part.

    Raises:
        InvalidRequestError: `symbol` is empty or too long, or `max_results` is out of range.
    """
    name = _Name.of(request.symbol)
    if name is None:
        raise InvalidRequestError(
            f"symbol {request.symbol[:100]!r} is not a name; give one like 'push' or 'Stack.push'", param="symbol"
        )
    limit = request.max_results
    if not 1 <= limit <= MAX_LOCATIONS:
        raise InvalidRequestError(f"max_results is {limit}; give 1 to {MAX_LOCATIONS}", param="max_results")
    found = _Found(limit)
    deadline = time.monotonic() + TIME_LIMIT_S
    for path, chunks in sorted(_chunks_with(generation, name.parts[-1]).items()):
        if time.monotonic() > deadline:
            found.is_cut = True
            break
        may_define = found.wants_definitions() and any(map(name.may_be_defined_in, chunks))
        if may_define or found.wants_uses():
            file = _File(path, language_of(path), lines_of(generation, path), chunks)
            _search_file(file, name, found, may_define=may_define)
    references = [*found.references, *found.words]
    return SymbolResult(
        collection=request.collection,
        symbol=request.symbol,
        definitions=tuple(found.definitions[:limit]),
        references=tuple(references[:limit]),
        truncated=found.is_cut or len(found.definitions) > limit or len(references) > limit,
    )


def _chunks_with(generation: Generation, name: str) -> dict[str, list[Chunk]]:
    """Collect the chunks in whose text `name` occurs, by path."""
    rows: Iterable[int] = range(len(generation.chunks))
    if split_words(name):  # else its words are not in the index, and every chunk is read
        rows = np.flatnonzero(generation.sparse.scores(name) > 0).tolist()
    chunks: dict[str, list[Chunk]] = {}
    for row in rows:
        chunk = generation.chunks[row]
        if name in chunk.text:
            chunks.setdefault(chunk.path, []).append(chunk)
    return chunks


def _search_file(file: _File, name: _Name, found: _Found, *, may_define: bool) -> None:
    content = "\n".join(file.lines)
    grammar = grammar_of(file.path, file.language, content)
    if grammar is None:
        rows = [row for row, line in enumerate(file.lines) if name.word.search(line)]
        found.words.extend(file.use("word", row) for row in rows)
        return
    source = content.encode("utf-8", "replace")
    tree = parse(source, grammar)
    definitions = definitions_of(tree, source, grammar, whole_rows=0) if may_define else []
    own_names: list[tuple[int, int]] = []
    for definition in definitions:
        if definition.symbol.split(".")[-1] == name.parts[-1]:
            own_names.append(definition.name_span)
            if name.is_meant_by(file.path, definition.symbol) and found.wants_definitions():
                found.definitions.append(_defined(file, definition))
    own_names.sort()
    around = _innermost(definitions, len(file.lines))
    last_row = -1
    for node in _identifiers(tree.root_node, content, name.word):
        if not found.wants_uses() and not (may_define and found.wants_definitions()):
            return
        row = node.start_point[0]
        before = bisect_right(own_names, (node.start_byte, len(source)))
        if before and node.start_byte < own_names[before - 1][1]:
            continue
        variable = _variable(node, name, file, around) if may_define and _is_bound(node) else None
        if variable is not None:
            found.definitions.append(variable)
        elif row != last_row and found.wants_uses():  # one a line
            found.references.append(file.use("identifier", row))
            last_row = row


def _defined(file: _File, definition: Definition) -> SymbolLocation:
    """Locate a definition by its whole span, and quote the line that has its name."""
    name_row = min(definition.name_row, len(file.lines) - 1)
    rows = (definition.first_row, min(definition.last_row, len(file.lines) - 1))
    quoted = file.location("", "", (name_row, name_row), is_definition=True).line
    located = file.location(definition.kind, definition.symbol, rows, is_definition=True)
    return SymbolLocation(**{**vars(located), "line": quoted})


def _identifiers(root: Node, content: str, word: re.Pattern[str]) -> Iterator[Node]:
    """Yield the nodes that are this very name, in order."""
    start = seen = 0  # in bytes and in characters; counted on from match to match, or a long file would take minutes
    for match in word.finditer(content):
        start += len(content[seen : match.start()].encode("utf-8", "replace"))
        seen = match.start()
        end = start + len(match.group().encode("utf-8", "replace"))
        node = root.descendant_for_byte_range(start, end)
        if node is None or (node.start_byte, node.end_byte) != (start, end) or not _is_name(node):
            continue
        yield node


def _is_name(node: Node) -> bool:
    if node.type == "word":  # any word of a shell's line; a name where a command is expected
        return node.parent is not None and node.parent.type in _BASH_COMMANDS
    return node.type.endswith("identifier") or node.type in _NAME_TYPES


def _innermost(definitions: list[Definition], n_rows: int) -> list[Definition | None]:
    """Give each row the innermost definition around it; inner ones come later and paint over outer ones."""
    around: list[Definition | None] = [None] * n_rows
    for definition in definitions:
        rows = slice(definition.first_row, min(definition.last_row + 1, n_rows))
        around[rows] = [definition] * len(around[rows])
    return around


def _variable(node: Node, name: _Name, file: _File, around: list[Definition | None]) -> SymbolLocation | None:
    """Take a name that gets a value for a definition, unless that happens inside a function or to another's part."""
    row = node.start_point[0]
    outer = around[row] if row < len(around) else None
    if outer is not None and outer.kind != "class":
        return None
    symbol = f"{outer.symbol}.{name.parts[-1]}" if outer is not None else name.parts[-1]
    if not name.is_meant_by(file.path, symbol):
        return None
    return file.location("variable", symbol, (row, row), is_definition=True)


def _is_bound(node: Node) -> bool:
    """Tell whether a value is given to the name here: `LIMIT = 3`, `const LIMIT: u8 = 3`, `#define LIMIT 3`."""
    parent = node.parent
    while parent is not None and parent.type.endswith("declarator") and parent.type not in _BINDINGS:
        node, parent = parent, parent.parent  # `int *limits[3] = ...`
    named = parent.child_by_field_name(_BINDINGS[parent.type]) if parent and parent.type in _BINDINGS else None
    return named is not None and named.id == node.id
