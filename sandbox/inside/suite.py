"""What a text of tests consists of, from its syntax alone: which tests there are, and what running them needs.

The same reading is done twice: before the run, in a process of its own, to know which tests must be heard of; and in
the run, to execute them. Tests are `def test_*`, classes of them, top-level asserts (each one test, and so is a
top-level loop or block that holds one) and top-level calls of a function that the tests define, as in `check(f)`.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

TEST_PREFIX = "test"
RUNNERS = {("unittest", "main"), ("pytest", "main"), ("sys", "exit")}  # the harness runs the tests instead
SETUP_HOOKS = {"setup_module", "teardown_module", "setup_function", "teardown_function"}
EXCUSES = {"skip", "skipif", "xfail", "skipIf", "skipUnless", "expectedFailure"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Unit:
    """One top-level statement, and its name if it counts as a test."""

    statement: ast.stmt
    test_id: str | None


@dataclass(frozen=True)
class Suite:
    """The tests of one text, in the order in which they run."""

    units: tuple[Unit, ...]
    functions: tuple[str, ...]
    classes: tuple[str, ...]  # "TestThing::test_it", only under pytest
    needs_pytest: bool
    may_skip: tuple[str, ...]  # tests whose own author marked them so

    @property
    def test_ids(self) -> tuple[str, ...]:
        """Every test that a run must report, once each."""
        if self.needs_pytest:
            return self.functions + self.classes
        return tuple(unit.test_id for unit in self.units if unit.test_id) + self.functions


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}


def _runs_a_runner(node: ast.stmt) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    function = node.value.func
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and (function.value.id, function.attr) in RUNNERS
    )


def _walk_outside_definitions(node: ast.AST) -> Iterable[ast.AST]:
    """Yield the nodes that run when the statement runs: not the bodies of functions and classes defined in it."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        if not isinstance(current, (*_FUNCTIONS, ast.ClassDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(current))


