"""Run tests that need fixtures, classes or parametrization under pytest, in the candidate's process.

pytest is given no configuration, no conftest and no plugins but ours, which records the worst of what each phase
of each test raised and of what pytest's final reports say; pytest's exit status must then agree. Asserts are
rewritten by `asserting`, not by pytest.
"""

import ast
import asyncio
import builtins
import importlib
import inspect
import os
import sys
import types
import unittest
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from sandbox.inside import asserting, heard, skips, vacuous
from sandbox.inside.records import Recorder

TEST_MODULE = "test_solution"
TEST_FILE = f"{TEST_MODULE}.py"
MAX_MESSAGE_CHARS = 400
_modules: dict[str, Any] = {}
_kept: dict[type, dict[str, Any]] = {}  # classes by which unittest tells pytest of failures, as they were


def warm() -> None:
    """Import pytest and what it imports lazily, once per zygote."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    pytest = importlib.import_module("pytest")
    for name in ("_pytest.terminal", "unittest", "unittest.mock"):
        importlib.import_module(name)
    _modules["pytest"] = pytest
    _modules["main"] = pytest.main
    _modules["cases"] = (unittest.TestCase, unittest.IsolatedAsyncioTestCase)
    for owner in (*_modules["cases"], importlib.import_module("_pytest.unittest").TestCaseFunction):
        _kept[owner] = dict(vars(owner))
    pytest.hookimpl(wrapper=True)(_Observer.pytest_runtest_makereport)
    pytest.hookimpl(wrapper=True)(_Observer.pytest_runtest_call)
    pytest.hookimpl(wrapper=True)(_Observer.pytest_runtest_teardown)
    pytest.hookimpl(tryfirst=True)(_Observer.pytest_runtest_setup)
    pytest.hookimpl(tryfirst=True)(_Observer.pytest_pyfunc_call)
    skips.warm()
    _modules["class"] = type("Tests", (pytest.Module,), {"_getobj": _load_tests})


def _load_tests(module: Any) -> types.ModuleType:
    """Answer pytest's question for the module object of the tests."""
    del module
    loaded: types.ModuleType = _modules["load"]()
    return loaded


@dataclass
class _Cause:
    """Why a phase of a test did not pass."""

    outcome: str  # "failed" or "skipped"
    kind: str
    message: str
    by: str  # who skipped it

    @property
    def weight(self) -> int:
        """A failure outweighs a skip, and a skip by the program one by the tests."""
        return 2 if self.outcome == "failed" else int(self.by == skips.PROGRAM)


