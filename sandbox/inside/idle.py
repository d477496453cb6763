"""Checks of Python tests that would never run or never be heard, found in the syntax of a test before it runs.

A nested function that nobody calls, a generator that nobody asks, a call of an async function that nobody awaits, a
`return` in `finally`, which drops what was raised. Such a test fails and says what to write instead.
"""

import ast
from collections.abc import Iterable, Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LAZY = {"map", "filter"}


def _own(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes that belong to no function or class inside, and these themselves."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(node))


def is_lazy(node: ast.AST) -> bool:
    """Tell whether a statement makes something that runs only when it is asked for, and asks for nothing."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    is_map = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _LAZY
    return isinstance(value, ast.GeneratorExp) or is_map


def reason(function: ast.FunctionDef | ast.AsyncFunctionDef, asynchronous: set[str]) -> str | None:
    """Return why a test cannot be heard, None if it can. `asynchronous` are the text's async functions."""
    nodes = list(_own(function.body))
    inner = {node.name for node in nodes if isinstance(node, ast.AsyncFunctionDef)}
    read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    for node in nodes:
        if isinstance(node, _FUNCTIONS) and not node.decorator_list and node.name not in read:
            if any(isinstance(part, ast.Assert) for part in ast.walk(node)):
                return f"{node.name} in {function.name} is never called, so its asserts never run; call it"
        elif is_lazy(node):
            return f"line {getattr(node, 'lineno', 0)} makes a generator that nobody asks; write a for loop"
        elif isinstance(node, ast.Try) and any(isinstance(part, ast.Return) for part in _own(node.finalbody)):
            return f"a return in a finally of {function.name} drops what was raised; take it out"
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = getattr(node.value.func, "id", None)
            if name in asynchronous | inner:
                return f"{name} is async, so calling it runs nothing of it; write await {name}(...)"
    return None


def twice(functions: Iterable[ast.FunctionDef | ast.AsyncFunctionDef]) -> set[str]:
    """Return the names that are defined more than once: only the last of each would run."""
    seen: set[str] = set()
    return {one.name for one in functions if one.name in seen or seen.add(one.name)}  # type: ignore[func-returns-value] # None
