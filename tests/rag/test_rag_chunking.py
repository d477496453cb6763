"""Cutting documents: nothing is lost, nothing crashes, and definitions carry their names."""

import inspect
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from rag import chunking
from rag.chunking import MAX_CHUNK_CHARS, MAX_CHUNK_LINES, chunk_document, split_lines, text_to_embed
from rag.symbols import find_definitions
from rag.types import Chunk, Document

SOURCES = {
    "a.py": "import os\n\n# Adds.\n@cache\ndef add(a, b):\n    return a + b\n\nclass Stack:\n    '''Last in.'''\n\n"
    "    size = 0\n\n    def push(self, x):\n        self.x = x\n\n    limit = 3\n\nprint(add(1, 2))\n",
    "a.js": "const add = (a, b) => {\n  return a + b;\n};\n"
    "export class Stack {\n  push(x) {\n    this.x = x;\n  }\n}\n",
    "a.ts": "interface Shape {\n  area(): number;\n}\nnamespace Geo {\n  export function area(s: Shape) {\n"
    "    return s.area();\n  }\n}\n",
    "a.tsx": "export function View(p: { n: number }) {\n  return <b>{p.n}</b>;\n}\n",
    "a.go": "package p\n\n// Push adds.\nfunc (s *Stack[T]) Push(x T) {\n\ts.x = x\n}\n\n"
    "type Stack[T any] struct {\n\tx T\n}\n",
    "a.rs": "/// Doc.\n#[derive(Debug)]\nstruct Stack {\n    x: u8,\n}\n\n"
    "impl<T> Stack<T> {\n    fn push(&mut self) {\n"
    "        self.x = 1;\n    }\n}\n",
    "a.c": "struct point {\n  int x;\n};\n\n/* Adds. */\nstatic int *add(int a) {\n  return 0;\n}\n",
    "a.cpp": "namespace net {\nclass Socket {\n  void open() {\n  }\n};\n}\n\nvoid Socket::close() {\n}\n",
    "a.h": "namespace net {\nclass Socket {\n  void open() {\n  }\n};\n}\n",
    "b.h": "class NET_API Socket : public Base {\n public:\n  int x;\n  void open() {\n    go();\n  }\n};\n",
    "a.sh": "greet() {\n  echo hi\n}\ngreet\n",
    "A.java": "package p;\n\n/** Doc. */\nclass Stack {\n  int x;\n\n  void push(int x) {\n    this.x = x;\n  }\n}\n",
    "a.md": "intro\n\n# Guide\ntext\n```\n# no heading\n```\n## Install\nrun it\n# Other\nend\n",
    "a.txt": "one\ntwo\n",
    "Makefile": "all:\n\techo hi\n",
}
SYMBOLS = {
    "a.py": {"add": "function", "Stack": "class", "Stack.push": "method"},
    "a.js": {"add": "function", "Stack": "class", "Stack.push": "method"},
    "a.ts": {"Shape": "class", "Geo.area": "function"},
    "a.tsx": {"View": "function"},
    "a.go": {"Stack.Push": "method", "Stack": "class"},
    "a.rs": {"Stack": "class", "Stack.push": "method"},
    "a.c": {"point": "class", "add": "function"},
    "a.cpp": {"net.Socket": "class", "net.Socket.open": "method", "Socket.close": "method"},
    "a.h": {"net.Socket": "class", "net.Socket.open": "method"},
    "b.h": {"Socket": "class", "Socket.open": "method"},
    "a.sh": {"greet": "function"},
    "A.java": {"Stack": "class", "Stack.push": "method"},
    "a.md": {"Guide": "section", "Guide > Install": "section", "Other": "section"},
}


def chunks_of(path: str, content: str) -> list[Chunk]:
    return chunk_document(Document(path, content))


