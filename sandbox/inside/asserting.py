"""Rewrite the asserts of a test so that a failure shows its expression and both sides.

`assert left == right` becomes one call that compares, so nothing is evaluated twice. Other asserts keep their
expression. A value whose type the candidate defined and which equals everything does not count as equal.
"""

import ast
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sandbox.inside import heard

MAX_REPR_CHARS = 200
N_PROBES = 16  # of each kind, all of which must be equal: a class that compares modulo 2 is equal to half of them
MAX_LEAVES = 1000  # of a compared value that are looked at
_PLAIN = {int, float, complex, bool, str, bytes, type(None)}
_COMPARE = "@compare"  # not an identifier, so no program can name or replace them
_TRUTH = "@truth"
_AGAIN = "@again"
_LOST = "@lost"
_JUDGED = "@judged"
_RAISED = "@raised"
_EXPECTING = "@expecting"
_AFTER = "@after"
_MARK = "@mark"
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
    if kind.__module__ in heard.CANDIDATE:
        return True
    compared = next((vars(base)["__eq__"] for base in kind.__mro__ if "__eq__" in vars(base)), None)
    code = getattr(compared, "__code__", None)  # a module's name is easily changed
    return code is not None and os.path.basename(code.co_filename).removesuffix(".py") in heard.CANDIDATE


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


def _fail(message: Callable[[], object] | None, detail: str, *, may_be_caught: bool = False) -> None:
    error = _Failure(f"{message()}\n{detail}" if message is not None else detail)
    if not may_be_caught:
        heard.note(error)
    raise error


def compare(left: Any, right: Any, name: str, text: str, message: Callable[[], object] | None = None) -> None:
    """Raise AssertionError with both sides unless the comparison holds."""
    if _OPERATORS[name](left, right):
        if name == "Eq" and (_fits_anything(left) or _fits_anything(right)):
            why = "the value compares equal to everything, so this proves nothing"
            _fail(message, f"assert {text}: {why}", may_be_caught=True)  # a plain assert holds here
        return
    _fail(message, f"assert {text}: left is {show(left)}, right is {show(right)}")


def truth(value: Any, text: str, message: Callable[[], object] | None = None) -> None:
    """Raise AssertionError with the value unless it is true."""
    if not value:
        _fail(message, f"assert {text}: it is {show(value)}")


NAMES: dict[str, object] = {
    _COMPARE: compare,
    _TRUTH: truth,
    _AGAIN: heard.again,
    _LOST: heard.lost,
    _JUDGED: heard.judged,
    _RAISED: heard.raised,
    _EXPECTING: heard.expecting,
    _AFTER: heard.after,
    _MARK: heard.mark,
}
_BROAD = {"Exception", "BaseException"}
_EXPECTS = {"raises", "assertRaises", "assertRaisesRegex", "assertRaisesRegexp"}
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


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _expects(node: ast.AST) -> bool:
    """Tell whether a node is a call that expects an exception, as `pytest.raises(...)`."""
    if not isinstance(node, ast.Call):
        return False
    return getattr(node.func, "attr", getattr(node.func, "id", None)) in _EXPECTS


def _is_failure(node: ast.expr | None) -> bool:
    made = node.func if isinstance(node, ast.Call) else node
    return isinstance(made, ast.Name) and made.id == "AssertionError"


def _is_broad(caught: ast.expr | None) -> bool:
    """Tell whether what a handler catches has every error of a program among it."""
    parts = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(part is None or (isinstance(part, ast.Name) and part.id in _BROAD) for part in parts)


def _suppresses(node: ast.expr) -> bool:
    if not (isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) == "suppress"):
        return False
    return any(map(_is_broad, node.args))


def _check_lines(body: list[ast.stmt]) -> ast.Tuple:
    """Return the lines of checks directly in a body: an error there was raised by what they ask."""
    checks = [
        node
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("assert") and not _expects(node))
    ]
    lines = {line for node in checks for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return ast.Tuple([ast.Constant(line) for line in sorted(lines)], ast.Load())


_Tried = TypeVar("_Tried", ast.Try, ast.TryStar)


class _Rewriter(ast.NodeTransformer):
    def visit_Try(self, node: _Tried) -> _Tried:
        """Let a failed assert of the tests go on through a handler that only notes it, and what it asked, too."""
        lines = _check_lines(node.body)
        for handler in node.handlers:
            arguments = [lines] if _is_broad(handler.type) else []
            call = ast.Expr(_call(_AGAIN, *arguments) if _only_notes(handler) else _call(_JUDGED))
            self.generic_visit(handler)
            handler.body.insert(0, ast.copy_location(call, handler.body[0]))
        for name in ("body", "orelse", "finalbody"):
            setattr(node, name, self._visited(getattr(node, name)))
        return node

    def visit_TryStar(self, node: ast.TryStar) -> ast.TryStar:
        """Do the same for handlers of groups."""
        return self.visit_Try(node)

    def _visited(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [self.visit(statement) for statement in body]

    def visit_With(self, node: ast.With) -> ast.With:
        """Let a block that expects an exception say so, and one that suppresses all say what it swallowed."""
        lines = _check_lines(node.body)
        expects = any(_expects(item.context_expr) for item in node.items)
        suppresses = any(_suppresses(item.context_expr) for item in node.items)
        for item in node.items:
            if not _expects(item.context_expr):
                item.context_expr = self.visit(item.context_expr)
        node.body = self._visited(node.body)
        if expects:
            node.items.insert(0, ast.withitem(ast.copy_location(_call(_EXPECTING), node.items[0].context_expr)))
        elif suppresses:
            handler = ast.ExceptHandler(None, None, [ast.Expr(_call(_LOST, lines)), ast.Raise()])
            node.body = [ast.copy_location(ast.Try(node.body, [handler], [], []), node)]
        return node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """Let a call that expects an exception of what it calls, as `self.assertRaises(E, f)`, say so."""
        self.generic_visit(node)
        if _expects(node) and len(node.args) > 1:
            return ast.copy_location(_call(_AFTER, _call(_MARK), node), node)
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        """Let tests that raise an AssertionError themselves be heard as an assert is."""
        self.generic_visit(node)
        if node.exc is not None and _is_failure(node.exc):
            node.exc = ast.copy_location(_call(_RAISED, node.exc), node.exc)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Replace an assert by a call of `compare` or `truth`."""
        self.generic_visit(node)
        if any(isinstance(part, _UNSAFE_IN_LAMBDA) for part in ast.walk(node.msg or ast.Pass())):
            error = _call(_RAISED, ast.Call(ast.Name("AssertionError", ast.Load()), [node.msg or ast.Constant("")], []))
            negated = ast.UnaryOp(ast.Not(), node.test)
            return ast.copy_location(ast.If(negated, [ast.copy_location(ast.Raise(error), node)], []), node)
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
