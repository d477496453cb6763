"""What a text of tests consists of, from its syntax alone: which tests there are, and what running them needs.

The same reading is done twice: before the run, in a process of its own, to know which tests must be heard of; and in
the run, to execute them. Tests are `def test_*`, classes of them, top-level asserts (each one test, and so is a
top-level loop or block that holds one) and top-level calls of a function that the tests define, as in `check(f)`.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

from sandbox.inside.idle import is_lazy

TEST_PREFIX = "test"
RUNNERS = {("unittest", "main"), ("pytest", "main")}  # the harness runs the tests instead
EXITS = {"exit", "quit", "_exit"}
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


def is_exit(node: ast.AST) -> bool:
    """Tell whether an expression leaves the interpreter: `sys.exit(1)`, `exit(n)`."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id in {"sys", "os"} and function.attr in EXITS
    return isinstance(function, ast.Name) and function.id in EXITS


def runs_a_runner(node: ast.stmt) -> bool:
    """Tell whether a statement only runs the tests, also as `sys.exit(pytest.main())`, or ends them."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    call = node.value
    if is_exit(call) and (not call.args or isinstance(call.args[0], ast.Call)):
        if not call.args:
            return True
        call = call.args[0]  # type: ignore[assignment] # a Call, as was just asked
    function = call.func
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


def judges(node: ast.AST) -> bool:
    """Tell whether a node is one that fails: an assert, a raise, leaving, a method named like an assertion."""
    if isinstance(node, (ast.Assert, ast.Raise)) or is_exit(node):
        return True
    return isinstance(node, ast.Attribute) and (node.attr.startswith("assert") or node.attr in {"raises", "fail"})


def _reads(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))


def checkers(body: list[ast.stmt], tests: set[str]) -> set[str]:
    """Return the names at the top that stand for something which can fail: helpers, classes, what is made of them."""
    found: set[str] = set()
    while True:
        before = len(found)
        for node in body:
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and node.name not in tests:
                speaks = any(
                    judges(part)
                    or (isinstance(part, ast.Return) and part.value is not None)
                    or (isinstance(part, ast.Call) and getattr(part.func, "attr", None) == "throw")
                    for part in ast.walk(node)
                )
                names = {node.name} if speaks or _reads(node, found) else set()
            elif isinstance(node, ast.Assign) and (
                _reads(node.value, found)
                or (isinstance(node.value, ast.Lambda) and "throw" in ast.dump(node.value))
                or getattr(getattr(node.value, "func", None), "attr", None) == "TestCase"
            ):
                names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            else:
                continue
            found |= names
        if len(found) == before:
            return found


def _verifies(node: ast.stmt, checkers: set[str]) -> bool:
    """Tell whether a top-level statement checks something: an assert, a raise, an exit, a call of what can fail."""
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.Import, ast.ImportFrom)) or is_lazy(node):
        return False
    parts = list(_walk_outside_definitions(node))
    if any(judges(part) for part in parts):
        return True
    return (
        any(isinstance(part, ast.Call) for part in parts)
        and not isinstance(node, ast.Assign)
        and _reads(node, checkers)
    )


def _decorator_names(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    names = set()
    for decorator in node.decorator_list:
        for part in ast.walk(decorator):
            if isinstance(part, ast.Attribute):
                names.add(part.attr)
            elif isinstance(part, ast.Name):
                names.add(part.id)
    return names


def _helpers(body: list[ast.stmt]) -> set[str]:
    """Return the functions named like tests that the top calls with arguments: they are helpers."""
    calls = (part for node in body for part in _walk_outside_definitions(node) if isinstance(part, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name) and (call.args or call.keywords)}


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
        self._aliases = {
            alias.asname
            for node in body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname and alias.name.endswith("TestCase")
        }

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

    def is_case(self, node: ast.ClassDef) -> bool:
        """Tell whether a class derives from a TestCase, as far as its text says."""
        bases = {base for one in self.lineage(node).values() for base in _base_names(one)}
        return bool(bases & self._aliases) or any(base.endswith("TestCase") for base in bases)

    def tests(self) -> list[ast.ClassDef]:
        """Return the classes that pytest takes for tests: by name, or because they derive from a TestCase."""
        return [node for node in self._by_name.values() if node.name.startswith("Test") or self.is_case(node)]

    def methods(self, node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Return the test methods of a test class, inherited ones too; `runTest` only if there is no other."""
        body = [part for owner in self.lineage(node).values() for part in owner.body]
        found = [part for part in body if _is_test_function(part)]
        if found or not self.is_case(node):
            return found
        return [part for part in body if isinstance(part, _FUNCTIONS) and part.name == "runTest"]

    def have_tests(self) -> bool:
        """Tell whether a test class has a test, its own or inherited or of a class inside it."""
        inner = (part for node in self.tests() for part in _statements(node.body, enter_classes=True))
        return any(self.methods(node) for node in self.tests()) or any(_is_test_function(part) for part in inner)


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
    """Return the id of each test method and whether its author allows skipping."""
    return {
        f"{node.name}::{method.name}": bool((_decorator_names(node) | _decorator_names(method)) & EXCUSES)
        for method in classes.methods(node)
    }


