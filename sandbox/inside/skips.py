"""Who raised a skip: the tests, which may, or the candidate, which would leave a test that way without passing it.

A skip is the tests' own when the last line of the tests in its traceback is one whose source skips, and nothing but
the skipping functions of pytest and unittest ran after that line. One that no line of the tests raised comes from a
mark or a decorator, and the host judges it by what the tests' source allows.
"""

import ast
import importlib
import types
from collections.abc import Iterable, Iterator

TESTS, PROGRAM, MARK = "tests", "program", "mark"
KINDS = {"Skipped", "SkipTest", "XFailed"}  # the exceptions of pytest and unittest by which a test is left
_CALLS = {"skip", "skipTest", "importorskip", "xfail"}
_machinery: dict[int, types.CodeType] = {}  # by identity: equal code may be anybody's


def warm() -> None:
    """Remember the code of the skipping functions, before any candidate can replace them."""
    for module, names in (("_pytest.outcomes", None), ("unittest.case", {"TestCase"})):
        found = vars(importlib.import_module(module))
        for name, value in list(found.items()):
            if names is None or name in names:
                _machinery.update({id(code): code for code in _codes_of(value, module)})


def _codes_of(value: object, module: str) -> Iterator[types.CodeType]:
    if getattr(value, "__module__", None) != module:
        return
    if isinstance(value, types.FunctionType):
        yield value.__code__
    for part in vars(type(value) if not isinstance(value, type) else value).values():
        if isinstance(part, types.FunctionType):
            yield part.__code__


def _is_skip(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)) in _CALLS
    return isinstance(node, ast.Raise) and node.exc is not None


class Skips:
    """What the tests' own skips look like. Made from the tests' source, before a test runs."""

    def __init__(self, tree: ast.Module) -> None:
        self._lines = {
            line
            for node in ast.walk(tree)
            if _is_skip(node)
            for line in range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)
        }
        self._codes: dict[int, types.CodeType] = {}

    def know(self, code: types.CodeType) -> None:
        """Add compiled code of the tests, with the functions and classes in it."""
        self._codes[id(code)] = code
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.know(constant)

    def origin(self, error: BaseException | None) -> str:
        """Return who skipped: `TESTS`, `PROGRAM` or `MARK`. unittest raises anew, so contexts are followed."""
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            frames = list(_frames(error.__traceback__))
            ours = [i for i, (code, _) in enumerate(frames) if id(code) in self._codes]
            if ours:
                return TESTS if self._is_own(frames[ours[-1] :]) else PROGRAM
            error = error.__context__
        return MARK

    def _is_own(self, frames: Iterable[tuple[types.CodeType, int]]) -> bool:
        (_, line), *after = frames
        return line in self._lines and all(id(code) in _machinery for code, _ in after)


def _frames(traceback: types.TracebackType | None) -> Iterator[tuple[types.CodeType, int]]:
    while traceback is not None:
        yield traceback.tb_frame.f_code, traceback.tb_lineno
        traceback = traceback.tb_next
