"""The house rules that a machine can check, read from the sources with `ast`: nothing is imported or run.

The tables of `house_rules.py` say what is allowed and why; each check here turns a tree of sources into lines of
complaint. Every check is run twice: on the project, where it must find nothing, and on a tiny bad tree, where it must
find its fault.
"""

import ast
import graphlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.house_rules import BOUNDARIES, DISTRIBUTIONS, LAZY, LIBRARIES, OWN, RULES

ROOT = Path(__file__).parent.parent
PACKAGES = ("mcp_server", "shim", "rag", "sandbox")
MAX_LINES = 400


@dataclass(frozen=True)
class Source:
    """One Python file: `path` relative to the root, `module` its dotted name, None outside the product packages."""

    path: str
    module: str | None
    text: str
    tree: ast.Module


@dataclass(frozen=True)
class Import:
    """One imported module, named in full."""

    target: str
    line: int
    is_lazy: bool  # inside a function


def read(root: Path) -> tuple[Source, ...]:
    """Read every Python file of the product, the tests, the scripts and the benchmarks below *root*."""
    sources = []
    for folder in (*PACKAGES, "tests", "scripts", "benchmarks"):
        for file in sorted((root / folder).rglob("*")):
            if file.suffix == ".py" or (folder == "scripts" and file.is_file() and "python" in first_line(file)):
                text = file.read_text(encoding="utf-8")
                path = file.relative_to(root)
                parts = path.with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                sources.append(Source(path.as_posix(), name if folder in PACKAGES else None, text, ast.parse(text)))
    return tuple(sources)


