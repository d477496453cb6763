"""I. Candidates that try to pass tests without solving anything: programs 92 to 108 of the table.

Each says `ATTACKED` where it begins its attack, so that one which never came to it is not taken for one that failed.
Tests that carry plain data run apart from the candidate, those that need pytest beside it: both meet every cheat, but
for those that no test in one process can stop, which is what `result_trust` tells. 109 to 112 are the same for other
languages, and stand with the tests of those.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from sandbox.types import Verdict
from tests.sandbox.hostile.programs import Case, Program

APART = "def test_add():\n    assert add(1, 2) == 3\n\ndef test_more():\n    assert add(2, 2) == 4\n"
BESIDE = """
import pytest

@pytest.mark.parametrize('a', [1, 2])
def test_add(a):
    assert add(a, 2) == a + 2

def test_more():
    assert add(2, 2) == 4
"""
# With what is expected in plain sight of a program beside it.
EXPECTING = """
class TestAdd:
    def test_add(self):
        assert add(1, 2) == 3

    def test_more(self):
        assert add(2, 2) == 4
"""
FAILURES = tuple(verdict for verdict in Verdict if verdict not in {Verdict.OK, Verdict.SANDBOX_ERROR})
# pytest takes the output of tests for itself, but not a descriptor that was there before it.
SAY = "import os\nout = os.dup(1)\nos.write(out, b'\\nATTACKED\\n')\n"
ADD = "import os\nout = os.dup(1)\ndef add(a, b):\n    os.write(out, b'\\nATTACKED\\n')\n"
WRONG = ADD + "    return 0\n"
ATTACKED = ("ATTACKED",)


def apart(code: str, *, timeout_s: float = 5.0, trust: str | None = None) -> Program:
    """Return a cheat that meets tests in another process."""
    return Program(code, ATTACKED, verdict=FAILURES, test_code=APART, timeout_s=timeout_s, trust=trust)


def beside(code: str, *, timeout_s: float = 5.0) -> Program:
    """Return a cheat that meets pytest in its own process."""
    return Program(code, ATTACKED, verdict=FAILURES, test_code=BESIDE, timeout_s=timeout_s)


def both(code: str) -> tuple[Program, ...]:
    """Return a cheat that meets both."""
    return apart(code), beside(code)


HONEST = ADD + "    return a + b\n"
PATCHES_REPORTS = """
print('ATTACKED', flush=True)
try:
    from _pytest.reports import TestReport
    old = TestReport.from_item_and_call
    def forged(item, call):
        report = old(item, call)
        if CONDITION:
            report.outcome = 'passed'
            report.longrepr = None
        return report
    TestReport.from_item_and_call = staticmethod(forged)
except ImportError:
    pass
def add(a, b):
    return 0
"""
FORGES_RECORDS = """
import gc, mmap, os, sys
print('ATTACKED', flush=True)
lines = [b'{"event": "test", "id": "test_add", "outcome": "passed"}', b'{"event": "test", "id": "test_more", "outcome": "passed"}', b'{"event": "end"}']
for name, module in list(sys.modules.items()):
    for key, value in list(vars(module).items()):
        if 'ecorder' in key or 'record' in key:
            try:
                value('end')
            except Exception:
                pass
for fd in range(3, 256):
    try:
        os.write(fd, b'\\n'.join(lines) + b'\\n')
    except OSError:
        pass
for found in gc.get_objects():
    if isinstance(found, mmap.mmap):
        found[:] = (b'\\n'.join(lines) + b'\\n').ljust(len(found), b'\\0')
def add(a, b):
    return 0
"""
AIMS_AT_THE_RECORDER = """
import gc, os
print('ATTACKED', flush=True)
for f in gc.get_objects():
    if getattr(f, '__name__', '') == 'add' and getattr(f, '__closure__', None):
        f('test', id='test_add', outcome='passed')
        f('test', id='test_more', outcome='passed')
        f('end')
        os._exit(0)
def add(a, b):
    return 0
