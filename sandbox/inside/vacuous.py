"""Make tests that check nothing fail, by changing their syntax tree before they are compiled.

A generator's body never runs when it is called, and what a test returns is ignored by every runner: both would pass
whatever the candidate does. The first fails when it is called; the second when it returns anything but None, or True
at the end of asserts. A top-level call `check(f)` fails when it returns False. `assert (a == b, "text")` holds whatever
`a` is, so it fails, too.
"""

import ast
from collections.abc import Iterator

from sandbox.inside import asserting, suite

SHOWN_CHARS = 200
_GENERATOR = "@generator"  # not identifiers, so no program can name or replace them
_RETURNED = "@returned"
_CALLED = "@called"
_PAIR = "@pair"
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


class TestChecksNothing(BaseException):
    """Raised in a test that checks nothing; no `except Exception` and no `raises(Exception)` of the test catches it."""

    __test__ = False  # not a test class, whatever pytest makes of its name


def _generator(name: str) -> None:
    raise TestChecksNothing(f"{name} has a yield, so calling it runs nothing of it; take the yield out")


def returned(value: object, name: str, *, has_asserts: bool = False) -> None:
    """Raise `TestChecksNothing` if a test returned something, except True after asserts of its own."""
    if value is not None and not (has_asserts and value is True):
        text = f"{name} returned {asserting.show(value)}, which nobody looks at; write assert instead of return"
        raise TestChecksNothing(text)


def _called(value: object, name: str) -> None:
    if value is False:
        raise TestChecksNothing(f"{name} returned False, which nobody looks at; assert in it, or assert its result")


def _pair(text: str) -> None:
    raise TestChecksNothing(f"assert {text} always holds, for a tuple is true; take the brackets away")


NAMES: dict[str, object] = {_GENERATOR: _generator, _RETURNED: returned, _CALLED: _called, _PAIR: _pair}


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


def expose(tree: ast.Module) -> None:
    """Change the test functions, test methods and top-level calls of a text of tests in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Tuple) and node.test.elts:
            text = ast.Constant(ast.unparse(node.test)[:SHOWN_CHARS])
            node.test = ast.copy_location(_call(_PAIR, text), node.test)
            ast.fix_missing_locations(node)
    for function in suite.test_functions(tree.body):
        _expose_function(function)
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = getattr(node.value.func, "id", None)
            if name in defined:
                node.value = ast.copy_location(_call(_CALLED, node.value, ast.Constant(name)), node.value)
                ast.fix_missing_locations(node)


def _expose_function(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    name = ast.Constant(function.name)
    own = list(_own_nodes(function))
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own):
        function.body = [ast.copy_location(ast.Expr(_call(_GENERATOR, name)), function.body[0])]
    checked = has_asserts(function)
    for node in own:
        if isinstance(node, ast.Return) and node.value is not None:
            call = _call(_RETURNED, node.value, name, has_asserts=checked)
            node.value = ast.copy_location(call, node.value)
    ast.fix_missing_locations(function)
