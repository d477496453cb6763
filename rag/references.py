"""Where a symbol is defined, and where it is named: for whom would rather look than search.

Parsed languages give definitions (functions, methods, classes, and the constants and variables outside functions) and
references, which are identifiers and never words of a comment or a string. Elsewhere every whole word counts, and its
kind says `word`. Types are not resolved: a reference to `push` may be to any `push`. Reads only files in which the name
occurs, found by the lexical index. Works on the text as indexed.
"""

import re
from collections.abc import Iterator
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
from rag.types import SymbolLocation, SymbolRequest, SymbolResult

MAX_SYMBOL_CHARS: Final = 500
MAX_LOCATIONS: Final = 1_000

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

    definitions: list[SymbolLocation] = field(default_factory=list)
    references: list[SymbolLocation] = field(default_factory=list)
    words: list[SymbolLocation] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    """One file in which the name occurs."""

    path: str
    language: str
    lines: list[str]
    definitions: list[Definition]

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

    def enclosing(self, row: int) -> Definition | None:
        """Return the innermost definition around a row."""
        around = [found for found in self.definitions if found.first_row <= row <= found.last_row]
        return around[-1] if around else None


def find_symbol(generation: Generation, request: SymbolRequest) -> SymbolResult:
    """Find the definitions and references of a symbol, by path and line; up to `max_results` of each.

    A qualified name (`Stack.push`, `Stack::push`, `rag.sync.scan_folder`) narrows the definitions to those whose
    qualified name, with the file's path before it, ends in it; references are to its last part.

    Raises:
        InvalidRequestError: `symbol` is empty or too long, or `max_results` is out of range.
    """
    wanted = tuple(part for part in _SEPARATORS.split("".join(request.symbol.split())) if part)
    if not wanted or len(request.symbol) > MAX_SYMBOL_CHARS:
        raise InvalidRequestError(
            f"symbol {request.symbol[:100]!r} is not a name; give one like 'push' or 'Stack.push'", param="symbol"
        )
    if not 1 <= request.max_results <= MAX_LOCATIONS:
        raise InvalidRequestError(
            f"max_results is {request.max_results}; give 1 to {MAX_LOCATIONS}", param="max_results"
        )
    found = _Found()
    for path in _paths_with(generation, wanted[-1]):
        _search_file(path, lines_of(generation, path), wanted, found)
    references = [*found.references, *found.words]
    limit = request.max_results
    return SymbolResult(
        collection=request.collection,
        symbol=request.symbol,
        definitions=tuple(found.definitions[:limit]),
        references=tuple(references[:limit]),
        truncated=len(found.definitions) > limit or len(references) > limit,
    )


def _paths_with(generation: Generation, name: str) -> list[str]:
    """List the files in whose text `name` occurs, sorted."""
    rows = range(len(generation.chunks))
    if split_words(name):  # else its words are not in the index, and every chunk is read
        rows = np.flatnonzero(generation.sparse.scores(name) > 0).tolist()
    paths = {chunk.path for chunk in (generation.chunks[row] for row in rows) if name in chunk.text}
    return sorted(paths)


def _search_file(path: str, lines: list[str], wanted: tuple[str, ...], found: _Found) -> None:
    content = "\n".join(lines)
    language = language_of(path)
    grammar = grammar_of(path, language, content)
    word = re.compile(rf"(?<!\w){re.escape(wanted[-1])}(?!\w)")
    if grammar is None:
        file = _File(path, language, lines, [])
        rows = [row for row, line in enumerate(lines) if word.search(line)]
        found.words.extend(file.location("word", "", (row, row), is_definition=False) for row in rows)
        return
    source = content.encode("utf-8", "replace")
    tree = parse(source, grammar)
    file = _File(path, language, lines, definitions_of(tree, source, grammar, whole_rows=0))
    own_names = []
    for definition in file.definitions:
        if definition.symbol.split(".")[-1] == wanted[-1]:
            own_names.append(definition.name_span)
            if _is_meant(path, definition.symbol, wanted):
                found.definitions.append(_defined(file, definition))
    for node in _identifiers(tree.root_node, content, word):
        if not any(start <= node.start_byte < end for start, end in own_names):
            _add_use(file, node, wanted, found)


def _is_meant(path: str, symbol: str, wanted: tuple[str, ...]) -> bool:
    """Tell whether the qualified name, the file's path before it, ends in the wanted parts."""
    full = (*PurePosixPath(path).with_suffix("").parts, *symbol.split("."))
    return full[-len(wanted) :] == wanted


def _defined(file: _File, definition: Definition) -> SymbolLocation:
    """Locate a definition by its whole span, and quote the line that has its name."""
    name_row = min(definition.name_row, len(file.lines) - 1)
    rows = (definition.first_row, min(definition.last_row, len(file.lines) - 1))
    quoted = file.location("", "", (name_row, name_row), is_definition=True).line
    located = file.location(definition.kind, definition.symbol, rows, is_definition=True)
    return SymbolLocation(**{**vars(located), "line": quoted})


def _identifiers(root: Node, content: str, word: re.Pattern[str]) -> Iterator[Node]:
    """Yield the nodes that are this very name, in order."""
    is_ascii = content.isascii()
    for match in word.finditer(content):
        start = match.start() if is_ascii else len(content[: match.start()].encode("utf-8", "replace"))
        end = start + len(match.group().encode("utf-8", "replace"))
        node = root.descendant_for_byte_range(start, end)
        if node is None or (node.start_byte, node.end_byte) != (start, end) or not _is_name(node):
            continue
        yield node


def _is_name(node: Node) -> bool:
    if node.type == "word":  # any word of a shell's line; a name where a command is expected
        return node.parent is not None and node.parent.type in _BASH_COMMANDS
    return node.type.endswith("identifier") or node.type in _NAME_TYPES


def _add_use(file: _File, node: Node, wanted: tuple[str, ...], found: _Found) -> None:
    """Take a name as the definition of a variable outside functions, or as a reference; one a line."""
    row = node.start_point[0]
    around = file.enclosing(row)
    symbol = around.symbol if around is not None else ""
    if _is_bound(node) and (around is None or around.kind == "class"):
        name = ".".join(part for part in (symbol, wanted[-1]) if part)
        if _is_meant(file.path, name, wanted):
            found.definitions.append(file.location("variable", name, (row, row), is_definition=True))
            return
    last = found.references[-1] if found.references else None
    if last is None or (last.path, last.start_line) != (file.path, row + 1):
        found.references.append(file.location("identifier", symbol, (row, row), is_definition=False))


def _is_bound(node: Node) -> bool:
    """Tell whether a value is given to the name here: `LIMIT = 3`, `const LIMIT: u8 = 3`, `#define LIMIT 3`."""
    parent = node.parent
    while parent is not None and parent.type.endswith("declarator") and parent.type not in _BINDINGS:
        node, parent = parent, parent.parent  # `int *limits[3] = ...`
    named = parent.child_by_field_name(_BINDINGS[parent.type]) if parent and parent.type in _BINDINGS else None
    return named is not None and named.id == node.id
