"""The tests of a demo's answer: a file's, expressions of the command line, or what the request itself states.

Of a request it takes lines that begin with `assert`, and doctest examples with their results, each with the assignments
and imports before it. What is prose, or speaks of names that nobody gave a value, is left alone: a test that cannot
pass would call a right answer wrong. It runs nothing.
"""

import ast
import builtins
import doctest
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from shim.errors import CommandError

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what Python's parser raises
SETS_UP = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Import, ast.ImportFrom)
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
    parts += [_test("check", i, (), f"assert {_checked(check, i)}") for i, check in enumerate(checks, 1)]
    return "\n".join(parts)


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


def _checked(check: str, number: int) -> str:
    """Return an expression on one line.

    Raises:
        CommandError: It is not one, or one that is always true.
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


def _stated_asserts(request: str) -> Iterator[tuple[tuple[str, ...], str]]:
    setup: list[ast.stmt] = []
    for line in request.splitlines():
        statement = _statement(line.strip())
        if isinstance(statement, SETS_UP):
            setup.append(statement)
        elif isinstance(statement, ast.Assert) and _can_be_run(statement, setup):
            yield tuple(map(ast.unparse, setup)), line.strip()


def _stated_examples(request: str) -> Iterator[tuple[tuple[str, ...], str]]:
    try:
        examples = doctest.DocTestParser().get_examples(request)
    except ValueError:  # not written as doctest has it, so no example
        return
    setup: list[ast.stmt] = []
    for example in examples:
        statement = _statement(example.source)
        if statement is None:
            continue
        if isinstance(statement, ast.Expr) and example.want:
            expression = ast.unparse(statement)
            if example.exc_msg is None and _can_be_run(statement, setup):
                yield tuple(map(ast.unparse, setup)), f"assert {_compared(expression, example.want)}"
        elif _binds(statement) or _can_be_run(statement, setup):
            setup.append(statement)


def _compared(expression: str, want: str) -> str:
    """Compare a value with what an example shows: as a value where that is a literal, else as text."""
    lines = want.strip().splitlines()
    for n in range(len(lines), 0, -1):  # prose may follow the result without an empty line
        shown = "\n".join(lines[:n])
        try:
            value = ast.literal_eval(shown)
        except UNREADABLE:
            continue
        same = "is" if value is None or isinstance(value, bool) else "=="
        return f"({expression}) {same} {value!r}"
    return f"repr({expression}) == {lines[0]!r}"


def _binds(statement: ast.stmt) -> bool:
    return isinstance(statement, SETS_UP)


def _can_be_run(statement: ast.stmt, setup: Sequence[ast.stmt]) -> bool:
    """Tell whether *statement* calls something, and every other name in it has a value."""
    nodes = list(ast.walk(statement))
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    if not any(isinstance(node, ast.Call) for node in nodes):
        return False
    bound = {name for node in (*setup, statement) for name in _bound(node)}
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return loaded <= called | bound | set(dir(builtins))


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def _test(kind: str, number: int, setup: Sequence[str], check: str) -> str:
    lines = [*setup, check]
    return f"def test_{kind}_{number}():\n" + "".join(f"{INDENT}{line}\n" for line in lines)
