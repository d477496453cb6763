"""The same tests with random values where they say what they expect: a program that gives one of those has read it.

`draw` makes such a text from syntax alone, before anything runs; `arm` changes its comparisons, in the job that runs
it, so that a difference is right and an equal random value is recorded. Only what no honest program is ever handed is
replaced: a literal that is one side of an asserted equality, and literals bound to names that are used as nothing but
such sides. In doubt nothing is. Not covered: programs that know a random value when they see one, or that answer with
a type of their own; see docs/testing.md.
"""

import ast
import marshal
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

MAX_NODES = 20_000  # of a text that is still read: some 2,000 lines, which take 0.2 s
N_DIGITS = 15  # of a random number: no chance can meet it, and a float still holds it exactly
N_LETTERS = 16
MAX_DECIMALS = 5
MAX_SHOWN_CHARS = 200
EQUALITIES = {  # of unittest; the second of the two may be what is expected as well as the first
    *("assertEqual", "assertEquals", "assertAlmostEqual", "assertMultiLineEqual", "assertSequenceEqual"),
    *("assertListEqual", "assertTupleEqual", "assertSetEqual", "assertDictEqual"),
}
# With one of these, tests may hand the program what they say themselves; then there is no twin.
REFLECTIVE = {"eval", "exec", "globals", "inspect", "linecache", "locals", "vars", "__file__"}
MAKERS = {"frozenset", "list", "set", "tuple"}  # builtins that tests make what they expect with
_DIFFERS = "@differs"  # not an identifier, so no program can name or replace it
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = re.compile(r"[^\W\d]\w*")
_dumps, _loads = marshal.dumps, marshal.loads  # kept before any candidate runs


def _is_equality(node: ast.expr) -> bool:
    return isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.Eq, ast.Is))


