"""Make tests that check nothing fail, by changing their syntax tree before they are compiled.

A generator's body never runs when it is called, and what a test returns is ignored by every runner: both would pass
whatever the candidate does. The first fails when it is called; the second when it returns anything but None, or True
at the end of asserts. A top-level call `check(f)` fails when it returns False. `assert (a == b, "text")` holds whatever
`a` is, so it fails, too.
"""

import ast
import inspect
from collections.abc import Iterator

from sandbox.inside import asserting, idle, suite
from sandbox.inside.heard import TestChecksNothing

SHOWN_CHARS = 200
_IDLE = "@idle"  # not identifiers, so no program can name or replace them
_RETURNED = "@returned"
_CALLED = "@called"
_PAIR = "@pair"
_LEAVE = "@leave"
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def _idle(text: str) -> None:
    raise TestChecksNothing(text)


def returned(value: object, name: str, *, has_asserts: bool = False) -> None:
    """Raise `TestChecksNothing` if a test returned something, except True after asserts of its own."""
    if value is not None and not (has_asserts and value is True):
        text = f"{name} returned {asserting.show(value)}, which nobody looks at; write assert instead of return"
        raise TestChecksNothing(text)


class Left(BaseException):
    """Raised where tests leave with status 0: what follows of that statement does not run."""


class TestsExited(BaseException):
    """Raised where tests leave with another status, by which they say that they failed."""


def _leave(code: object = None) -> None:
    if code:
        raise TestsExited(f"the tests exited with {asserting.show(code)}")
    raise Left


def _called(value: object, name: str) -> None:
    if inspect.iscoroutine(value):
        value.close()
        raise TestChecksNothing(f"{name} is async, so calling it runs nothing of it; write asyncio.run({name}(...))")
    if value is False:
        raise TestChecksNothing(f"{name} returned False, which nobody looks at; assert in it, or assert its result")


def _pair(text: str) -> None:
    raise TestChecksNothing(f"assert {text} always holds, for a tuple is true; take the brackets away")


NAMES: dict[str, object] = {_IDLE: _idle, _RETURNED: returned, _CALLED: _called, _PAIR: _pair, _LEAVE: _leave}


def _own_nodes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body that belong to no function or class inside it."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, _INNER):
            pending.extend(ast.iter_child_nodes(node))


def _call(name: str, *arguments: ast.expr, **keywords: bool) -> ast.Call:
    named = [ast.keyword(key, ast.Constant(value)) for key, value in keywords.items()]
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), named)


def has_asserts(function: ast.AST) -> bool:
    """Tell whether the body has an assert, or a call of a method named like one."""
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Attribute) and (node.attr.startswith("assert") or node.attr in {"raises", "fail"}))
        for node in ast.walk(function)
    )


def _expose_exits(tree: ast.Module, *, are_lists: bool) -> None:
    """Let exits of a script say what they mean; a text that pytest runs only loses those, and runners, at its top."""
    if are_lists:
        left = [node for node in tree.body if not (isinstance(node, ast.Expr) and suite.is_exit(node.value))]
        tree.body = [node for node in left if not suite.runs_a_runner(node)]
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and suite.is_exit(node):
            node.func = ast.copy_location(ast.Name(_LEAVE, ast.Load()), node.func)


def expose(tree: ast.Module, *, needs_pytest: bool) -> None:
    """Change the test functions, test methods and top-level calls of a text of tests in place."""
    _expose_exits(tree, are_lists=needs_pytest)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple) and node.test.elts:
            text = ast.Constant(ast.unparse(node.test)[:SHOWN_CHARS])
            node.test = ast.copy_location(_call(_PAIR, text), node.test)
            ast.fix_missing_locations(node)
    asynchronous = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
    tests = {function.name for function in suite.test_functions(tree.body)}
    checkers = suite.checkers(tree.body, tests)
    twice = idle.twice(node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.decorator_list)
    for function in suite.test_functions(tree.body):
        why = idle.reason(function, asynchronous) or _why_unheard(function, checkers)
        if function.name in twice and function in tree.body:
            why = f"{function.name} is defined twice, and only the last would run; give each a name of its own"
        _expose_function(function, why)
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = getattr(node.value.func, "id", None)
            if name in defined:
                node.value = ast.copy_location(_call(_CALLED, node.value, ast.Constant(name)), node.value)
                ast.fix_missing_locations(node)


def _why_unheard(function: ast.FunctionDef | ast.AsyncFunctionDef, checkers: set[str]) -> str | None:
    """Return why a test that only prints what it found checks nothing, None if it does more."""
    parts = list(ast.walk(function))
    for part in parts:
        if suite.judges(part) or isinstance(part, (ast.With, ast.AsyncWith)):
            return None
        if isinstance(part, ast.Name) and part.id in checkers:
            return None
    if not any(map(_prints_a_check, parts)):
        return None
    return f"{function.name} only prints what it found, which nobody reads; write assert"


def _is_print(node: ast.AST) -> bool:
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print"


def _prints_a_check(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return all(map(_is_print, [*node.body, *node.orelse]))
    return _is_print(node) and any(isinstance(part, (ast.Compare, ast.IfExp)) for part in ast.walk(node))


def _expose_function(function: ast.FunctionDef | ast.AsyncFunctionDef, why: str | None) -> None:
    own = list(_own_nodes(function))
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own):
        why = f"{function.name} has a yield, so calling it runs nothing of it; take the yield out"
    if why is not None:
        function.body = [ast.copy_location(ast.Expr(_call(_IDLE, ast.Constant(why))), function.body[0])]
    checked = has_asserts(function)
    for node in own:
        if isinstance(node, ast.Return) and node.value is not None:
            call = _call(_RETURNED, node.value, ast.Constant(function.name), has_asserts=checked)
            node.value = ast.copy_location(call, node.value)
    ast.fix_missing_locations(function)
