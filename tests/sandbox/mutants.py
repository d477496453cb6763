"""Small faults put into right Python programs, always the same ones: each names what it changes and where."""

import ast
import copy
from collections.abc import Callable, Iterator

OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}


def mutants(head: str, body: str, most: int) -> Iterator[tuple[str, str]]:
    """Yield (kind, program) of at most so many faults, of different kinds, in the function that is completed."""
    tree = ast.parse(head + body)
    function = [node for node in tree.body if isinstance(node, ast.FunctionDef)][-1]
    found = 0
    for kind, change in KINDS.items():
        if found == most:
            return
        place = next((i for i, node in enumerate(ast.walk(function)) if change(copy.deepcopy(node))), None)
        if place is None:
            continue
        changed = copy.deepcopy(tree)
        target = [node for node in changed.body if isinstance(node, ast.FunctionDef)][-1]
        change(list(ast.walk(target))[place])
        found += 1
        yield kind, ast.unparse(ast.fix_missing_locations(changed))


def _negate_condition(node: ast.AST) -> bool:
    if not isinstance(node, (ast.If, ast.IfExp)):
        return False
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return True


def _oppose_comparison(node: ast.AST) -> bool:
    if not isinstance(node, ast.Compare):
        return False
    node.ops[0] = OPPOSITES[type(node.ops[0])]()
    return True


def _exchange_operator(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATORS:
        return False
    node.op = OPERATORS[type(node.op)]()
    return True


def _raise_constant(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant) or type(node.value) is not int:
        return False
    node.value += 1
    return True


def _drop_result(node: ast.AST) -> bool:
    if not isinstance(node, ast.Return) or node.value is None:
        return False
    node.value = None
    return True


KINDS: dict[str, Callable[[ast.AST], bool]] = {
    "negated condition": _negate_condition,
    "opposite comparison": _oppose_comparison,
    "other operator": _exchange_operator,
    "constant off by one": _raise_constant,
    "dropped result": _drop_result,
}