def _is_equality_call(node: ast.AST) -> bool:
    """Tell whether a node is `self.assertEqual(a, b)` or one of its like."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in EQUALITIES
        and len(node.args) > 1
        and not any(isinstance(part, ast.Starred) for part in node.args)
    )


def _conditions(node: ast.Assert) -> list[ast.expr]:
    test = node.test
    return test.values if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else [test]


def _is_call_of(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) == name


def _without_tolerance(side: ast.expr) -> ast.expr:
    """Return what stands in `approx(...)`, else the side itself."""
    if isinstance(side, ast.Call) and _is_call_of(side, "approx") and side.args:
        return side.args[0]
    return side


def _literals(side: ast.expr, makers: set[str]) -> Iterator[ast.Constant]:
    """Yield the literals that a random value can stand for, as deep as displays and calls of `makers` go."""
    parts: list[ast.expr | None] = []
    if isinstance(side, ast.Constant) and isinstance(side.value, (int, float, str, bytes, type(None))):
        yield side
    elif isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub):
        parts = [side.operand]
    elif isinstance(side, (ast.List, ast.Tuple, ast.Set)):
        parts = [*side.elts]
    elif isinstance(side, ast.Dict):
        parts = [*side.keys, *side.values]
    elif isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id in makers:
        parts = [*side.args]
    for part in parts:
        if part is not None:
            yield from _literals(part, makers)


def _made(nodes: list[ast.AST]) -> set[str]:
    """Return every name that a text gives to something."""
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    named = (getattr(node, field, None) for node in nodes for field in ("name", "asname", "arg"))
    return stored | {name for name in named if isinstance(name, str)}


class _Reading:
    """Which literals of a text are expected values and nothing else."""

    def __init__(self, nodes: list[ast.AST], makers: set[str]) -> None:
        self._nodes = nodes
        self._makers = makers
        self._sides: list[ast.expr] = []
        self._unused: set[int] = set()  # nodes that the twin never evaluates, by identity
        self._uses: Counter[str] = Counter()  # of a name, but as a side
        self._values: dict[str, list[ast.expr]] = {}  # what plain assignments bind a name to
        for node in nodes:
            self._read_check(node)
        for node in nodes:
            self._read_names(node)

    def _read_check(self, node: ast.AST) -> None:
        messages: list[ast.expr] = []
        if isinstance(node, ast.Assert):
            for part in _conditions(node):
                if isinstance(part, ast.Compare) and _is_equality(part):
                    self._add_sides(part.left, part.comparators[0], by_name=isinstance(part.ops[0], ast.Eq))
            messages = [node.msg] if node.msg is not None else []
        elif isinstance(node, ast.Call) and _is_equality_call(node):
            self._add_sides(node.args[0], node.args[1])
            messages = [*node.args[2:], *(keyword.value for keyword in node.keywords)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            messages = [node.value]  # a docstring
        elif isinstance(node, ast.Call) and _is_parametrize(node):
            messages = node.args[:1]  # names, which are no strings that the tests look something up with
        self._unused.update(id(part) for message in messages for part in ast.walk(message))

    def _add_sides(self, left: ast.expr, right: ast.expr, *, by_name: bool = True) -> None:
        left, right = _without_tolerance(left), _without_tolerance(right)
        if isinstance(left, ast.Name) and isinstance(right, ast.Name) and left.id == right.id:
            return  # equal whatever it holds
        for side in (left, right):
            if not isinstance(side, ast.Name):
                self._sides.append(side)
            elif by_name:
                self._sides.append(side)
                self._unused.add(id(side))

    def _read_names(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self._values.setdefault(node.targets[0].id, []).append(node.value)
        if id(node) in self._unused:
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            self._uses[node.id] += 1
        elif isinstance(node, ast.Attribute):
            self._uses[node.attr] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self._uses.update(_WORD.findall(node.value))  # a program may look up a name that it is told

    def literals(self) -> list[ast.Constant]:
        """Return the literals that a twin has random values for, each once."""
        names = {side.id for side in self._sides if isinstance(side, ast.Name)}
        only_expected = {name for name in names if not self._uses[name]}
        bound = [value for node in self._nodes for name, value in self._bindings(node) if name in only_expected]
        return list(
            {id(found): found for side in (*self._sides, *bound) for found in _literals(side, self._makers)}.values()
        )

    def _bindings(self, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
        """Yield each name that a node binds, with the expression that it is bound to."""
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            yield from _unpack(node.targets[0], node.value)
        elif isinstance(node, ast.For):
            yield from self._rows(node.target, node.iter)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and _is_parametrize(call):
                    yield from self._rows(_parameters(call.args[0]), call.args[1])

    def _rows(self, target: ast.expr, rows: ast.expr) -> Iterator[tuple[str, ast.expr]]:
        """Yield the bindings of a loop over a literal, or over a name that stands for one and for nothing else."""
        if isinstance(rows, ast.Name) and self._uses[rows.id] == 1 and len(self._values.get(rows.id, ())) == 1:
            rows = self._values[rows.id][0]
        if isinstance(rows, (ast.List, ast.Tuple)):
            for row in rows.elts:
                yield from _unpack(target, _without_param(row, target))


def _is_parametrize(call: ast.Call) -> bool:
    """Tell whether a call is pytest's parametrize with two positional arguments, whose values go to the test alone."""
    return (
        _is_call_of(call, "parametrize")
        and len(call.args) > 1
        and all(keyword.arg == "ids" for keyword in call.keywords)
    )


def _parameters(names: ast.expr) -> ast.expr:
    """Return the first argument of parametrize as the target of a loop."""
    if isinstance(names, ast.Constant) and isinstance(names.value, str):
        parts = [part.strip() for part in names.value.split(",") if part.strip()]
        if "," not in names.value:
            return ast.Name(parts[0] if parts else "", ast.Store())
        return ast.Tuple([ast.Name(part, ast.Store()) for part in parts], ast.Store())
    if isinstance(names, (ast.List, ast.Tuple)):
        return ast.Tuple([ast.Name(str(getattr(part, "value", "")), ast.Store()) for part in names.elts], ast.Store())
    return names


