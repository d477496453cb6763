"""Run tests that need fixtures, classes or parametrization under pytest, in the candidate's process.

pytest is given no configuration, no conftest and no plugins but ours, which records what each phase of each test
raised, straight from the call and not from the reports that a candidate may have patched. Asserts are rewritten by
`asserting`, not by pytest.
"""

import builtins
import importlib
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from sandbox.inside import asserting, source
from sandbox.inside.records import Recorder

TEST_MODULE = "test_solution"
TEST_FILE = f"{TEST_MODULE}.py"
MAX_MESSAGE_CHARS = 400
_modules: dict[str, Any] = {}


def warm() -> None:
    """Import pytest and what it imports lazily, once per zygote."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    pytest = importlib.import_module("pytest")
    for name in ("_pytest.terminal", "unittest", "unittest.mock"):
        importlib.import_module(name)
    _modules["pytest"] = pytest
    pytest.hookimpl(tryfirst=True)(_Observer.pytest_runtest_makereport)
    _modules["class"] = type("Tests", (pytest.Module,), {"_getobj": _load_tests})


def _load_tests(module: Any) -> types.ModuleType:
    """Answer pytest's question for the module object of the tests."""
    del module
    loaded: types.ModuleType = _modules["load"]()
    return loaded


class _Observer:
    """The plugin that records. Its methods are pytest hooks."""

    def __init__(self, recorder: Recorder) -> None:
        self._record = recorder.add
        self._worst: dict[str, tuple[str, str, str]] = {}
        self.n_failed = 0

    def pytest_pycollect_makemodule(self, module_path: Any, parent: Any) -> Any:
        """Make the module of the tests from what we compiled, not from the file."""
        return _modules["class"].from_parent(parent, path=module_path)

    def pytest_collection_finish(self, session: Any) -> None:
        """Record which tests were found."""
        self._record("collected", tests=[_name(item.nodeid) for item in session.items])

    def pytest_collectreport(self, report: Any) -> None:
        """Record that the tests could not be imported."""
        if report.failed:
            self.n_failed += 1
            lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
            text = " ".join(line[1:].strip() for line in lines) or report.longreprtext[-MAX_MESSAGE_CHARS:]
            self._record("collect_error", message=text)

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        """Note what a phase raised; after the last phase record the test."""
        test_id = _name(item.nodeid)
        if call.excinfo is not None and test_id not in self._worst:
            kind = call.excinfo.type.__name__
            skipped = kind in {"Skipped", "XFailed", "SkipTest"}
            outcome = "skipped" if skipped or item.get_closest_marker("xfail") else "failed"
            self._worst[test_id] = (outcome, kind, _message(call.excinfo))
        if call.when != "teardown":
            return
        outcome, kind, message = self._worst.pop(test_id, ("passed", "", ""))
        self.n_failed += outcome == "failed"
        self._record("test", id=test_id, outcome=outcome, type=kind or None, message=message or None)


def _name(node_id: str) -> str:
    """Drop the file from a pytest node id."""
    return node_id.partition("::")[2]


def _message(excinfo: Any) -> str:
    try:
        return str(excinfo.value)[:MAX_MESSAGE_CHARS]
    except Exception as error:  # noqa: BLE001 - a hostile __str__ may raise anything
        return f"<unprintable: {type(error).__name__}>"


def _loader(test_code: str, path: str, names: dict[str, Any]) -> Callable[[], types.ModuleType]:
    """Return a function that makes the module of the tests. Compiles now, before a test can interfere."""
    tree = source.parse(test_code, path)
    tree.body = [asserting.rewrite(statement) for statement in tree.body]
    code = compile(tree, path, "exec", dont_inherit=True)

    def load() -> types.ModuleType:
        module = types.ModuleType(TEST_MODULE)
        visible = {name: value for name, value in names.items() if not name.lower().startswith("test")}
        module.__dict__.update(visible, **asserting.NAMES, __file__=path, __builtins__=builtins)
        sys.modules[TEST_MODULE] = module
        exec(code, module.__dict__)  # noqa: S102 - the caller's tests
        return module

    return load


def run(test_code: str, names: dict[str, Any], recorder: Recorder) -> bool:
    """Write the tests beside the workspace and run them; return whether none failed."""
    folder = os.path.join(os.path.dirname(os.getcwd()), "tests")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, TEST_FILE)
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(test_code)
    _modules["load"] = _loader(test_code, path, names)
    observer = _Observer(recorder)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)  # the candidate may have set it
    arguments = ["-q", "--noconftest", "-c", "/dev/null", "--rootdir", folder, "--color=no", "--tb=short", path]
    arguments += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--assert=plain", "--capture=sys"]
    _modules["pytest"].main(arguments, plugins=[observer])
    return observer.n_failed == 0