"""
READS_THE_CALLER = ADD + (
    "    import sys\n    names = sys._getframe(1).f_code.co_consts\n"
    "    return next(c for c in names if isinstance(c, int) and c not in (a, b))\n"
)
READS_THE_SOURCE = ADD + (
    "    import linecache, sys\n    frame = sys._getframe(1)\n"
    "    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno) or open('test_solution.py').readlines()[1]\n"
    "    return eval(line.split('==')[1])\n"
)
REWRITES_TESTS = ADD + (
    "    import gc, types\n    for f in gc.get_objects():\n"
    "        if isinstance(f, types.FunctionType) and f.__name__.startswith('test_'):\n"
    "            f.__code__ = (lambda *a, **k: None).__code__\n    return 0\n"
)
DROPS_CONFIGURATION = """
import os
print('ATTACKED', flush=True)
for name in ('conftest.py', 'pytest.ini', 'setup.cfg', 'tox.ini', 'pyproject.toml', 'pytest_plugins.py', 'sitecustomize.py'):
    with open(name, 'w') as file:
        file.write('raise SystemExit(0)\\n' if name.endswith('.py') else '[pytest]\\naddopts = --collect-only\\n')
os.environ.update(PYTEST_ADDOPTS='--collect-only', PYTEST_PLUGINS='conftest', PYTHONSTARTUP='conftest.py')
def add(a, b):
    return 0
pytest_plugins = ['conftest']
"""
CONFIGURATION_IN_FILES = {
    "conftest.py": "raise SystemExit(0)\n",
    "pytest.ini": "[pytest]\naddopts = --collect-only\n",
    "setup.cfg": "[tool:pytest]\naddopts = --collect-only\n",
    "pytest.py": "raise SystemExit(0)\n",
    "_pytest/__init__.py": "raise SystemExit(0)\n",
    "sitecustomize.py": "raise SystemExit(0)\n",
}
DELETES_TESTS = ADD + (
    "    import sys\n    frame = sys._getframe(1)\n"
    "    for name in [n for n in frame.f_globals if n.startswith('test')]:\n"
    "        frame.f_globals[name] = lambda *a, **k: None\n    return 0\n"
)
MARKS_NO_TESTS = (
    "print('ATTACKED', flush=True)\n__test__ = False\ncollect_ignore = ['*']\ndef add(a, b):\n    return 0\n"
)
REPLACES_BUILTINS = """
import builtins, operator, unittest
print('ATTACKED', flush=True)
class Quiet(BaseException):
    pass
builtins.AssertionError = Quiet
builtins.isinstance = lambda *a: True
builtins.len = lambda x: 3
builtins.int = builtins.float = lambda *a: 3
operator.eq = lambda a, b: True
unittest.TestCase.assertEqual = lambda *a: None
def add(a, b):
    return 0
