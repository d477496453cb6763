"""The tests of a demo's answer: a file's, expressions of the command line, or what the request itself states.

Of a request it takes lines that begin with `assert`, and doctest examples with their results, each with the assignments
and imports before it. What is prose, or speaks of names that nobody gave a value, is left alone: a test that cannot
pass would call a right answer wrong. It runs nothing.
"""

import ast
import builtins
import doctest
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from shim.errors import CommandError

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what Python's parser raises
SETS_UP = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom)
EXAMPLE = '--check "add(2, 3) == 5"'
INDENT = "    "


def given_tests(file: str | None, checks: Sequence[str]) -> str | None:
    """Return the tests of a file and of expressions together; None where neither is given.

    Raises:
        CommandError: The file cannot be read, or an expression is none; the message says where and what to do.
    """
    if file is None and not checks:
        return None
    parts = [] if file is None else [_read(file)]
    parts += [_test("check", i, (), line) for i, line in enumerate(_asserts(checks), 1)]
    return "\n".join(parts)


def with_checks(request: str, checks: Sequence[str]) -> str:
    """Return a request that states its *checks*, so that the answer has the names that they use.

    Raises:
        CommandError: As of `given_tests`.
    """
    return "\n".join((request, "\nIt must pass these tests:", *_asserts(checks))) if checks else request


def stated_tests(request: str) -> str | None:
    """Return what *request* itself says must be true, as tests; None where it says nothing that can be run."""
    found = [*_stated_asserts(request), *_stated_examples(request)]
    return "\n".join(_test("stated", i, *case) for i, case in enumerate(found, 1)) or None


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the tests cannot be read from {file}: {error}"
        raise CommandError(msg) from error


def _asserts(checks: Sequence[str]) -> list[str]:
    return [f"assert {_checked(check, i)}" for i, check in enumerate(checks, 1)]


def _checked(check: str, number: int) -> str:
    """Return an expression on one line.

    Raises:
        CommandError: It is not one, is always true, or names nothing that an answer could define.
    """
    where = f"--check number {number}, {check!r}"
    try:
        body = _expression(check)
    except UNREADABLE as error:
        column = f", column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        why = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        msg = f"{where}{column}: this is no Python expression ({why}); write one that must be true, like {EXAMPLE}"
        raise CommandError(msg) from error
    if isinstance(body, ast.Tuple):
        msg = f"{where}: the comma makes it a tuple, which is always true; give each expression a --check of its own"
        raise CommandError(msg)
    if not _loaded(body):
        msg = f"{where}: this names nothing of the answer, so no answer could fail it; write one like {EXAMPLE}"
        raise CommandError(msg)
    return ast.unparse(body) if set(check) & {"\n", "\r", "#"} else check.strip()


def _expression(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as on `is` with a number: the test will tell
        compile(text.strip(), "<check>", "eval")  # finds more than parsing does, such as `yield` outside a function
        return ast.parse(text.strip(), mode="eval").body


def _statement(text: str) -> ast.stmt | None:
    """Parse one statement; None for prose, or for several."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statements = ast.parse(text).body
    except UNREADABLE:
        return None
    return statements[0] if len(statements) == 1 else None


def _stated_asserts(request: str) -> Iterator[tuple[list[ast.stmt], str]]:
    setup: list[ast.stmt] = []
    for line in request.splitlines():
        statement = _statement(line.strip())
        if isinstance(statement, SETS_UP) and _is_known(statement, setup):
            setup.append(statement)
        elif isinstance(statement, ast.Assert) and _calls(statement) and _is_known(statement, setup):
            yield _needed(statement, setup), line.strip()


def _stated_examples(request: str) -> Iterator[tuple[list[ast.stmt], str]]:
    try:
        examples = doctest.DocTestParser().get_examples(request)
    except ValueError:  # not written as doctest has it, so no example
        return
    setup: list[ast.stmt] = []
    for example in examples:
        statement = _statement(example.source)
        if statement is None or not _is_known(statement, setup):
            continue
        if not (isinstance(statement, ast.Expr) and example.want):
            setup.append(statement)
        elif _calls(statement) and example.exc_msg is None and not _prints(statement):
            yield _needed(statement, setup), f"assert {_compared(statement.value, example.want)}"


def _compared(value: ast.expr, want: str) -> str:
    """Compare a value with what an example shows: as a value where that is a literal, else as text."""
    lines = want.strip().splitlines()
    for n in range(len(lines), 0, -1):  # prose may follow the result without an empty line
        shown = "\n".join(lines[:n])
        try:
            wanted = ast.literal_eval(shown)
        except UNREADABLE:
            continue
        same = ast.Is() if wanted is None or isinstance(wanted, bool) else ast.Eq()
        return ast.unparse(ast.Compare(value, [same], [ast.parse(shown, mode="eval").body]))
    return f"repr({ast.unparse(value)}) == {lines[0]!r}"


def _calls(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Call) for node in ast.walk(statement))


def _prints(statement: ast.Expr) -> bool:
    """Tell whether the example shows what was printed, and no value."""
    value = statement.value
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "print"


def _is_known(statement: ast.stmt, setup: Sequence[ast.stmt]) -> bool:
    """Tell whether every name in *statement* has a value, or is called, so that the answer will define it."""
    called = {node.func.id for node in ast.walk(statement) if isinstance(node, ast.Call) and _is_name(node.func)}
    bound = {name for node in (*setup, statement) for name in _bound(node)}
    return _loaded(statement) <= called | bound | set(dir(builtins))


def _is_name(node: ast.expr) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name)


def _needed(check: ast.stmt, setup: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Choose what of *setup* the check depends on, directly or not."""
    wanted = _loaded(check)
    needed: list[ast.stmt] = []
    for statement in reversed(setup):
        touched = set(_bound(statement)) or _loaded(statement)  # a call changes what it is given
        if touched & wanted:
            needed.insert(0, statement)
            wanted |= _loaded(statement)
    return needed


def _loaded(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def _test(kind: str, number: int, setup: Sequence[ast.stmt], check: str) -> str:
    lines = "\n".join([*map(ast.unparse, setup), check])
    return f"def test_{kind}_{number}():\n{textwrap.indent(lines, INDENT)}\n"
