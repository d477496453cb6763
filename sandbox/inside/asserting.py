"""Rewrite the asserts of a test so that a failure shows its expression and both sides.

`assert left == right` becomes one call that compares, so nothing is evaluated twice. Other asserts keep their
expression. A value whose type the candidate defined and which equals everything does not count as equal.
"""

import ast
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

MAX_REPR_CHARS = 200
N_PROBES = 16  # of each kind, all of which must be equal: a class that compares modulo 2 is equal to half of them
MAX_LEAVES = 1000  # of a compared value that are looked at
_PLAIN = {int, float, complex, bool, str, bytes, type(None)}
_CANDIDATE = {"solution", "__main__"}  # modules of the program's, and names of its file
_COMPARE = "@compare"  # not an identifier, so no program can name or replace them
_TRUTH = "@truth"
_AGAIN = "@again"
_Failure = AssertionError  # kept before any candidate runs
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Is": operator.is_,
    "IsNot": operator.is_not,
    "In": lambda left, right: left in right,
    "NotIn": lambda left, right: left not in right,
}
_UNSAFE_IN_LAMBDA = (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)


def show(value: object) -> str:
    """Return the value's repr, shortened, whatever its class makes of that."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a hostile __repr__ may raise anything
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= MAX_REPR_CHARS else text[:MAX_REPR_CHARS] + "..."


def _is_candidates(value: object) -> bool:
    """Tell whether the candidate defined the value's type, or what it compares with."""
    kind = type(value)
    if kind.__module__ in _CANDIDATE:
        return True
    compared = next((vars(base)["__eq__"] for base in kind.__mro__ if "__eq__" in vars(base)), None)
    code = getattr(compared, "__code__", None)  # a module's name is easily changed
    return code is not None and os.path.basename(code.co_filename).removesuffix(".py") in _CANDIDATE


def _leaves(value: Any) -> Iterator[object]:
    """Yield the objects that a value is made of, as far as it is made of plain containers; of the first thousand."""
    waiting, left = [value], MAX_LEAVES
    while waiting and left:
        one = waiting.pop()
        left -= 1
        if type(one) in {list, tuple, set, frozenset}:
            waiting += list(one)[:left]
        elif type(one) is dict:
            waiting += [part for pair in list(one.items())[:left] for part in pair]
        elif type(one) not in _PLAIN:
            yield one


def _equals(value: object, other: object) -> bool:
    try:
        return bool(value == other)
    except Exception:  # noqa: BLE001 - most classes compare with their own kind only, and say so in many ways
        return False


def _number() -> int:
    return int.from_bytes(os.urandom(5), "little") + 1  # a half more is still a float of its own


_PROBES: tuple[Callable[[], object], ...] = (_number, lambda: _number() + 0.5, lambda: str(_number()), object)


def _fits_anything(value: object) -> bool:
    """Tell whether a part of the value is of the candidate's making and equals whatever it meets."""
    found = [leaf for leaf in _leaves(value) if _is_candidates(leaf)]
    if not found:
        return False
    return any(all(_equals(leaf, make()) for _ in range(N_PROBES)) for leaf in found for make in _PROBES)


_failures: list[BaseException] = []  # the last that an assert of the tests raised
_lost: list[BaseException] = []  # raised in another thread than the tests', where nobody may look


def _fail(message: Callable[[], object] | None, detail: str) -> None:
    error = _Failure(f"{message()}\n{detail}" if message is not None else detail)
    _failures[:] = [error]
    if threading.current_thread() is not threading.main_thread():
        _lost.append(error)
    raise error


def raise_lost() -> None:
    """Raise what an assert raised in a thread while a test ran."""
    if _lost:
        error = _lost[0]
        _lost.clear()
        raise error


def again() -> None:
    """Raise once more what a handler caught, if an assert of the tests raised it."""
    error = sys.exc_info()[1]
    if error is not None and _failures and error is _failures[0]:
        raise error


def compare(left: Any, right: Any, name: str, text: str, message: Callable[[], object] | None = None) -> None:
    """Raise AssertionError with both sides unless the comparison holds."""
    if _OPERATORS[name](left, right):
        if name == "Eq" and (_fits_anything(left) or _fits_anything(right)):
            try:
                _fail(message, f"assert {text}: the value compares equal to everything, so this proves nothing")
            finally:
                _failures.clear()  # a plain assert holds here, so tests may catch this
        return
    _fail(message, f"assert {text}: left is {show(left)}, right is {show(right)}")


def truth(value: Any, text: str, message: Callable[[], object] | None = None) -> None:
    """Raise AssertionError with the value unless it is true."""
    if not value:
        _fail(message, f"assert {text}: it is {show(value)}")


NAMES: dict[str, object] = {_COMPARE: compare, _TRUTH: truth, _AGAIN: again}
_SAYS = {"print", "str", "repr", "type", "len", "format"}


def _only_notes(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler neither judges anew nor answers: it prints, counts or passes."""
    for node in ast.walk(handler):
        if isinstance(node, (ast.Assert, ast.Raise)) or (isinstance(node, ast.Return) and node.value is not None):
            return False
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in _SAYS:
            return False
        if isinstance(node, ast.Attribute) and node.attr.startswith(("assert", "fail", "exit")):
            return False
    return True


class _Rewriter(ast.NodeTransformer):
    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        """Let a failed assert of the tests go on through a handler that only notes it."""
        if _only_notes(node):
            call = ast.Expr(ast.Call(ast.Name(_AGAIN, ast.Load()), [], []))
            node.body.insert(0, ast.copy_location(call, node.body[0]))
        self.generic_visit(node)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Replace an assert by a call of `compare` or `truth`."""
        if any(isinstance(part, _UNSAFE_IN_LAMBDA) for part in ast.walk(node.msg or ast.Pass())):
            return node
        text = ast.Constant(ast.unparse(node.test)[:MAX_REPR_CHARS])
        message: list[ast.expr] = []
        if node.msg is not None:
            no_arguments = ast.arguments([], [], None, [], [], None, [])
            message = [ast.Lambda(no_arguments, node.msg)]
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1:
            name = ast.Constant(type(test.ops[0]).__name__)
            arguments = [test.left, test.comparators[0], name, text, *message]
            call = ast.Call(ast.Name(_COMPARE, ast.Load()), arguments, [])
        else:
            call = ast.Call(ast.Name(_TRUTH, ast.Load()), [test, text, *message], [])
        return ast.copy_location(ast.Expr(call), node)


def rewrite(statement: ast.stmt) -> ast.stmt:
    """Return the statement with its asserts rewritten, as deep as functions and classes go."""
    try:
        rewritten: ast.stmt = ast.fix_missing_locations(_Rewriter().visit(statement))
    except RecursionError:
        return statement  # a plain assert still fails, only with less to say
    return rewritten
