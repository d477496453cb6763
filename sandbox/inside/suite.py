"""What a text of tests consists of, from its syntax alone: which tests there are, and what running them needs.

The same reading is done twice: before the run, in a process of its own, to know which tests must be heard of; and in
the run, to execute them. Tests are `def test_*`, classes of them, top-level asserts (each one test, and so is a
top-level loop or block that holds one) and top-level calls of a function that the tests define, as in `check(f)`.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

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


def _is_test_class(node: ast.ClassDef) -> bool:
    bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases}
    return node.name.startswith("Test") or any(base.endswith("TestCase") for base in bases)


def _class_tests(node: ast.ClassDef) -> list[tuple[str, bool]]:
    """Return (id, author allows skipping) of each test method."""
    excused = bool(_decorator_names(node) & EXCUSES)
    return [
        (f"{node.name}::{method.name}", excused or bool(_decorator_names(method) & EXCUSES))
        for method in node.body
        if isinstance(method, _FUNCTIONS) and method.name.startswith(TEST_PREFIX)
    ]


def _needs_pytest(body: list[ast.stmt]) -> bool:
    for node in body:
        if isinstance(node, ast.ClassDef) and _is_test_class(node) and _class_tests(node):
            return True
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


def _read_body(body: list[ast.stmt]) -> Suite:
    needs_pytest = _needs_pytest(body)
    functions: dict[str, bool] = {}
    classes: dict[str, bool] = {}
    checkers: set[str] = set()
    for node in body:
        if isinstance(node, _FUNCTIONS):
            callable_alone = needs_pytest or not _has_parameters(node)
            if node.name.startswith(TEST_PREFIX) and callable_alone:
                functions[node.name] = bool(_decorator_names(node) & EXCUSES)
            else:
                checkers.add(node.name)
        elif isinstance(node, ast.ClassDef) and needs_pytest and _is_test_class(node):
            classes.update(_class_tests(node))
    may_skip = tuple(name for name, excused in {**functions, **classes}.items() if excused)
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