def _verifies(node: ast.stmt, checkers: set[str]) -> bool:
    """Tell whether a top-level statement checks something: an assert, a call of a local checker, `raises`."""
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom)):
        return False
    for part in _walk_outside_definitions(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            function = part.func
            if isinstance(function, ast.Name) and function.id in checkers and not isinstance(node, ast.Assign):
                return True
            if isinstance(function, ast.Attribute) and function.attr == "raises":
                return True
    return False


def _decorator_names(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    names = set()
    for decorator in node.decorator_list:
        for part in ast.walk(decorator):
            if isinstance(part, ast.Attribute):
                names.add(part.attr)
            elif isinstance(part, ast.Name):
                names.add(part.id)
    return names


def _has_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = node.args
    wanted = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return wanted > 0 or any(default is None for default in arguments.kw_defaults)


def _base_names(node: ast.ClassDef) -> set[str]:
    return {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}


def _is_test_function(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        isinstance(node, _FUNCTIONS)
        and node.name.startswith(TEST_PREFIX)
        and "fixture" not in _decorator_names(node)  # `def test_client` may be what tests are given
    )


class _Classes:
    """The classes at the top of a text: which are tests, and what they inherit from one another."""

    def __init__(self, body: list[ast.stmt]) -> None:
        self._by_name = {node.name: node for node in body if isinstance(node, ast.ClassDef)}

    def lineage(self, node: ast.ClassDef) -> dict[str, ast.ClassDef]:
        """Return the class and those of its bases that the text defines, by name."""
        found: dict[str, ast.ClassDef] = {}
        pending = [node]
        while pending:
            current = pending.pop()
            found[current.name] = current
            pending += [
                self._by_name[name] for name in _base_names(current) if name in self._by_name and name not in found
            ]
        return found

    def tests(self) -> list[ast.ClassDef]:
        """Return the classes that pytest takes for tests: by name, or because they derive from a TestCase."""
        return [
            node
            for node in self._by_name.values()
            if node.name.startswith("Test")
            or any(base.endswith("TestCase") for one in self.lineage(node).values() for base in _base_names(one))
        ]

    def have_tests(self) -> bool:
        """Tell whether a test class has a test, its own or inherited or of a class inside it."""
        classes = (one for node in self.tests() for one in self.lineage(node).values())
        return any(_is_test_function(part) for one in classes for part in ast.walk(one))


def _statements(body: list[ast.stmt], *, enter_classes: bool = False) -> Iterator[ast.stmt]:
    """Yield the statements of a body and of the blocks in it, not those inside functions and, if not asked, classes."""
    for node in body:
        yield node
        if isinstance(node, _FUNCTIONS) or (isinstance(node, ast.ClassDef) and not enter_classes):
            continue
        yield from _statements(
            [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.stmt)], enter_classes=enter_classes
        )


def test_functions(body: list[ast.stmt]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the test functions and methods of a text, also those in a block at its top."""
    top = list(_statements(body))
    classes = _Classes(top)
    owners = {id(one): one for node in classes.tests() for one in classes.lineage(node).values()}
    parts = (part for one in owners.values() for part in _statements(one.body, enter_classes=True))
    found = {id(part): part for part in (*top, *parts) if _is_test_function(part)}
    return list(found.values())


def _class_tests(node: ast.ClassDef, classes: _Classes) -> dict[str, bool]:
    """Return the id of each test method, inherited ones too, and whether its author allows skipping."""
    return {
        f"{node.name}::{method.name}": bool((_decorator_names(node) | _decorator_names(method)) & EXCUSES)
        for owner in classes.lineage(node).values()
        for method in owner.body
        if _is_test_function(method)
    }


def _needs_pytest(body: list[ast.stmt]) -> bool:
    if _Classes(body).have_tests():
        return True
    for node in body:
        if isinstance(node, _FUNCTIONS):
            is_test = node.name.startswith(TEST_PREFIX)
            if node.name in SETUP_HOOKS or "fixture" in _decorator_names(node):
                return True
            if is_test and (node.decorator_list or (_has_parameters(node) and not isinstance(node, ast.ClassDef))):
                return True
    return False


def _units(body: list[ast.stmt], functions: set[str], checkers: set[str]) -> list[Unit]:
    units: list[Unit] = []
    seen: dict[int, int] = {}
    for node in body:
        if _runs_a_runner(node) or _is_main_guard(node):
            continue
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id in functions
        ):
            continue  # `test_a()` at the end of the text: it runs as a test already
        name = None
        if _verifies(node, checkers):
            seen[node.lineno] = seen.get(node.lineno, 0) + 1
            name = f"line {node.lineno}" + (f" ({seen[node.lineno]})" if seen[node.lineno] > 1 else "")
        units.append(Unit(node, name))
    return units


def _marks_every_test(body: list[ast.stmt]) -> bool:
    """Tell whether the text sets `pytestmark` to something that excuses tests."""
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)
        and any(isinstance(part, ast.Attribute) and part.attr in EXCUSES for part in ast.walk(node.value))
        for node in body
    )


def _read_body(body: list[ast.stmt]) -> Suite:
    needs_pytest = _needs_pytest(body)
    functions: dict[str, bool] = {}
    classes: dict[str, bool] = {}
    checkers: set[str] = set()
    for node in body:
        if isinstance(node, _FUNCTIONS):
            callable_alone = needs_pytest or not _has_parameters(node)
            if _is_test_function(node) and callable_alone:
                functions[node.name] = bool(_decorator_names(node) & EXCUSES)
            else:
                checkers.add(node.name)
    defined = _Classes(body)
    for test_class in defined.tests() if needs_pytest else ():
        classes.update(_class_tests(test_class, defined))
    all_excused = _marks_every_test(body)
    may_skip = tuple(name for name, excused in {**functions, **classes}.items() if excused or all_excused)
    units = _units(body, set(functions), checkers)
    return Suite(tuple(units), tuple(functions), tuple(classes), needs_pytest, may_skip)


def read(tree: ast.Module) -> Suite:
    """Read a parsed text of tests. A main guard is opened only when there is no test outside it."""
    suite = _read_body(tree.body)
    if suite.test_ids:
        return suite
    opened: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and _is_main_guard(node):
            opened.extend(node.body)
        else:
            opened.append(node)
    return _read_body(opened)
