"""Definitions and references, outlines and overviews, through `Retrieval` as agents ask for them."""

from collections.abc import Callable

import pytest

from rag import references
from rag.chunking import MAX_CHUNK_CHARS
from rag.errors import CollectionNotFoundError, InvalidRequestError
from rag.generation import Generation
from rag.index import Retrieval
from rag.texts import lines_of
from rag.types import IndexReport, RetrieveRequest, SymbolLocation, SymbolRequest, SymbolResult

Post = Callable[[dict[str, str]], IndexReport]

# In each language: the definition of `push`, a use of it, and the name in a comment and in a string.
USES = {
    "a.py": "# push it\nclass Stack:\n    def push(self, x):\n        return 'push'\n\n"
    "def go(s):\n    s.push(1)\n    return f'{s.push}'\n",
    "a.js": "// push it\nclass Stack {\n  push(x) {\n    return 'push';\n  }\n}\nnew Stack().push(`push`);\n",
    "a.ts": "// push it\nclass Stack {\n  push(x: string): void {\n    return;\n  }\n}\nnew Stack().push('push');\n",
    "a.tsx": "// push it\nfunction push() {\n  return <b>push</b>;\n}\nconst x = <A on={push} t='push'/>;\n",
    "a.go": 'package p\n\n// push it\nfunc (s *Stack) push(x int) {\n\tprint("push")\n}\n\n'
    "func f(s *Stack) {\n\ts.push(1)\n}\n",
    "a.rs": "// push it\nimpl Stack {\n    fn push(&self) {\n"
    '        print("push");\n    }\n}\nfn f(s: Stack) {\n    s.push();\n}\n',
    "a.c": '/* push it */\nint push(int x) {\n  puts("push");\n  return x;\n}\nint y(void) {\n  return push(1);\n}\n',
    "a.cpp": '// push it\nvoid Stack::push(int x) {\n  puts("push");\n}\nvoid f(Stack s) {\n  s.push(1);\n}\n',
    "a.sh": '# push it\npush() {\n  echo "push" push\n}\npush 1\n',
    "A.java": "// push it\nclass Stack {\n  void push(int x) {\n"
    '    print("push");\n  }\n  void f() {\n    push(1);\n  }\n}\n',
}
LINES = {  # path: (lines of definitions' names, lines of references)
    "a.py": (3, [7, 8]),
    "a.js": (3, [7]),
    "a.ts": (3, [7]),
    "a.tsx": (2, [5]),
    "a.go": (4, [9]),
    "a.rs": (3, [8]),
    "a.c": (2, [7]),
    "a.cpp": (2, [6]),
    "a.sh": (2, [5]),
    "A.java": (3, [7]),
}


def find(retrieval: Retrieval, symbol: str, max_results: int = 50) -> SymbolResult:
    return retrieval.find_symbol(SymbolRequest("c", symbol, max_results))


def places(found: tuple[SymbolLocation, ...]) -> list[str]:
    return [f"{one.path}:{one.start_line} {one.kind} {one.symbol}".rstrip() for one in found]


@pytest.mark.parametrize("path", sorted(USES))
def test_a_definition_and_its_uses_are_found_but_no_comment_and_no_string(
    post: Post, retrieval: Retrieval, path: str
) -> None:
    post({path: USES[path], "other.py": "unrelated = 1\n"})
    found = find(retrieval, "push")
    row, references = LINES[path]
    (definition,) = found.definitions
    assert definition.line == USES[path].split("\n")[row - 1].strip()
    assert definition.start_line <= row <= definition.end_line
    assert definition.role == "definition"
    assert [one.start_line for one in found.references] == references
    assert {one.role for one in found.references} == {"reference"}
    assert {one.kind for one in found.references} == {"identifier"}


def test_a_reference_says_what_it_stands_in(post: Post, retrieval: Retrieval) -> None:
    post({"a.py": USES["a.py"]})
    assert [one.symbol for one in find(retrieval, "push").references] == ["go", "go"]
    assert find(retrieval, "push").references[0].line == "s.push(1)"


TWO = {
    "net/queue.py": "class Queue:\n    def push(self):\n        pass\n",
    "net/stack.py": "class Stack:\n    def push(self):\n        pass\n",
}


@pytest.mark.parametrize(
    "symbol", ["Stack.push", "Stack::push", "Stack#push", " Stack.push ", "stack.Stack.push", "net.stack.Stack.push"]
)
def test_a_qualified_name_narrows_the_definitions(post: Post, retrieval: Retrieval, symbol: str) -> None:
    post(TWO)
    assert places(find(retrieval, symbol).definitions) == ["net/stack.py:2 method Stack.push"]


