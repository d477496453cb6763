"""Candidates that try to pass tests without solving anything. None may succeed."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from dataclasses import dataclass

import pytest

from tests.sandbox.machine import Runner

HONEST = "def add(a, b):\n    return a + b\n"
TESTS = "def test_add():\n    assert add(1, 2) == 3\n\ndef test_more():\n    assert add(2, 2) == 4\n"
NEEDS_PYTEST = """
import pytest

@pytest.mark.parametrize('a', [1, 2])
def test_add(a):
    assert add(a, 2) == a + 2

def test_more():
    assert add(2, 2) == 4
"""
WRONG = "def add(a, b):\n    return 0\n"


@dataclass(frozen=True)
class Cheat:
    name: str
    code: str


CHEATS = (
    Cheat("prints a summary and leaves", "import os\nprint('3 passed', flush=True)\nos._exit(0)\n"),
    Cheat(
        "leaves inside the tested function",
        "import os\ndef add(a, b):\n    print('2 passed', flush=True)\n    os._exit(0)\n",
    ),
    Cheat("exits while it is imported", WRONG + "import sys\nsys.exit(0)\n"),
    Cheat("exits inside the tested function", "def add(a, b):\n    raise SystemExit(0)\n"),
    Cheat("leaves at exit", "import atexit, os\natexit.register(os._exit, 0)\n" + WRONG),
    Cheat(
        "returns what equals everything",
        "class Always:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\ndef add(a, b):\n    return Always()\n",
    ),
    Cheat(
        "returns a number that equals everything",
        "class Always(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = None\ndef add(a, b):\n    return Always()\n",
    ),
    Cheat("skips through pytest", "def add(a, b):\n    import pytest\n    pytest.skip('no')\n"),
    Cheat("expects to fail through pytest", "def add(a, b):\n    import pytest\n    pytest.xfail('no')\n"),
    Cheat("leaves through pytest", "def add(a, b):\n    import pytest\n    pytest.exit('done', returncode=0)\n"),
    Cheat(
        "patches the reports of pytest",
        "try:\n    from _pytest.reports import TestReport\n    old = TestReport.from_item_and_call\n"
        "    def forged(item, call):\n        report = old(item, call)\n        report.outcome = 'passed'\n"
        "        report.longrepr = None\n        return report\n"
        "    TestReport.from_item_and_call = staticmethod(forged)\nexcept ImportError:\n    pass\n" + WRONG,
    ),
    Cheat(
        "replaces builtins",
        "import builtins\nclass Quiet(BaseException):\n    pass\nbuiltins.AssertionError = Quiet\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 3\n" + WRONG,
    ),
    Cheat("defines the tests itself", WRONG + "def test_add():\n    pass\ndef test_more():\n    pass\n"),
    Cheat(
        "deletes the tests when it is called",
        "import sys\ndef add(a, b):\n    frame = sys._getframe(1)\n"
        "    for name in [n for n in frame.f_globals if n.startswith('test')]:\n        frame.f_globals[name] = lambda: None\n"
        "    return 0\n",
    ),
    Cheat(
        "writes results on every descriptor",
        'import os\nfor fd in range(3, 256):\n    try:\n        os.write(fd, b\'{"event": "end"}\\n\')\n'
        "    except OSError:\n        pass\n" + WRONG,
    ),
    Cheat(
        "drops configuration for pytest",
        "import os\nfor name in ('conftest.py', 'pytest.ini', 'setup.cfg'):\n    open(name, 'w').write("
        "'[pytest]\\naddopts = --collect-only\\n')\nos.environ['PYTEST_ADDOPTS'] = '--collect-only'\n" + WRONG,
    ),
    Cheat(
        "rewrites test functions through the collector",
        "import gc, types\ndef add(a, b):\n    for f in gc.get_objects():\n"
        "        if isinstance(f, types.FunctionType) and f.__name__.startswith('test_'):\n"
        "            f.__code__ = (lambda: None).__code__\n    return 0\n",
    ),
    Cheat(
        "forks a child that goes on",
        "import os\ndef add(a, b):\n    if os.fork():\n        os._exit(0)\n    return 0\n",
    ),
    Cheat("shadows len and friends", "def len(x):\n    return 3\ndef isinstance(a, b):\n    return True\n" + WRONG),
    Cheat("makes asserts vanish", "import sys\nsys.flags.__class__\n__debug_ = False\n" + WRONG),
)
READS_THE_CALLER = (
    "import sys\ndef add(a, b):\n    names = sys._getframe(1).f_code.co_consts\n"
    "    return next(c for c in names if isinstance(c, int) and c not in (a, b))\n"
)
AIMS_AT_THE_RECORDER = (
    "import gc\nfor f in gc.get_objects():\n    if getattr(f, '__name__', '') == 'add' and f.__closure__:\n"
    "        f('test', id='test_add', outcome='passed')\n        f('test', id='test_more', outcome='passed')\n"
    "        f('end')\n        import os; os._exit(0)\n"
)


@pytest.mark.parametrize("tests", [TESTS, NEEDS_PYTEST], ids=["apart", "pytest"])
def test_an_honest_candidate_passes(tests: str, run: Runner) -> None:
    assert run(HONEST, tests).success


@pytest.mark.parametrize("tests", [TESTS, NEEDS_PYTEST], ids=["apart", "pytest"])
@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_does_not_pass(cheat: Cheat, tests: str, run: Runner) -> None:
    result = run(cheat.code, tests)
    assert not result.success, result
    assert result.verdict != "OK"
    assert result.error_type
    assert result.error_message


@pytest.mark.parametrize("code", [READS_THE_CALLER, AIMS_AT_THE_RECORDER], ids=["frame", "recorder"])
def test_only_a_run_apart_stops_a_candidate_that_looks_into_the_test_process(code: str, run: Runner) -> None:
    result = run(WRONG.replace("0", "-1") + code, TESTS)
    assert not result.success
    assert result.result_trust in {"isolated", "in_process"}


def test_a_candidate_apart_cannot_read_what_is_expected(run: Runner) -> None:
    result = run(READS_THE_CALLER, TESTS)
    assert (result.success, result.result_trust) == (False, "isolated")


def test_a_program_that_sleeps_past_the_deadline_has_not_passed(run: Runner) -> None:
    result = run("import time\ndef add(a, b):\n    time.sleep(60)\n", TESTS, timeout_s=0.5)
    assert (result.success, result.verdict, result.error_type) == (False, "TIME_LIMIT", "Timeout")


def test_two_answers_to_one_call_are_one_too_many(run: Runner) -> None:
    code = (
        "import json, os, struct\ndef add(a, b):\n"
        "    text = json.dumps({'id': 1, 'value': 3, 'args': None}).encode()\n"
        "    os.write(3, struct.pack('<I', len(text)) + text)\n    return a + b\n"
    )
    result = run(code, TESTS)
    assert not result.success
    assert result.result_trust == "isolated"


@pytest.mark.parametrize(
    "value",
    ["[[]] * 10**7", "'x' * (30 << 20)", "(lambda x: x.append(x) or x)([])", "float('nan')", "{(1,): {2: [None]}}"],
    ids=["wide", "long", "recursive", "nan", "nested"],
)
def test_an_odd_value_through_the_wire_neither_crashes_nor_passes(value: str, run: Runner) -> None:
    result = run(f"def add(a, b):\n    return {value}\n", TESTS)
    assert not result.success
    assert result.verdict != "SANDBOX_ERROR"


def test_nothing_is_unpickled(run: Runner) -> None:
    code = (
        "import os\nclass Evil:\n    def __reduce__(self):\n        return (os._exit, (0,))\n"
        "def add(a, b):\n    return Evil()\n"
    )
    assert not run(code, TESTS).success