def _is_in_a_block(body: list[ast.stmt]) -> bool:
    """Tell whether a block defines tests, or a lambda is one: only pytest looks there."""
    blocks = [node for node in body if not isinstance(node, (*_FUNCTIONS, ast.ClassDef))]
    inside = list(_statements(blocks))
    return any(
        _is_test_function(node)
        or (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Lambda)
            and any(isinstance(target, ast.Name) and target.id.startswith(TEST_PREFIX) for target in node.targets)
        )
        for node in inside
    )


def _needs_pytest(body: list[ast.stmt]) -> bool:
    unguarded = [node for node in body if not _is_main_guard(node)]
    if _Classes(list(_statements(unguarded))).have_tests() or _is_in_a_block(unguarded):
        return True
    helpers = _helpers(body)
    for node in body:
        if isinstance(node, _FUNCTIONS):
            is_test = node.name.startswith(TEST_PREFIX) and (node.decorator_list or node.name not in helpers)
            if node.name in SETUP_HOOKS or "fixture" in _decorator_names(node):
                return True
            if is_test and (node.decorator_list or (_has_parameters(node) and not isinstance(node, ast.ClassDef))):
                return True
    return False


def _units(body: list[ast.stmt], functions: set[str], checkers: set[str]) -> list[Unit]:
    units: list[Unit] = []
    seen: dict[int, int] = {}
    for node in body:
        if runs_a_runner(node) or _is_main_guard(node):
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
    for node in body:
        if _is_test_function(node) and (needs_pytest or not _has_parameters(node)):
            functions[node.name] = bool(_decorator_names(node) & EXCUSES)
    defined = _Classes(body)
    for test_class in defined.tests() if needs_pytest else ():
        classes.update(_class_tests(test_class, defined))
    all_excused = _marks_every_test(body)
    may_skip = tuple(name for name, excused in {**functions, **classes}.items() if excused or all_excused)
    units = _units(body, set(functions), checkers(body, set(functions)))
    return Suite(tuple(units), tuple(functions), tuple(classes), needs_pytest, may_skip)


def _opened(body: list[ast.stmt], *, guards: bool) -> list[ast.stmt]:
    """Return the statements with those of `if True:`, and of main guards if asked, in their place."""
    opened: list[ast.stmt] = []
    for node in body:
        is_always = isinstance(node, ast.If) and isinstance(node.test, ast.Constant) and bool(node.test.value)
        if isinstance(node, ast.If) and (is_always or (guards and _is_main_guard(node))):
            opened += _opened(node.body, guards=guards)
        else:
            opened.append(node)
    return opened


def read(tree: ast.Module) -> Suite:
    """Read a parsed text of tests. A main guard is opened only when it checks what nothing outside of it does."""
    suite = _read_body(_opened(tree.body, guards=False))
    opened = _read_body(_opened(tree.body, guards=True))
    is_more = len(opened.test_ids) > len(suite.test_ids) and not opened.needs_pytest
    return opened if is_more or not suite.test_ids else suite