def assert_nothing_is_lost(content: str, chunks: list[Chunk]) -> None:
    lines = split_lines(content)
    covered = {line for chunk in chunks for line in range(chunk.start_line, chunk.end_line + 1)}
    missing = [number for number, line in enumerate(lines, 1) if line.strip() and number not in covered]
    assert not missing, f"lines in no chunk: {missing}"
    for chunk in chunks:
        span = "\n".join(lines[chunk.start_line - 1 : chunk.end_line])
        assert chunk.text == span or (chunk.start_line == chunk.end_line and chunk.text in span)
        assert chunk.text.strip()
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)


@pytest.mark.parametrize("path", SOURCES)
def test_every_line_is_in_a_chunk_whose_text_is_its_span(path: str) -> None:
    assert_nothing_is_lost(SOURCES[path], chunks_of(path, SOURCES[path]))


@pytest.mark.parametrize("path", SYMBOLS)
def test_definitions_carry_their_kind_and_qualified_name(path: str) -> None:
    found = {chunk.symbol: chunk.kind for chunk in reversed(chunks_of(path, SOURCES[path])) if chunk.symbol}
    assert SYMBOLS[path].items() <= found.items()


@pytest.mark.parametrize("path", SOURCES)
def test_broken_source_is_cut_without_losing_a_line(path: str) -> None:
    choose = random.Random(path)  # noqa: S311 - a repeatable choice, not a secret
    for _ in range(40):
        content = SOURCES[path]
        for _ in range(3):
            start = choose.randrange(len(content))
            content = (
                content[:start]
                + choose.choice(["", "{", "'''", "(", "\r\n", "\x0c", "é", "\ufeff", "}}"])
                + content[start + choose.randrange(8) :]
            )
        assert_nothing_is_lost(content, chunks_of(path, content))


def test_a_real_module_is_cut_without_losing_a_line() -> None:
    for module in (json.decoder, json.encoder, inspect):
        content = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert_nothing_is_lost(content, chunks_of("m.py", content))


def test_a_comment_and_a_decorator_belong_to_the_function_below() -> None:
    (add,) = [chunk for chunk in chunks_of("a.py", SOURCES["a.py"]) if chunk.symbol == "add"]
    assert (add.start_line, add.end_line) == (3, 6)
    (push,) = [chunk for chunk in chunks_of("a.go", SOURCES["a.go"]) if chunk.symbol == "Stack.Push"]
    assert push.text.startswith("// Push adds.")


def test_what_lies_between_methods_is_a_window_of_the_class() -> None:
    between = [chunk for chunk in chunks_of("a.py", SOURCES["a.py"]) if "limit = 3" in chunk.text]
    assert [(chunk.kind, chunk.symbol) for chunk in between] == [("window", "Stack")]


def test_equal_text_at_an_equal_place_has_an_equal_id_and_any_other_has_not() -> None:
    before = [chunk.chunk_id for chunk in chunks_of("a.py", SOURCES["a.py"])]
    assert before == [chunk.chunk_id for chunk in chunks_of("a.py", SOURCES["a.py"])]
    assert not set(before) & {chunk.chunk_id for chunk in chunks_of("b.py", SOURCES["a.py"])}
    changed = [chunk.chunk_id for chunk in chunks_of("a.py", SOURCES["a.py"].replace("a + b", "a - b"))]
    assert len(set(before) - set(changed)) == 1


def test_a_large_function_is_split_into_overlapping_pieces_of_one_name() -> None:
    content = "def big():\n" + "".join(f"    value_{number} = {number}\n" for number in range(300))
    chunks = chunks_of("a.py", content)
    assert_nothing_is_lost(content, chunks)
    assert len(chunks) > 1
    assert {(chunk.kind, chunk.symbol) for chunk in chunks} == {("function", "big")}
    assert all(after.start_line <= before.end_line for before, after in pairwise(chunks))