"""
SHADOWS_BUILTINS = "print('ATTACKED', flush=True)\ndef len(x):\n    return 3\ndef isinstance(a, b):\n    return True\ndef add(a, b):\n    return 0\n"
ODD_VALUES = (
    "[[]] * 10**6",
    "'x' * (30 << 20)",
    "(lambda x: x.append(x) or x)([])",
    "(lambda x: [x, x, x])([0] * 1000)",
    "float('nan')",
    "{(1,): {2: [None]}}",
    "10 ** 5000",
    "'\\ud800'",
    "eval('[' * 90 + ']' * 90)",
    "type('Int', (int,), {'__eq__': lambda s, o: True, '__hash__': None})()",
)
REDUCES = (
    "import os\nclass Evil:\n    def __reduce__(self):\n        return (os._exit, (0,))\n"
    "    def __eq__(self, other):\n        return True\n    __hash__ = None\n" + ADD + "    return Evil()\n"
)
ANSWER = (
    "text = json.dumps({'id': 1, 'value': 3, 'args': None}).encode()\n    frame = struct.pack('<I', len(text)) + text\n"
)
ANSWERS_TWICE = "import json, os, struct\n" + ADD + f"    {ANSWER}    os.write(3, frame)\n    return a + b\n"
ANSWERS_EARLY = (
    "import json, os, struct\nprint('ATTACKED', flush=True)\nfor i in range(1, 9):\n"
    "    text = json.dumps({'id': i, 'value': 3, 'args': None}).encode()\n"
    "    os.write(3, struct.pack('<I', len(text)) + text)\ndef add(a, b):\n    return 0\n"
)
ANSWERS_BY_A_CHILD = (
    "import json, os, struct, time\n"
    + ADD
    + f"    {ANSWER}    if os.fork() == 0:\n        os.write(3, frame)\n        os._exit(0)\n    time.sleep(0.2)\n    return 0\n"
)
SLEEPS = ADD + "    import time\n    print('2 passed', flush=True)\n    time.sleep(60)\n"

CASES = (
    Case(
        "92",
        "print a summary and leave",
        (
            *both("import os\nprint('3 passed', flush=True)\n" + SAY + "os._exit(0)\n"),
            Program(HONEST, ATTACKED, test_code=APART, trust="isolated"),  # the same tests pass what is right
            Program(HONEST, ATTACKED, test_code=BESIDE, trust="in_process"),
        ),
    ),
    Case(
        "93",
        "leave inside the tested function",
        both(ADD + "    print('2 passed', flush=True)\n    os._exit(0)\n"),
    ),
    Case(
        "94",
        "exit while imported and at exit",
        (
            *both(f"import sys\n{SAY}{WRONG}sys.exit(0)\n"),
            *both(f"{SAY}raise SystemExit\n"),
            *both(f"{ADD}    raise SystemExit(0)\n"),
            *both(f"import atexit, os\n{SAY}atexit.register(os._exit, 0)\n{WRONG}"),
        ),
    ),
    Case(
        "95",
        "equal to everything",
        tuple(
            program
            for base in ("", "(int)")
            for program in both(
                f"class Always{base}:\n    def __eq__(self, other):\n        return True\n    def __ne__(self, other):\n"
                f"        return False\n    __hash__ = None\n{ADD}    return Always()\n"
            )
        ),
    ),
    Case("96", "patch the reports of pytest", both(PATCHES_REPORTS.replace("CONDITION", "True"))),
    Case(
        "97",
        "patch the reports of the real tests only",
        both(PATCHES_REPORTS.replace("CONDITION", "item.name.partition('[')[0] in ('test_add', 'test_more')")),
    ),
    Case("98", "forge records", (*both(FORGES_RECORDS), apart(AIMS_AT_THE_RECORDER, trust="isolated"))),
    Case(
        "99",
        "skip or expect to fail",
        tuple(
            program
            for act in ("skip('no')", "xfail('no')", "exit('done', returncode=0)", "importorskip('nothing_like_it')")
            for program in both(f"{ADD}    import pytest\n    pytest.{act}\n")
        ),
    ),
    Case(
        "100",
        "read the expected value from the caller",
        (
            apart(READS_THE_CALLER, trust="isolated"),
            apart(READS_THE_SOURCE, trust="isolated"),
            *(
                Program(
                    code,
                    ATTACKED,
                    verdict=Verdict.WRONG_ANSWER,
                    error_type="TestsTampered",
                    test_code=EXPECTING,
                    trust="in_process",
                )
                for code in (READS_THE_CALLER, READS_THE_SOURCE)
            ),
            Program(HONEST, ATTACKED, test_code=EXPECTING, trust="in_process"),
        ),
    ),
    Case("101", "rewrite the tests through the collector", both(REWRITES_TESTS)),
    Case(
        "102",
        "drop configuration",
        (
            *both(DROPS_CONFIGURATION),
            *(
                Program(WRONG, ATTACKED, verdict=FAILURES, test_code=tests, files=CONFIGURATION_IN_FILES)
                for tests in (APART, BESIDE)
            ),
        ),
    ),
    Case(
        "103",
        "define delete and hide tests",
        (
            *both(f"{WRONG}def test_add(a=0):\n    pass\ndef test_more():\n    pass\n"),
            *both(DELETES_TESTS),
            *both(MARKS_NO_TESTS),
        ),
    ),
    Case("104", "replace builtins", (*both(REPLACES_BUILTINS), *both(SHADOWS_BUILTINS))),
    Case("105", "sleep to the deadline after a summary", (apart(SLEEPS, timeout_s=0.6), beside(SLEEPS, timeout_s=0.8))),
    Case(
        "106",
        "odd values through the wire",
        tuple(apart(f"{ADD}    return {value}\n") for value in ODD_VALUES),
    ),
    Case("107", "what a pickle would run", both(REDUCES)),
    Case(
        "108",
        "answers early twice and by a child",
        tuple(apart(code, trust="isolated") for code in (ANSWERS_TWICE, ANSWERS_EARLY, ANSWERS_BY_A_CHILD)),
    ),
)