def first_line(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.readline().decode("utf-8", errors="replace")


@cache
def project() -> tuple[Source, ...]:
    return read(ROOT)


def imports(source: Source, modules: set[str]) -> Iterator[Import]:
    """Yield what *source* imports; `from a import b` is a.b where that is one of *modules*."""
    for node, is_lazy in importing_nodes(source):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = (source.module or "").split(".")
                package = package if source.path.endswith("__init__.py") else package[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
        elif isinstance(node, ast.Call) and called_name(node).endswith("import_module"):
            targets = [str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant)]
        for target in dict.fromkeys(targets):
            yield Import(target, node.lineno, is_lazy)


@cache
def importing_nodes(source: Source) -> tuple[tuple[ast.stmt | ast.expr, bool], ...]:
    """Find what may import something, each with whether that is inside a function; walks every tree once."""
    found: list[tuple[ast.stmt | ast.expr, bool]] = []
    todo: list[tuple[ast.AST, bool]] = [(source.tree, False)]
    while todo:
        node, is_lazy = todo.pop()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            found.append((node, is_lazy))
        inside = is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        todo += [(child, inside) for child in reversed(list(ast.iter_child_nodes(node)))]
    return tuple(found)


def called_name(call: ast.Call) -> str:
    """Return the last part of the name that is called, "" when a value without one is."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@cache
def own_package(module: str, pattern: str) -> str | None:
    """Return the part of *module* that *pattern* names before its `.**`, all of it without one, None if no match."""
    if pattern.startswith("**."):
        return module if f"{pattern[2:]}." in f"{module}." else None
    head = pattern.removesuffix(".**")
    below = r"(?:\..+)?" if head != pattern else ""
    found = re.fullmatch(f"({re.escape(head).replace(re.escape('*'), '[^.]+')}){below}", module)
    return found[1] if found else None


def check_import_rules(sources: tuple[Source, ...]) -> Iterator[str]:
    modules = {source.module for source in sources if source.module}
    for source in sources:
        if source.module is None:
            continue
        matching = ((own_package(source.module, who), may) for rule, may in RULES for who in rule)
        own, allowed = next(((own, may) for own, may in matching if own), (None, None))
        if allowed is None:
            yield f"{source.path}: no line of RULES says what {source.module} may import"
            continue
        patterns = [f"{own}.**" if pattern == OWN else pattern for pattern in allowed]
        for found in imports(source, modules):
            inside = found.target.split(".")[0] in PACKAGES
            if inside and not any(own_package(found.target, pattern) for pattern in patterns):
                yield f"{source.path}:{found.line}: {source.module} imports {found.target}"


def check_libraries(sources: tuple[Source, ...]) -> Iterator[str]:
    for source in sources:
        for found in imports(source, set()) if source.module else ():
            allowed = LIBRARIES.get(found.target.split(".")[0])
            if allowed is not None and not any(Path(source.path).match(pattern) for pattern in allowed):
                yield f"{source.path}:{found.line}: imports {found.target}, which belongs to {', '.join(allowed)}"


def check_declared(sources: tuple[Source, ...]) -> Iterator[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project_table = tomllib.loads(text)["project"]
    extras = [line for name, lines in project_table["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {re.split(r"[^\w-]", line)[0] for line in (*project_table["dependencies"], *extras)}
    known = {*sys.stdlib_module_names, *PACKAGES}
    for source in sources:
        for name in sorted({found.target.split(".")[0] for found in imports(source, set())} if source.module else ()):
            if name not in known and DISTRIBUTIONS.get(name, name.replace("_", "-")) not in declared:
                yield f"{source.path}: imports {name}, which pyproject.toml does not list"


def check_lazy_imports(sources: tuple[Source, ...]) -> Iterator[str]:
    modules = {source.module for source in sources if source.module}
    for source in sources:
        for found in imports(source, modules) if source.module else ():
            names = {found.target, found.target.split(".")[0]}
            if found.is_lazy and not any((source.path, name) in LAZY for name in names):
                yield f"{source.path}:{found.line}: imports {found.target} inside a function; LAZY does not list it"


def check_for_stale_rows(sources: tuple[Source, ...]) -> Iterator[str]:
    modules = {source.module for source in sources if source.module}
    met = {(s.path, name) for s in sources for i in imports(s, modules) for name in (i.target, i.target.split(".")[0])}
    for path, name in LAZY:
        if (path, name) not in met and any(source.path == path for source in sources):
            yield f"LAZY: {path} does not import {name}"
    for library, files in LIBRARIES.items():
        for file in files:
            importers = [path for path, name in met if name == library and Path(path).match(file)]
            if not importers and any(Path(source.path).match(file) for source in sources):
                yield f"LIBRARIES: {file} does not import {library}"


def check_cycles(sources: tuple[Source, ...]) -> Iterator[str]:
    modules = {source.module for source in sources if source.module}
    graph = {s.module: {i.target for i in imports(s, modules)} & modules - {s.module} for s in sources if s.module}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield "import cycle: " + " <- ".join(error.args[1])


def check_lengths(sources: tuple[Source, ...]) -> Iterator[str]:
    for source in sources:
        n_lines = len(source.text.splitlines())
        if n_lines > MAX_LINES:
            yield f"{source.path}: {n_lines} lines, at most {MAX_LINES}; split it by reason to change"


def check_docstrings(sources: tuple[Source, ...]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for source in sources:
        if source.module is None or not source.tree.body:
            continue
        text = ast.get_docstring(source.tree)
        if not text:
            yield f"{source.path}: no module docstring"
        elif text in seen:
            yield f"{source.path}: has the docstring of {seen[text]}"
        else:
            seen[text] = source.path


def check_mocks(sources: tuple[Source, ...]) -> Iterator[str]:
    for source in sources:
        for found in imports(source, {"unittest.mock"}):
            if found.target in {"mock", "unittest.mock", "pytest_mock"}:
                yield f"{source.path}:{found.line}: imports {found.target}; write a fake in tests/fakes.py"


def is_raised_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def check_broad_excepts(sources: tuple[Source, ...]) -> Iterator[str]:
    for source in sources:
        if source.module is None or any(Path(source.path).match(pattern) for pattern in BOUNDARIES):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler) and not is_raised_again(node):
                caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {""}
                if caught & {"", "Exception", "BaseException"}:
                    yield f"{source.path}:{node.lineno}: catches any exception; BOUNDARIES does not list this file"


Check = Callable[[tuple[Source, ...]], Iterator[str]]
CHECKS: tuple[Check, ...] = (
    check_import_rules,
    check_libraries,
    check_declared,
    check_lazy_imports,
    check_for_stale_rows,
    check_cycles,
    check_lengths,
    check_docstrings,
    check_mocks,
    check_broad_excepts,
)

# A check, a tree that breaks its rule, and the words of the complaint.
BAD_TREES: tuple[tuple[Check, dict[str, str], str], ...] = (
    (check_libraries, {"rag/x.py": "import importlib\nimportlib.import_module('faiss')"}, "imports faiss"),
    (check_for_stale_rows, {"rag/ignore.py": ""}, "LAZY: rag/ignore.py does not import pathspec"),
    (check_for_stale_rows, {"rag/dense.py": ""}, "LIBRARIES: rag/dense.py does not import faiss"),
    (check_import_rules, {"sandbox/runner.py": "import rag.types", "rag/types.py": ""}, "sandbox.runner imports rag"),
    (check_import_rules, {"rag/types.py": "from rag import errors", "rag/errors.py": ""}, "rag.types imports rag.err"),
    (check_import_rules, {"rag/types.py": "from .errors import E", "rag/errors.py": ""}, "rag.types imports rag.err"),
    (check_import_rules, {"mcp_server/tools/x.py": "import mcp_server.engine.y"}, "imports mcp_server.engine.y"),
    (check_import_rules, {"mcp_server/pipeline/x.py": "import rag.index"}, "mcp_server.pipeline.x imports rag.index"),
    (check_import_rules, {"mcp_server/engine/x.py": "import mcp_server.lens.types"}, "imports mcp_server.lens.types"),
    (check_import_rules, {"shim/gateway.py": "from mcp_server.errors import CinqueError"}, "imports mcp_server.errors"),
    (check_import_rules, {"shim/doors/atom/x.py": "import shim.doors.atoll.wire"}, "imports shim.doors.atoll.wire"),
    (check_import_rules, {"shim/doors/atlas/lens/x.py": "import shim.doors.atlas.proxy"}, "imports shim.doors.atlas.p"),
    (check_import_rules, {"shim/doors/atom/x.py": "import shim.mesh.nodes"}, "shim.doors.atom.x imports shim.mesh"),
    (check_import_rules, {"shim/mesh/x.py": "import shim.doors.atmosphere"}, "imports shim.doors.atmosphere"),
    (check_import_rules, {"mcp_server/newcomer.py": ""}, "no line of RULES"),
    (check_libraries, {"rag/store.py": "from faiss import IndexFlatIP"}, "which belongs to rag/dense.py"),
    (check_libraries, {"shim/doors/atlas/x.py": "import mcp.client"}, "imports mcp.client, which belongs to"),
    (check_declared, {"rag/store.py": "import requests.sessions"}, "imports requests, which pyproject.toml does not"),
    (check_lazy_imports, {"rag/store.py": "def f():\n    import rag.types"}, "imports rag.types inside a function"),
    (check_cycles, {"rag/a.py": "import rag.b", "rag/b.py": "from rag import a"}, "import cycle: rag.a"),
    (check_lengths, {"tests/test_long.py": "\n" * (MAX_LINES + 1)}, f"{MAX_LINES + 1} lines"),
    (check_lengths, {"scripts/long": "#!/usr/bin/env python3" + "\n" * (MAX_LINES + 1)}, "scripts/long"),
    (check_docstrings, {"rag/a.py": "x = 1"}, "no module docstring"),
    (check_docstrings, {"rag/a.py": '"""Same."""', "rag/b.py": '"""Same."""'}, "has the docstring of rag/a.py"),
    (check_mocks, {"tests/test_x.py": "from unittest.mock import patch"}, "imports unittest.mock"),
    (check_mocks, {"tests/test_x.py": "from unittest import mock"}, "imports unittest.mock"),
    (check_broad_excepts, {"rag/a.py": "try:\n    pass\nexcept Exception:\n    pass"}, "rag/a.py:3"),
    (check_broad_excepts, {"rag/a.py": "try:\n    pass\nexcept (OSError, BaseException):\n    pass"}, "rag/a.py:3"),
    (check_broad_excepts, {"rag/a.py": "try:\n    pass\nexcept:\n    pass"}, "rag/a.py:3"),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_project_keeps_the_house_rules(check: Check) -> None:
    complaints = list(check(project()))
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(("check", "files", "complaint"), BAD_TREES)
def test_a_broken_rule_is_found(check: Check, files: dict[str, str], complaint: str, tmp_path: Path) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert complaint in "\n".join(check(read(tmp_path)))


def test_a_broad_except_may_clean_up_and_raise_again(tmp_path: Path) -> None:
    (tmp_path / "rag").mkdir()
    text = "try:\n    f()\nexcept BaseException:\n    g()\n    raise"
    (tmp_path / "rag" / "a.py").write_text(text, encoding="utf-8")
    assert not list(check_broad_excepts(read(tmp_path)))


def test_every_check_has_a_tree_that_breaks_it() -> None:
    assert {check for check, _, _ in BAD_TREES} == set(CHECKS)


def test_a_lazy_import_and_a_boundary_each_have_a_reason() -> None:
    assert all(reason.strip() for reason in (*LAZY.values(), *BOUNDARIES.values()))