def test_a_bare_name_finds_all_and_a_wrong_qualifier_none(post: Post, retrieval: Retrieval) -> None:
    post(TWO)
    assert len(find(retrieval, "push").definitions) == 2
    assert find(retrieval, "Heap.push").definitions == ()
    assert find(retrieval, "pus").definitions == ()
    assert find(retrieval, "Push").definitions == ()


def test_constants_and_variables_outside_functions_are_definitions(post: Post, retrieval: Retrieval) -> None:
    post(
        {
            "a.py": "LIMIT: int = 3\nclass A:\n    LIMIT = 4\ndef f():\n    LIMIT = 5\n    return LIMIT\n",
            "b.js": "const LIMIT = 3;\nconsole.log(LIMIT);\n",
            "c.go": "package p\n\nconst LIMIT = 3\n",
            "d.rs": "const LIMIT: u8 = 3;\nstatic OTHER: u8 = LIMIT;\n",
            "e.c": "#define LIMIT 3\nint limits[LIMIT];\n",
            "f.cpp": "static int *LIMIT = 0;\n",
            "g.java": "class G {\n  static final int LIMIT = 3;\n}\n",
            "h.sh": "LIMIT=3\necho $LIMIT\n",
        }
    )
    found = find(retrieval, "LIMIT")
    assert places(found.definitions) == [
        *("a.py:1 variable LIMIT", "a.py:3 variable A.LIMIT", "b.js:1 variable LIMIT", "c.go:3 variable LIMIT"),
        *("d.rs:1 variable LIMIT", "e.c:1 variable LIMIT", "f.cpp:1 variable LIMIT", "g.java:2 variable G.LIMIT"),
        "h.sh:1 variable LIMIT",
    ]
    assert [f"{one.path}:{one.start_line}" for one in found.references] == [
        *("a.py:5", "a.py:6", "b.js:2", "d.rs:2", "e.c:2", "h.sh:2"),
    ]


def test_definitions_are_found_however_many_uses_come_before(post: Post, retrieval: Retrieval) -> None:
    uses = {f"a{number}.py": "def f():\n    return name + name\n" for number in range(9)}
    inner = "def outer():\n    def name():\n        return 1\n    return name()\n"
    post({**uses, "b.py": inner, "c.py": "class C:\n    name: str\n", "d.c": "enum e {\n  x,\n  name\n};\n"})
    found = find(retrieval, "name", 3)
    assert [one.symbol for one in found.definitions] == ["outer.name", "C.name", "e.name"]
    assert found.truncated
    assert [one.path for one in found.references] == ["a0.py", "a1.py", "a2.py"]


def test_a_language_without_a_grammar_is_matched_by_word_and_says_so_after_all_others(
    post: Post, retrieval: Retrieval
) -> None:
    post({"a.rb": "def push\n  pushy\nend\n", "z.py": "push()\n", "README.md": "call `push` now\n"})
    found = find(retrieval, "push")
    assert places(found.references) == ["z.py:1 identifier", "README.md:1 word", "a.rb:1 word"]
    assert found.definitions == ()


def test_the_limit_holds_for_each_and_is_told(post: Post, retrieval: Retrieval) -> None:
    post({"a.py": "".join(f"def push():\n    pass\n\npush({n})\n" for n in range(3))})
    assert not find(retrieval, "push", 3).truncated
    found = find(retrieval, "push", 2)
    assert found.truncated
    assert (len(found.definitions), len(found.references)) == (2, 2)


@pytest.mark.parametrize(
    ("symbol", "limit", "param"),
    [("", 5, "symbol"), (" . ", 5, "symbol"), ("x" * 501, 5, "symbol"), ("a", 0, "max_results")],
)
def test_what_is_no_name_is_refused(post: Post, retrieval: Retrieval, symbol: str, limit: int, param: str) -> None:
    post({"a.py": "x = 1\n"})
    with pytest.raises(InvalidRequestError) as caught:
        find(retrieval, symbol, limit)
    assert caught.value.param == param


@pytest.mark.parametrize("symbol", ["_", "x" * 200, "größe", "$el"])
def test_names_that_the_lexical_index_does_not_have_are_found_too(
    post: Post, retrieval: Retrieval, symbol: str
) -> None:
    post({"a.js": f"/* ü */ let {symbol} = 1;\nuse({symbol});\n"})
    found = find(retrieval, symbol)
    assert ([one.start_line for one in found.definitions], [one.start_line for one in found.references]) == ([1], [2])


