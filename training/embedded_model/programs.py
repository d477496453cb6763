"""Programs as text: the same program under other names, with a fault, or as what a model answers with.

Works on Python's own syntax tree, so that a word in a string stays as it is. Knows nothing of families and prompts.
"""

import ast
import random
import re
from collections.abc import Iterator, Mapping
from typing import Final

_FAULTS_OF_COMPARE: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_FAULTS_OF_OPERATOR: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip
_FAULTS_OF_CALL: Final = {
    "max": "min", "min": "max", "sum": "len", "len": "sum", "any": "all", "all": "any", "upper": "lower",
    "lower": "upper", "append": "extend", "sorted": "list", "startswith": "endswith", "endswith": "startswith",
    "keys": "values", "values": "keys", "items": "keys", "strip": "lstrip", "insert": "append", "union": "intersection",
}  # fmt: skip


def renamed(source: str, names: Mapping[str, str]) -> str:
    """Return *source* with its identifiers renamed by *names*; attributes and keywords of calls stay as they are."""
    changed = {old: new for old, new in names.items() if old != new}
    if not changed:
        return source
    lines = source.splitlines(keepends=True)
    for line, start, end, new in sorted(_edits(source, lines, changed), reverse=True):
        raw = lines[line].encode()
        lines[line] = (raw[:start] + new.encode() + raw[end:]).decode()
    return "".join(lines)


def _edits(source: str, lines: list[str], names: Mapping[str, str]) -> Iterator[tuple[int, int, int, str]]:
    """Yield (line, first byte, last byte, text) of what is renamed."""
    tree = ast.parse(source)
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    in_strings = {id(inner) for node in strings for inner in ast.walk(node) if inner is not node}
    for node in ast.walk(tree):
        if id(node) in in_strings:
            continue
        if isinstance(node, ast.JoinedStr) and node.end_col_offset is not None and node.lineno == node.end_lineno:
            segment = lines[node.lineno - 1].encode()[node.col_offset : node.end_col_offset].decode()
            new = re.sub(r"\{[^{}]*\}", lambda found: _renamed_words(found[0], names), segment)
            yield node.lineno - 1, node.col_offset, node.end_col_offset, new
        elif isinstance(node, ast.Name) and node.id in names:
            yield node.lineno - 1, node.col_offset, node.col_offset + len(node.id.encode()), names[node.id]
        elif isinstance(node, ast.arg) and node.arg in names:
            yield node.lineno - 1, node.col_offset, node.col_offset + len(node.arg.encode()), names[node.arg]
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names:
            row = node.lineno - 1
            start = lines[row].index(node.name, node.col_offset + 4)
            yield (
                row,
                len(lines[row][:start].encode()),
                len(lines[row][: start + len(node.name)].encode()),
                names[node.name],
            )


def _renamed_words(text: str, names: Mapping[str, str]) -> str:
    """Rename the expression of one `{...}` of an f-string; what follows a colon is its format."""
    expression, colon, form = text.partition(":")
    return re.sub(r"(?<![\w.'\"])[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), expression) + colon + form


def folded(source: str) -> str:
    """Return *source* with sums and differences of two whole numbers worked out, as parameters leave them behind."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            segment = ast.get_source_segment(source, node) or ""
            if re.fullmatch(r"\d+ [+-] \d+", segment):
                first, sign, second = segment.split()
                result = int(first) + int(second) if sign == "+" else int(first) - int(second)
                return folded(source.replace(segment, str(result), 1))
    return source


def fenced(source: str, language: str = "python") -> str:
    """Return *source* as a block of code, which is how the model answers."""
    return f"```{language}\n{source.rstrip()}\n```"


def faulty(source: str, r: random.Random) -> str | None:
    """Return *source* with one fault such as people make, or None where none can be made."""
    places = [(node, fault) for node in ast.walk(ast.parse(source)) for fault in _possible_faults(node)]
    if not places:
        return None
    index = r.randrange(len(places))
    tree = ast.parse(source)
    node, fault = [(node, fault) for node in ast.walk(tree) for fault in _possible_faults(node)][index]
    _make_fault(node, fault, r)
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def tidy(source: str) -> str:
    """Return *source* as `faulty` would write it without a fault, so that only the fault differs."""
    return ast.unparse(ast.parse(source)) + "\n"


def _possible_faults(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _FAULTS_OF_COMPARE:
        yield "compare"
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _FAULTS_OF_OPERATOR:
        yield "operator"
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield "number"
    elif isinstance(node, ast.BoolOp):
        yield "boolean"
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield "lost return"
    if isinstance(node, ast.Call) and _called(node) in _FAULTS_OF_CALL:
        yield "call"
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and len(node.id) > 3:
        yield "misspelt"


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _make_fault(node: ast.AST, fault: str, r: random.Random) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = _FAULTS_OF_COMPARE[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        node.op = _FAULTS_OF_OPERATOR[type(node.op)]()
    elif isinstance(node, ast.Constant):
        node.value = node.value + r.choice((-1, 1))  # type: ignore[operator]  # an int, by _possible_faults
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.Return):
        node.value = None if r.random() < 0.5 else ast.Constant(None)
    elif isinstance(node, ast.Call) and fault == "call":
        wrong = _FAULTS_OF_CALL[_called(node)]
        if isinstance(node.func, ast.Name):
            node.func.id = wrong
        elif isinstance(node.func, ast.Attribute):
            node.func.attr = wrong
    elif isinstance(node, ast.Name):
        i = r.randrange(len(node.id))
        node.id = node.id[:i] + node.id[i + 1 :] if r.random() < 0.7 else node.id + "s"
