"""Run tests that need fixtures, classes or parametrization under pytest, in the candidate's process.

pytest is given no configuration, no conftest and no plugins but ours, which records what each phase of each test
raised, straight from the call and not from the reports that a candidate may have patched.
"""

import builtins
import importlib
import os
import sys
from typing import Any

from sandbox.inside.records import Recorder

TEST_FILE = "test_solution.py"
MAX_MESSAGE_CHARS = 400
_modules: dict[str, Any] = {}


def warm() -> None:
    """Import pytest and what it imports lazily, once per zygote."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    pytest = importlib.import_module("pytest")
    for name in ("_pytest.assertion.rewrite", "_pytest.assertion.util", "_pytest.terminal", "unittest", "unittest.mock"):
        importlib.import_module(name)
    _modules["pytest"] = pytest
    _Observer.pytest_runtest_makereport = pytest.hookimpl(tryfirst=True)(_Observer.pytest_runtest_makereport)


class _Observer:
    """The plugin that records. Its methods are pytest hooks."""

    def __init__(self, recorder: Recorder) -> None:
        self._record = recorder.add
        self._worst: dict[str, tuple[str, str, str]] = {}
        self.n_failed = 0

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


def run(test_code: str, names: dict[str, Any], recorder: Recorder) -> bool:
    """Write the tests beside the workspace and run them; return whether none failed."""
    folder = os.path.join(os.path.dirname(os.getcwd()), "tests")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, TEST_FILE)
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(test_code)
    for name, value in names.items():
        if not hasattr(builtins, name):
            setattr(builtins, name, value)  # the one place where an unimported name is looked up in any module
    observer = _Observer(recorder)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    arguments = ["-q", "--noconftest", "-c", "/dev/null", "--rootdir", folder, "--color=no", "--tb=short"]
    arguments += ["-p", "no:cacheprovider", "-p", "no:faulthandler", "--import-mode=importlib", "--capture=sys", path]
    _modules["pytest"].main(arguments, plugins=[observer])
    sys.modules.pop("test_solution", None)
    return observer.n_failed == 0