def test_an_outline_lists_definitions_with_depth_and_signature(post: Post, retrieval: Retrieval) -> None:
    post(
        {
            "a.py": "import os\n\n@cache\ndef add(\n    a: int,\n    b: int,\n) -> int:\n    def inner():\n"
            "        return a\n    return inner() + b\n\nclass Stack(list):\n    x = 1\n    # Adds.\n"
            "    def push(self, x):\n        pass\n",
        }
    )
    found = retrieval.outline("c", "a.py")
    assert (found.collection, found.language, found.n_lines) == ("c", "python", 16)
    assert [(item.depth, item.kind, item.symbol, item.start_line, item.end_line) for item in found.items] == [
        (0, "function", "add", 3, 10),
        (1, "function", "add.inner", 8, 9),
        (0, "class", "Stack", 12, 16),
        (1, "method", "Stack.push", 14, 16),
    ]
    assert [item.signature for item in found.items] == [
        *("def add( a: int, b: int, ) -> int", "def inner()", "class Stack(list)", "def push(self, x)"),
    ]


@pytest.mark.parametrize(
    ("path", "content", "signatures"),
    [
        ("a.ts", "export const add = (a: number) => {\n  return a;\n};\n", ["export const add = (a: number) =>"]),
        ("a.go", "package p\n\ntype Stack struct {\n\tx int\n}\n", ["type Stack struct"]),
        ("a.rs", "pub struct Stack {\n    x: u8,\n}\n", ["pub struct Stack"]),
        ("a.cpp", "template <class T>\nT add(T a) {\n  return a;\n}\n", ["template <class T> T add(T a)"]),
        ("A.java", "class A {\n  @Override\n  public void f() {\n  }\n}\n", ["class A", "@Override public void f()"]),
        ("a.md", "# Guide\nx\n## Install\ny\n", ["Guide", "Install"]),
        ("a.rst", "Guide\n=====\n\nx\n\nInstall\n-------\n\ny\n", ["Guide", "Install"]),
        ("a.rb", "def f\nend\n", []),
    ],
)
def test_signatures_are_of_one_line_in_every_language(
    post: Post, retrieval: Retrieval, path: str, content: str, signatures: list[str]
) -> None:
    post({path: content})
    assert [item.signature for item in retrieval.outline("c", path).items] == signatures


def test_a_file_that_is_not_there_has_no_outline(post: Post, retrieval: Retrieval) -> None:
    post({"a.py": "x = 1\n", "empty.py": ""})
    assert retrieval.outline("c", "empty.py").items == ()
    with pytest.raises(InvalidRequestError, match=r"no file 'b.py'"):
        retrieval.outline("c", "b.py")


@pytest.mark.parametrize("call", ["find_symbol", "outline", "overview"])
def test_a_collection_that_does_not_exist_is_said_to(retrieval: Retrieval, call: str) -> None:
    arguments = {"find_symbol": (SymbolRequest("no", "x"),), "outline": ("no", "a.py"), "overview": ("no",)}[call]
    with pytest.raises(CollectionNotFoundError):
        getattr(retrieval, call)(*arguments)


PROJECT = {
    "README.md": "# Tool\n\nDoes things.\n",
    "docs/README.md": "# Docs\n",
    "package.json": '{"main": "dist/index.js", "bin": {"tool": "cli.js"}, "scripts": {"test": "jest"}}\n',
    "pyproject.toml": '[project]\nname = "tool"\n\n[project.scripts]\ntool = "tool.cli:main"\n',
    "broken/package.json": "{",
    "Cargo.toml": '[[bin]]\nname = "fast"\n',
    "tool/__main__.py": "import tool\n",
    "cmd/serve/main.go": "package main\n\nfunc main() {\n\trun()\n}\n",
    "src/main.rs": "fn main() {\n    run();\n}\n",
    "app/App.java": "class App {\n  public static void main(String[] a) {\n    run();\n  }\n}\n",
    "tests/t.c": "int main(void) {\n  return 0;\n}\n",
    "Dockerfile": "FROM scratch\n",
    "Makefile": "X := 1\nall: test\n\techo\ntest:\n\techo\n",
}


