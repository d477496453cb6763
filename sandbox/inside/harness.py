"""Run the tests of a candidate, in the candidate's own process or with the candidate in another job.

Tests are read before any candidate code runs. The candidate becomes the module `solution`; its names are also put
where tests that use them directly find them. Each test is recorded once and the run ends with an `end` record:
what is not recorded did not pass, so leaving early proves nothing. Not covered in one process: a candidate written to
find the recorder in memory; that is why such results are labelled `in_process`.
"""

import ast
import asyncio
import builtins
import contextlib
import inspect
import os
import sys
import types
from typing import Any

from sandbox.inside import (
    asserting,
    heard,
    imported,
    program,
    proxy,
    skips,
    source,
    suite,
    twins,
    under_pytest,
    vacuous,
)
from sandbox.inside.records import Recorder

MODULE = "solution"
TEST_FILE = "test_solution.py"


def read_suite(text: str) -> tuple[ast.Module, suite.Suite]:
    """Parse the tests again, here, before the candidate can interfere."""
    tree = source.parse(text, TEST_FILE)
    imported.flatten(tree)
    found = suite.read(tree)
    vacuous.expose(tree, needs_pytest=found.needs_pytest)
    return tree, found


def load_candidate(arguments: dict[str, Any], recorder: Recorder) -> types.ModuleType | None:
    """Execute the candidate as the module `solution`; on failure record why and return None."""
    path = program.prepare(arguments)
    code = program.compile_candidate(arguments, path, recorder)
    if code is None:
        return None
    module = types.ModuleType(MODULE)
    module.__dict__.update(__file__=path, __builtins__=__builtins__)
    sys.modules[MODULE] = module
    kept = dict(builtins.__dict__)
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the candidate is what this process is for
    except SystemExit as error:
        recorder.add("exited", status=program.exit_status(error))
        return None
    except BaseException as error:  # noqa: BLE001 - whatever escapes the candidate ends the run
        program.report_exception(error, path, recorder)
        return None
    restore_builtins(kept)
    sys.modules[MODULE] = module
    return module


def restore_builtins(kept: dict[str, Any]) -> None:
    """Undo what the candidate changed in builtins: the tests use the real ones."""
    for name in set(builtins.__dict__) - set(kept):
        del builtins.__dict__[name]
    builtins.__dict__.update(kept)


def visible_names(module: types.ModuleType, used: set[str]) -> dict[str, Any]:
    """Return the candidate's names for tests that do not import them.

    A name of a builtin is left out, or a candidate's own `len` would judge it, unless it is the only name of the
    candidate's that the tests use.
    """
    names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    shadowing = {name for name in names if hasattr(builtins, name)}
    if (set(names) & used) - shadowing:
        return {name: value for name, value in names.items() if name not in shadowing}
    return names


def used_names(tree: ast.Module) -> set[str]:
    """Return every plain name that the tests read."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Load the candidate and run its tests in this process; return 0 when all passed."""
    tree, tests = read_suite(arguments["test_code"])
    kept = dict(builtins.__dict__)
    remote = arguments["remote"] is not None
    module = proxy.connect(arguments, recorder) if remote else load_candidate(arguments, recorder)
    if module is None:
        return program.FAILED
    imported.install(module, arguments["aliases"])
    heard.start(tree)
    names = visible_names(module, used_names(tree))
    if arguments["twin"] is not None:
        twins.arm(tree)
        names.update(twins.names(arguments["twin"], recorder.add))
    if tests.needs_pytest:
        passed = under_pytest.run(tree, arguments["test_code"], names, recorder)
    else:
        try:
            passed = Runner(tests, skips.Skips(tree), names, recorder).run(kept)
        except proxy.GivenUp:
            return program.FAILED  # recorded where it was raised
    for stream in (sys.stdout, sys.stderr):
        program.flush(stream)
    recorder.add("end")
    return 0 if passed else program.FAILED


class Runner:
    """Runs a suite that needs no pytest: statements in order, then functions by name."""

    def __init__(self, tests: suite.Suite, own: skips.Skips, names: dict[str, Any], recorder: Recorder) -> None:
        self._tests = tests
        self._skips = own
        self._record = recorder.add
        self._broken: BaseException | None = None
        self._broken_line = 0
        self._globals: dict[str, Any] = {
            **names,
            **asserting.NAMES,
            **vacuous.NAMES,
            "__name__": "test_solution",
            "__file__": os.path.join(os.path.dirname(os.getcwd()), "tests", TEST_FILE),
        }
        self._globals["__builtins__"] = builtins
        self._code = [
            (unit, self._compile(unit.statement)) for unit in tests.units
        ]  # compiled before anything of the tests runs
        for _, code in self._code:
            own.know(code)

    @staticmethod
    def _compile(statement: ast.stmt) -> types.CodeType:
        body = ast.Module([asserting.rewrite(statement)], [])
        return compile(body, TEST_FILE, "exec", dont_inherit=True)

    def run(self, kept_builtins: dict[str, Any]) -> bool:
        """Run everything; return whether no test failed."""
        passed = True
        for unit, code in self._code:
            if unit.test_id is None:
                self._prepare(unit, code)
            else:
                restore_builtins(kept_builtins)
                passed &= self._one(unit.test_id, code)
        for name in self._tests.functions:
            restore_builtins(kept_builtins)
            passed &= self._one(name, None)
        return passed

    def _prepare(self, unit: suite.Unit, code: types.CodeType) -> None:
        """Run a statement that is no test; if it fails, every later test fails with it."""
        if self._broken is not None:
            return
        try:
            exec(code, self._globals)  # noqa: S102 - the caller's tests
        except proxy.GivenUp:
            raise
        except BaseException as error:  # noqa: BLE001 - a test's set-up may fail in any way
            self._broken, self._broken_line = error, unit.statement.lineno

    def _one(self, test_id: str, code: types.CodeType | None) -> bool:
        """Run and record one test; return whether it did not fail."""
        if self._broken is not None:
            return self._left(test_id, self._broken, f"line {self._broken_line} of the tests failed")
        try:
            if code is not None:
                with contextlib.suppress(vacuous.Left):
                    exec(code, self._globals)  # noqa: S102 - the caller's tests
            else:
                returned = self._globals[test_id]()
                if inspect.iscoroutine(returned):
                    returned = asyncio.run(returned)
                vacuous.returned(returned, test_id)
            heard.raise_lost()
        except proxy.GivenUp:
            raise
        except BaseException as error:  # noqa: BLE001 - a test may fail in any way, SystemExit among them
            return self._left(test_id, error, None)
        self._record("test", id=test_id, outcome="passed")
        return True

    def _left(self, test_id: str, error: BaseException, note: str | None) -> bool:
        """Record a test that an exception ended; return whether that was a skip, whoever raised it."""
        heard.clear()
        try:
            message = str(error)
        except Exception as broken:  # noqa: BLE001 - a hostile __str__ may raise anything
            message = f"<unprintable: {type(broken).__name__}>"
        if note is not None:
            message = f"{note}: {message}"
        kind = type(error).__name__
        if kind in skips.KINDS:
            by = self._skips.origin(error)
            self._record("test", id=test_id, outcome="skipped", type=kind, message=message, by=by)
            return True
        self._record("test", id=test_id, outcome="failed", type=kind, message=message)
        sys.stderr.write(f"FAILED {test_id}: {kind}: {message}\n"[: asserting.MAX_REPR_CHARS * 4])
        return False
