"""Checks that fail where nobody looks: in threads, tasks, subshells, or swallowed by what stands around them."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.types import ExecutionResult
from tests.sandbox.machine import Runner
from tests.sandbox.tested_programs import ADD
from tests.sandbox.unheard_checks import HONEST, LOST, NEVER_HEARD

PROGRAMS = {**ADD, "python": "def add(a, b):\n    return a + b\n"}
WRONG = {name: code.replace("a + b", "0").replace("$(($1 + $2))", "0") for name, code in PROGRAMS.items()}
CRASHING = "def add(a, b):\n    raise TypeError('no')\n"
NOTED = {
    "a handler": "def test_a():\n    try:\n        assert add(1, 2) == 3\n    except Exception as e:\n        print(e)\n",
    "suppress": "from contextlib import suppress\ndef test_a():\n    with suppress(Exception):\n        assert add(1, 2) == 3\n",
    "a thread": "import threading\ndef check():\n    assert add(1, 2) == 3\ndef test_a():\n"
    "    one = threading.Thread(target=check)\n    one.start()\n    one.join()\n",
    "a task": "import asyncio\nasync def check():\n    assert add(1, 2) == 3\nasync def test_a():\n"
    "    asyncio.create_task(check())\n    await asyncio.sleep(0.01)\n",
}
SWALLOWS = "class Runs:\n    failed = 0\n    def run(self, f):\n        try:\n            f()\n        except AssertionError:\n            self.failed += 1\n"


def _run(run: Runner, language: str, code: str, tests: str) -> ExecutionResult:
    try:
        return run(code, tests, language=language)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("style", [*LOST.values(), *HONEST.values()], ids=[*LOST, *HONEST])
def test_a_check_is_heard_wherever_it_fails(run: Runner, style: tuple[str, str]) -> None:
    language, tests = style
    right, wrong = (_run(run, language, code[language], tests) for code in (PROGRAMS, WRONG))
    assert (right.verdict, right.tests_passed) == ("OK", right.tests_run), right
    assert (wrong.verdict, wrong.success) == ("WRONG_ANSWER", False), wrong
    assert wrong.error_type != "TestsTampered"


@pytest.mark.parametrize("style", NEVER_HEARD.values(), ids=NEVER_HEARD)
def test_a_check_that_nobody_would_hear_is_refused(run: Runner, style: tuple[str, str]) -> None:
    language, tests = style
    for programs in (PROGRAMS, WRONG):
        result = _run(run, language, programs[language], tests)
        assert (result.success, result.error_type) == (False, "TestChecksNothing"), result


@pytest.mark.parametrize("tests", NOTED.values(), ids=NOTED)
def test_a_program_that_crashes_in_a_check_has_not_passed_it(run: Runner, tests: str) -> None:
    assert run(PROGRAMS["python"], tests).success
    result = run(CRASHING, tests)
    assert (result.verdict, result.error_type) == ("WRONG_ANSWER", "TypeError"), result


def test_a_failure_that_the_program_is_meant_to_catch_is_its_own_business(run: Runner) -> None:
    tests = "def test_a():\n    def bad():\n        assert False\n    r = Runs()\n    r.run(bad)\n    assert r.failed == 1\n"
    assert run(SWALLOWS, tests).success
    assert run(SWALLOWS.replace("+= 1", "+= 2"), tests).error_type == "AssertionError"
