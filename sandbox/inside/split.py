"""Decide from syntax alone whether tests can run in another process than the candidate.

They can when all they need of the candidate is calling its top-level functions and reading its constants, with
ordinary data. When in doubt the answer is no: the run is then honest about having been in one process.
"""

import ast
import builtins

from sandbox.inside.suite import Suite

SAFE_MODULES = {
    *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools"),
    *("json", "math", "operator", "random", "re", "statistics", "string", "time", "typing"),
}
PROGRAM = "solution"
# Names through which tests could see or change more of the candidate than its answers.
PRYING = {
    *("__import__", "breakpoint", "compile", "delattr", "dir", "eval", "exec", "globals", "id", "input", "locals"),
    *("open", "setattr", "vars", "__builtins__", "sys", "inspect"),
}
PRYING_ATTRIBUTES = {"seed", "setattr", "importorskip", "monkeypatch", "__globals__", "__code__", "__wrapped__"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class _Candidate:
    """The top-level names of a candidate, by what they are."""

    def __init__(self, tree: ast.Module) -> None:
        self.functions: set[str] = set()
        self.constants: set[str] = set()
        self.imports: dict[str, str] = {}  # name -> the statement that makes it
        self.others: set[str] = set()
        for node in tree.body:
            self._add(node)

    def _add(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            (self.others if _yields(node) else self.functions).add(node.name)
        elif isinstance(node, (ast.AsyncFunctionDef, ast.ClassDef)):
            self.others.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self._add_import(node)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if isinstance(node.value, ast.Lambda):
                self.functions.add(name)
            else:
                (self.constants if name.isupper() else self.others).add(name)

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        module = node.module if isinstance(node, ast.ImportFrom) else None
        for alias in node.names:
            root = (module or alias.name).partition(".")[0]
            name = alias.asname or alias.name.partition(".")[0]
            if root in SAFE_MODULES and alias.name != "*":
                kind = ast.ImportFrom(module, [alias], 0) if module else ast.Import([alias])
                self.imports[name] = ast.unparse(kind)
            else:
                self.others.add(name)


def _yields(node: ast.FunctionDef) -> bool:
    """Tell whether calling the function gives a generator, which cannot travel."""
    pending: list[ast.AST] = list(node.body)
    while pending:
        part = pending.pop()
        if isinstance(part, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(part, (*_FUNCTIONS, ast.Lambda, ast.ClassDef)):
            pending.extend(ast.iter_child_nodes(part))
    return False


class _Reader(ast.NodeVisitor):
    """Collects what tests use, and whether anything in them forbids a split."""

    def __init__(self, candidate: _Candidate, own: frozenset[str], bound: set[str]) -> None:
        self._candidate = candidate
        self._own = own  # modules that are the program
        self._bound = bound  # names that stand for one of them
        self.read: set[str] = set()
        self.made: set[str] = set()
        self.imported: set[str] = set()  # names of the candidate that the tests import
        self.allowed = True

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.made).add(node.id)
        self.allowed &= node.id not in PRYING and node.id not in self._bound

    def visit_arg(self, node: ast.arg) -> None:
        self.made.add(node.arg)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self.made.add(node.name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.made.add(node.name)
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        del node
        self.allowed = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.made.add(node.name)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for operator, side in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.Is, ast.IsNot)) and not isinstance(side, ast.Constant):
                self.allowed = False  # identity does not survive the way
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in PRYING_ATTRIBUTES or not isinstance(node.ctx, ast.Load):
            self.allowed = False
        if isinstance(node.value, ast.Name):
            if node.value.id in self._candidate.functions:
                self.allowed = False
            if node.value.id in self._bound:
                self.imported.add(node.attr)
                return
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            root = alias.name.partition(".")[0]
            self.allowed &= root in SAFE_MODULES or alias.name == "pytest" or _is_whole(alias, self._own)
            self.made.add(alias.asname or root)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        root = module.partition(".")[0]
        self.allowed &= node.level == 0 and (root in SAFE_MODULES or root == "pytest" or module in self._own)
        for alias in node.names:
            self.allowed &= f"{module}.{alias.name}" not in self._own
            if module in self._own and alias.name != "*":
                self.imported.add(alias.name)
            if alias.name != "*":
                self.made.add(alias.asname or alias.name)


def _is_whole(alias: ast.alias, own: frozenset[str]) -> bool:
    """Tell whether an import gives one name to the whole program."""
    return alias.name in own and (alias.asname is not None or "." not in alias.name)


def plan(
    candidate: ast.Module, tests: ast.Module, found: Suite, aliases: frozenset[str] = frozenset()
) -> dict[str, list[str]] | None:
    """Return what the tests need of the candidate, or None when they cannot be parted from it.

    `aliases` are modules that stand for the candidate besides its own name.
    """
    if found.needs_pytest:
        return None
    names = _Candidate(candidate)
    own = aliases | {PROGRAM}
    imports = (node for node in ast.walk(tests) if isinstance(node, ast.Import))
    bound = {alias.asname or alias.name for node in imports for alias in node.names if _is_whole(alias, own)}
    reader = _Reader(names, own, bound)
    reader.visit(tests)
    # A name of a builtin is the candidate's only where the tests import it; in one process the same question arises.
    unimported = {name for name in reader.read - reader.made if not hasattr(builtins, name)}
    shadowed = {name for name in reader.read - reader.made if hasattr(builtins, name)} & names.functions
    wanted = unimported | reader.imported
    known = names.functions | names.constants | set(names.imports)
    if not reader.allowed or shadowed or wanted & names.others or not wanted <= known:
        return None
    return {
        "functions": sorted(wanted & names.functions),
        "values": sorted(wanted & names.constants),
        "imports": sorted(names.imports[name] for name in wanted & set(names.imports)),
    }