class _Observer:
    """The plugin that records. Its methods are pytest hooks."""

    def __init__(self, recorder: Recorder, own: skips.Skips) -> None:
        self._record = recorder.add
        self._skips = own
        self._cause: _Cause | None = None  # of the report that comes next
        self._worst: dict[str, _Cause] = {}
        self.n_failed = 0

    def pytest_pycollect_makemodule(self, module_path: Any, parent: Any) -> Any:
        """Make the module of the tests from what we compiled, not from the file."""
        return _modules["class"].from_parent(parent, path=module_path)

    def pytest_collection_finish(self, session: Any) -> None:
        """Record which tests were found."""
        self._record("collected", tests=[_name(item.nodeid) for item in session.items])

    def pytest_collectreport(self, report: Any) -> None:
        """Record that the tests could not be imported, or skipped themselves as a whole."""
        if report.failed:
            self.n_failed += 1
            lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
            text = " ".join(line[1:].strip() for line in lines) or report.longreprtext[-MAX_MESSAGE_CHARS:]
            self._record("collect_error", message=text)
        elif report.skipped:
            self._record("collect_skip", message=str(report.longrepr[-1])[:MAX_MESSAGE_CHARS])

    def pytest_runtest_setup(self, item: Any) -> None:
        """Fail async methods that unittest would call and never run."""
        case, isolated = _modules["cases"]
        if item.cls is None or not issubclass(item.cls, case) or issubclass(item.cls, isolated):
            return
        for name in (item.name, "setUp", "tearDown"):
            if inspect.iscoroutinefunction(getattr(item.cls, name, None)):
                text = f"{name} is async and its class a plain TestCase, so it never runs; use IsolatedAsyncioTestCase"
                raise heard.TestChecksNothing(text)

    def pytest_pyfunc_call(self, pyfuncitem: Any) -> bool:
        """Call a test in pytest's place: run it if it is async, fail it if it returns something."""
        names = pyfuncitem._fixtureinfo.argnames  # noqa: SLF001 - pytest has no public name for it
        value = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
        vacuous.returned(value, pyfuncitem.name)
        return True

    def pytest_runtest_call(self, item: Any) -> Generator[None, Any, Any]:
        """Fail a test whose failed checks were swallowed. A TestCase keeps what it raised for pytest to find."""
        result = yield
        if getattr(item, "_excinfo", None):
            heard.clear()
        else:
            heard.raise_lost()
        return result

    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Fail a test whose fixtures swallow failed checks at its end."""
        result = yield
        heard.raise_lost()
        return result

    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, Any]:
        """Note what a phase raised, as it was raised and as pytest's own hooks for unittest then see it."""
        del item
        raised = call.excinfo
        report = yield
        seen = call.excinfo
        self._cause = None
        if seen is not None:
            kind = seen.type.__name__
            error = seen.value if raised is None else raised.value
            by = self._skips.origin(error) if kind in skips.KINDS else skips.MARK
            self._cause = _Cause("failed", kind, _message(seen), by)
            if report.skipped:
                self._cause.outcome = "skipped"
        return report

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the worst of a test's phases and subtests; after the last phase record the test.

        What was raised counts and what the report says: a candidate may have patched either.
        """
        test_id, cause = _name(report.nodeid), self._cause
        if not report.passed and not hasattr(report, "context"):
            heard.clear()
        self._cause = None
        if cause is None and report.failed:  # a strict xfail that passed raised nothing
            cause = _Cause("failed", "TestFailed", report.longreprtext[:MAX_MESSAGE_CHARS], skips.MARK)
        is_part = hasattr(report, "context")  # a subtest that the tests skip leaves the rest of its test
        if cause is not None and not (is_part and cause.outcome == "skipped" and cause.by == skips.TESTS):
            worst = self._worst.get(test_id)
            if worst is None or cause.weight > worst.weight:
                self._worst[test_id] = cause
        if report.when != "teardown":
            return
        found = self._worst.pop(test_id, None)
        if found is None:
            self._record("test", id=test_id, outcome="passed")
            return
        self.n_failed += found.outcome == "failed"
        self._record("test", id=test_id, outcome=found.outcome, type=found.kind, message=found.message, by=found.by)


def _name(node_id: str) -> str:
    """Drop the file from a pytest node id."""
    return node_id.partition("::")[2]


def _message(excinfo: Any) -> str:
    try:
        return str(excinfo.value)[:MAX_MESSAGE_CHARS]
    except Exception as error:  # noqa: BLE001 - a hostile __str__ may raise anything
        return f"<unprintable: {type(error).__name__}>"


def _restore_unittest() -> None:
    """Undo what the candidate changed when it was loaded: the tests use the real assertions."""
    for owner, kept in _kept.items():
        for name, value in kept.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)
    _modules["cases"][0].failureException = heard.CaseError


def _loader(code: types.CodeType, path: str, names: dict[str, Any]) -> Callable[[], types.ModuleType]:
    """Return a function that makes the module of the tests."""

    def load() -> types.ModuleType:
        module = types.ModuleType(TEST_MODULE)
        visible = {name: value for name, value in names.items() if not name.lower().startswith("test")}
        module.__dict__.update(visible, **asserting.NAMES, **vacuous.NAMES, __file__=path, __builtins__=builtins)
        sys.modules[TEST_MODULE] = module
        exec(code, module.__dict__)  # noqa: S102 - the caller's tests
        return module

    return load


def run(tree: ast.Module, test_code: str, names: dict[str, Any], recorder: Recorder) -> bool:
    """Write the tests beside the workspace and run their tree; return whether none failed and pytest agrees."""
    folder = os.path.join(os.path.dirname(os.getcwd()), "tests")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, TEST_FILE)
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(test_code)
    own = skips.Skips(tree)
    tree.body = [asserting.rewrite(statement) for statement in tree.body]
    code = compile(tree, path, "exec", dont_inherit=True)  # now, before a test can interfere
    own.know(code)
    _modules["load"] = _loader(code, path, names)
    observer = _Observer(recorder, own)
    _restore_unittest()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)  # the candidate may have set it
    arguments = ["-q", "--noconftest", "-c", "/dev/null", "--rootdir", folder, "--color=no", "--tb=short", path]
    arguments += ["--confcutdir", folder]  # else it lists every folder above, which not every tier lets it
    arguments += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--assert=plain", "--capture=sys"]
    status = int(_modules["main"](arguments, plugins=[observer]))
    recorder.add("pytest_end", status=status)
    return observer.n_failed == 0 and status == 0
