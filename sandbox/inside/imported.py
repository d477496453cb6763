"""Which modules that Python tests import are the program: `from main import add`, `from your_module import *`.

The program is `solution`, but tests are written for whatever name their author had in mind. A name that no file and no
package provides stands for the program, if the tests take from it what the program defines, or if it is the only such
name. Tests that already have the program by another way mean something else, perhaps what it is compared with: then
nothing stands for anything. Decided from syntax; that nothing is shadowed is seen to where the tests run.
"""

import ast
import importlib.util
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

PROGRAM = "solution"
MAX_ALIASES = 20
HARNESS = {"pytest", "_pytest", "pluggy", "iniconfig", "packaging", "test_solution"}
_IMPORTERS = {"import_module", "__import__"}
_PATCHERS = {"patch", "setattr"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass
class _Root:
    """What tests import under one top-level name."""

    modules: set[str] = field(default_factory=set)
    supplied: set[str] = field(default_factory=set)  # names of the program that are taken from it
    is_whole: bool = False  # by `import *`
    is_guarded: bool = True  # only ever imported where a failure to import is handled


def flatten(tree: ast.Module) -> None:
    """Turn relative imports into absolute ones, in place, for tests lie in no package; `__main__` is the program."""
    for body in _bodies(tree):
        body[:] = [_flat(node) if isinstance(node, ast.ImportFrom) else node for node in body]


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list):
                yield body


def _flat(node: ast.ImportFrom) -> ast.stmt:
    if node.module == "__main__":
        node.module = PROGRAM
    if node.level and node.module is None and all(alias.name != "*" for alias in node.names):
        return ast.copy_location(ast.Import(node.names), node)
    if node.level:
        node.level, node.module = 0, node.module or PROGRAM
    return node


def _defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that the top of a program gives to something."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                yield node.id
        elif not isinstance(node, ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` as text, and nothing for what is no such name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


class _Imports:
    """What tests import, by top-level name, and what they take from it."""

    def __init__(self, tests: ast.Module, names: set[str]) -> None:
        self._names = names
        self.roots: dict[str, _Root] = {}
        self._attributes: dict[str, set[str]] = {}  # what is taken from a dotted name
        nodes = list(ast.walk(tests))
        for node in nodes:
            if isinstance(node, ast.Attribute):
                self._attributes.setdefault(_dotted(node.value), set()).add(node.attr)
        self._guarded = {
            id(part)
            for node in nodes
            if isinstance(node, ast.Try) and node.handlers
            for statement in node.body
            for part in ast.walk(statement)
        }
        for node in nodes:
            self._read(node)

    def _read(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._add(node, alias.name, self._attributes.get(alias.asname or alias.name, set()))
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                within = self._attributes.get(alias.asname or alias.name, set()) & self._names
                if within and alias.name not in self._names:
                    self._add(node, f"{node.module}.{alias.name}", within)
                else:
                    self._add(node, node.module, {alias.name})
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name, text = getattr(node.func, "attr", getattr(node.func, "id", None)), node.args[0].value
            if not isinstance(text, str):
                return
            if name in _IMPORTERS:
                self._add(node, text, {taken for found in self._attributes.values() for taken in found})
            elif name in _PATCHERS and "." in text:
                module, _, taken = text.rpartition(".")
                self._add(node, module, {taken})

    def _add(self, node: ast.AST, module: str, taken: set[str]) -> None:
        if not all(part.isidentifier() for part in module.split(".")):
            return
        root = self.roots.setdefault(module.partition(".")[0], _Root())
        root.modules.add(module)
        root.supplied |= taken & self._names
        root.is_whole |= "*" in taken
        root.is_guarded &= id(node) in self._guarded


def _direct(tests: ast.Module, names: set[str]) -> set[str]:
    """Return the names of the program that tests use without having imported or made them."""
    read: set[str] = set()
    made: set[str] = set()
    for node in ast.walk(tests):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            made.add(node.name)
    return (read - made) & names


def _is_provided(root: str, files: Iterable[str]) -> bool:
    """Tell whether the standard library, what runs the tests, or a file of the request is what a name stands for."""
    if root in sys.stdlib_module_names or root in HARNESS:
        return True
    return any(name == f"{root}.py" or name.startswith(f"{root}/") for name in files)


def aliases(candidate: ast.Module, tests: ast.Module, files: list[str]) -> list[str]:
    """Return the modules that stand for the program, with the packages that they lie in, parents first.

    `files` are the names of the request's other files; where one of them is Python's, no module stands for another.
    """
    names = set(_defined(candidate.body))
    found = _Imports(tests, names).roots
    if PROGRAM in found or any(name.endswith(".py") for name in files):
        return []
    unknown = {name: root for name, root in found.items() if not _is_provided(name, files)}
    direct = _direct(tests, names)
    chosen = {name: root for name, root in unknown.items() if root.supplied or root.is_whole}
    taken = [name for root in chosen.values() for name in root.supplied]
    wholes = sum(root.is_whole for root in chosen.values())
    if len(taken) != len(set(taken)) or wholes > 1 or (set(taken) & direct and not wholes):
        return []  # one of two is what the program is compared with
    required = {name: root for name, root in unknown.items() if not root.is_guarded}
    if not chosen and len(required) == 1 and not direct:
        chosen = required  # the program lacks what the tests want, and is told so
    modules = {module for root in chosen.values() for module in root.modules}
    parents = {".".join(module.split(".")[:i]) for module in modules for i in range(1, module.count(".") + 2)}
    return sorted(parents, key=lambda module: (module.count("."), module))[:MAX_ALIASES]


def install(program: types.ModuleType, modules: list[str]) -> None:
    """Let the program be imported under these names as well, but for names that something else has here."""
    taken = {module for module in modules if "." not in module and _can_be_imported(module)}
    for module in modules:
        if module.partition(".")[0] in taken:
            continue
        stands_for = program
        if any(other.startswith(f"{module}.") for other in modules):
            stands_for = types.ModuleType(module)
            stands_for.__dict__.update(
                {name: value for name, value in vars(program).items() if not name.startswith("__")}, __path__=[]
            )
        sys.modules[module] = stands_for
        parent, _, name = module.rpartition(".")
        if parent:
            setattr(sys.modules[parent], name, stands_for)


def _can_be_imported(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # of a finder, or of a module that forgot what it is
        return True