def test_an_overview_says_where_to_begin(post: Post, retrieval: Retrieval) -> None:
    post(PROJECT)
    found = retrieval.overview("c")
    assert set(found.entry_points) == {
        *("package.json: main dist/index.js", "package.json: bin tool = cli.js", "package.json: script test = jest"),
        *("pyproject.toml: script tool = tool.cli:main", "Cargo.toml: bin fast = src/bin/fast.rs"),
        *("tool/__main__.py", "cmd/serve/main.go:3 main()", "src/main.rs:1 main()", "app/App.java:2 App.main()"),
        *("Dockerfile", "Makefile: all test"),
    }
    assert found.readme == "# Tool\n\nDoes things."


def test_an_overview_counts_files_lines_and_bytes(post: Post, retrieval: Retrieval) -> None:
    report = post({"a/b/c/x.py": "1\n2\n3\n", "a/y.py": "1\n", "z.md": "é\n"})
    found = retrieval.overview("c")
    assert (found.n_files, found.n_lines, found.n_bytes) == (report.n_files, report.n_lines, 11)
    assert [(share.language, share.n_files, share.n_lines, share.n_bytes) for share in found.languages] == [
        ("python", 2, 4, 8),
        ("markdown", 1, 1, 3),
    ]
    assert [(folder.path, folder.n_files, folder.n_lines) for folder in found.top_folders] == [
        ("a", 2, 4),
        ("a/b", 1, 3),
    ]
    assert [file.path for file in found.largest_files] == ["a/b/c/x.py", "z.md", "a/y.py"]


def test_an_empty_collection_has_an_overview(post: Post, retrieval: Retrieval) -> None:
    post({})
    assert retrieval.overview("c").languages == ()


def test_the_text_of_a_file_comes_back_from_its_chunks(post: Post, retrieval: Retrieval) -> None:
    long_line = "".join(str(number) for number in range(MAX_CHUNK_CHARS))
    contents = {
        "a.py": "import os\n\n\nclass A:\n    x = 1\n\n    def f(self):\n        pass\n",
        "long.txt": f"one\n{long_line}\nthree\n" + "x\n" * 40,
        "large.py": "def f():\n" + "".join(f"    x{n} = {n}\n" for n in range(400)),
        "crlf.txt": "a\r\nb\r\n",
    }
    post(contents)
    generation: Generation = retrieval._opened().store.load("c")[1]  # no door gives whole files
    for path, content in contents.items():
        assert "\n".join(lines_of(generation, path)) == content.rstrip("\n")
    assert lines_of(generation, "none") == []


@pytest.mark.parametrize(
    ("text", "n_definitions", "n_references"),
    [
        ("# é\n" + "push = push + push\n" * 20_000, 20, 20),
        ("class A:\n    push = 1\n" * 20_000, 20, 0),
        ("def push():\n    push()\n" * 10_000, 20, 20),
        ("# é\ndef push(): pass\n" + "go(push)\n" * 40_000, 1, 20),
    ],
    ids=["bound on every line", "in every class", "defined on every other line", "used on every line"],
)
def test_a_name_all_over_a_long_file_is_found_before_the_time_limit_of_a_test(
    post: Post, retrieval: Retrieval, text: str, n_definitions: int, n_references: int
) -> None:
    post({"a.py": text})
    found = find(retrieval, "push", 20)
    assert len(found.definitions) == n_definitions
    assert len(found.references) == n_references
    assert found.truncated


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("class Sink(Protocol):\n    def push(self, x: int) -> None: ...\n", "Sink.push"),
        ("class Missing(Exception):\n    async def push(self): return 'missing'\n", "Missing.push"),
        ("if True:\n    def push(): pass\n", "push"),
    ],
)
def test_the_one_method_of_a_class_is_found_though_it_stands_on_one_line(
    post: Post, retrieval: Retrieval, text: str, symbol: str
) -> None:
    post({"a.py": text})
    found = find(retrieval, "push")
    assert [(one.symbol, one.start_line) for one in found.definitions] == [(symbol, 2)]
    assert symbol in [item.symbol for item in retrieval.outline("c", "a.py").items]
    assert symbol in [hit.symbol for hit in retrieval.retrieve(RetrieveRequest("c", "push", mode="exact")).hits]


def test_a_word_in_every_file_is_given_up_when_time_is_up(
    post: Post, retrieval: Retrieval, monkeypatch: pytest.MonkeyPatch
) -> None:
    post({"a.py": "push = 1\n", "b.py": "push = 2\n"})
    monkeypatch.setattr(references, "TIME_LIMIT_S", -1.0)
    assert find(retrieval, "push") == SymbolResult("c", "push", (), (), truncated=True)