def _without_param(row: ast.expr, target: ast.expr) -> ast.expr:
    """Return the values in `pytest.param(...)` as the row that they stand for, else the row itself."""
    if not (isinstance(row, ast.Call) and _is_call_of(row, "param") and row.args):
        return row
    return row.args[0] if isinstance(target, ast.Name) else ast.Tuple(row.args, ast.Load())


def _unpack(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
        parts = (*target.elts, *value.elts)
        if len(target.elts) == len(value.elts) and not any(isinstance(part, ast.Starred) for part in parts):
            for one, its_value in zip(target.elts, value.elts, strict=True):
                yield from _unpack(one, its_value)


def _random_like(value: object) -> int | float | str | bytes:
    """Return a random value that survives a change of case or rounding. A number stands for True and None too."""
    if isinstance(value, (str, bytes)):
        letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in secrets.token_bytes(N_LETTERS))
        if isinstance(value, bytes):
            return letters.encode()
        return letters.upper() if value.isupper() else letters
    least: int = 10 ** (N_DIGITS - 1)
    number = least + secrets.randbelow(9 * least)
    if isinstance(value, float):
        n_decimals = min(MAX_DECIMALS, max(1, len(repr(value).partition("e")[0].partition(".")[2])))
        digits = str(number)
        return float(f"{digits[:-n_decimals]}.{digits[-n_decimals:-1]}7")  # its last place is not lost as a zero
    return number


def _is_reflective(node: ast.AST) -> bool:
    return any(getattr(node, field, None) in REFLECTIVE for field in ("id", "attr", "name", "module"))


def draw(tests: ast.Module, candidate: ast.Module) -> tuple[str, list[str]] | None:
    """Return the text of the twin of some tests, and the random values as text; None if there is nothing to replace.

    Changes the tree of the tests.
    """
    nodes = list(ast.walk(tests))
    if len(nodes) > MAX_NODES or any(_is_reflective(node) for node in nodes):
        return None
    makers = MAKERS - _made(nodes) - _made(list(ast.walk(candidate)))
    found = _Reading(nodes, makers).literals()
    for node in found:
        node.value = _random_like(node.value)
    shown = [node.value.decode() if isinstance(node.value, bytes) else str(node.value) for node in found]
    try:
        return (ast.unparse(tests), shown) if found else None
    except (RecursionError, ValueError):  # a quote in an f-string that has no other way to be written
        return None


def arm(tree: ast.Module) -> None:
    """Change every asserted equality of a twin in place: it asks `differs`, says nothing and never fails."""
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.Assert):
            armed = [_armed(part) for part in _conditions(node)]
            node.test = armed[0] if len(armed) == 1 else ast.copy_location(ast.BoolOp(ast.And(), armed), node.test)
            node.msg = None
        elif isinstance(node, ast.Call) and _is_equality_call(node):
            text = ast.Constant(_shown(node))
            node.func = ast.Name(_DIFFERS, ast.Load())
            node.args = [*(_without_tolerance(side) for side in node.args[:2]), text]
            node.keywords = []
    ast.fix_missing_locations(tree)


def _armed(part: ast.expr) -> ast.expr:
    if not (isinstance(part, ast.Compare) and _is_equality(part)):
        return part
    sides = [_without_tolerance(side) for side in (part.left, part.comparators[0])]
    call = ast.Call(ast.Name(_DIFFERS, ast.Load()), [*sides, ast.Constant(_shown(part))], [])
    return ast.copy_location(call, part)


def _shown(node: ast.AST) -> str:
    return ast.unparse(node)[:MAX_SHOWN_CHARS]


def names(nonces: list[str], record: Callable[..., None]) -> dict[str, object]:
    """Return what an armed twin needs among its globals; `record` gets the event `read_expected`."""

    def differs(left: Any, right: Any, text: str) -> bool:
        # The `==` of a program is not asked: it would be handed what is expected. Only plain data has this form.
        try:
            plain = _loads(_dumps(left))
            is_equal = plain == _loads(_dumps(right))
        except ValueError:
            return True
        if is_equal and any(nonce in repr(plain) for nonce in nonces):
            record("read_expected", text=text)
        return True

    return {_DIFFERS: differs}