def test_functions_inside_a_large_function_are_chunks_of_their_own() -> None:
    inner = "".join(f"    def part_{number}():\n        x = {number}\n        return x\n\n" for number in range(30))
    symbols = {chunk.symbol for chunk in chunks_of("a.py", f"def make():\n{inner}    return 1\n")}
    assert {"make", "make.part_0", "make.part_29"} <= symbols


@pytest.mark.parametrize("path", ["a.py", "a.txt", "a.md", "a.js"])
def test_no_chunk_is_larger_than_the_limit_even_on_one_endless_line(path: str) -> None:
    content = "x = '" + "word " * 5_000 + "'\n" + "y = 1\n" * 1_000
    chunks = chunks_of(path, content)
    assert_nothing_is_lost(content, chunks)
    assert max(len(chunk.text) for chunk in chunks) <= MAX_CHUNK_CHARS
    assert max(chunk.end_line - chunk.start_line + 1 for chunk in chunks) <= MAX_CHUNK_LINES
    assert sum(len(chunk.text) for chunk in chunks) < 2 * len(content)


@pytest.mark.parametrize("content", ["", "\n", "  \n\t\n", "\ufeff"[:0]])
def test_an_empty_or_blank_document_has_no_chunks(content: str) -> None:
    assert chunks_of("a.py", content) == []


def test_a_file_without_a_final_newline_keeps_its_last_line() -> None:
    (chunk,) = chunks_of("a.txt", "one\ntwo")
    assert (chunk.start_line, chunk.end_line, chunk.text) == (1, 2, "one\ntwo")


def test_nesting_deeper_than_the_stack_does_not_crash() -> None:
    for content in ("(" * 20_000, "[\n" * 20_000, "def f():\n" + "".join(" " * n + "if x:\n" for n in range(1, 400))):
        assert_nothing_is_lost(content, chunks_of("a.py", content))


def test_a_heading_inside_fenced_code_is_not_a_section() -> None:
    symbols = [chunk.symbol for chunk in chunks_of("a.md", SOURCES["a.md"])]
    assert symbols == ["", "Guide", "Guide > Install", "Other"]


def test_the_version_of_the_chunker_is_stored_with_an_index() -> None:
    assert chunking.CHUNKER_VERSION >= 1


def test_a_later_piece_of_a_definition_is_embedded_with_its_signature() -> None:
    body = "".join(f"        x{number} = {number}\n" for number in range(200))
    source = f"class Stack(list):\n    def push(self, item):\n{body}\n    limit = 3\n"
    first, *later, rest = [chunk for chunk in chunks_of("a.py", source) if chunk.kind != "class"]
    assert first.signature == ""
    assert text_to_embed(first).startswith("a.py Stack.push\n    def push(self, item):\n        x0 = 0\n")
    assert len(later) > 1
    assert {chunk.signature for chunk in later} == {"def push(self, item)"}
    assert text_to_embed(later[0]).startswith("a.py Stack.push\ndef push(self, item)\n        x")
    assert (rest.kind, rest.symbol, rest.signature) == ("window", "Stack", "class Stack(list)")


def test_sections_of_restructured_text_are_named_by_their_titles() -> None:
    source = (
        "intro\n\n=====\nGuide\n=====\n\ntext\n\nInstall\n-------\n\n- item\n\n=== ===\na   b\n=== ===\n\n"
        "Deep\n~~~~\nx\n\nUse\n---\n\nend\n----\n"
    )
    found = [(chunk.symbol, chunk.start_line) for chunk in chunks_of("a.rst", source)]
    assert found == [
        ("", 1),
        ("Guide", 3),
        ("Guide > Install", 9),
        ("Guide > Install > Deep", 18),
        ("Guide > Use", 22),
        ("Guide > end", 25),
    ]


def test_a_file_of_many_comments_is_read_once_and_not_once_for_each() -> None:
    """A walk that looks for the parent of each of them takes minutes."""
    source = b"#\n" * 400_000 + b"def last():\n    pass\n"
    assert [found.symbol for found in find_definitions(source, "python", 60)] == ["last"]
