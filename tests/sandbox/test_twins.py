"""Tests beside their program run again with random expected values: who gives those has read them, and nobody else."""

import ast

import pytest

from sandbox.inside import twins
from sandbox.runner import Sandbox
from tests.sandbox.honest_programs import HONEST, NO_TWIN
from tests.sandbox.machine import Runner, settings_with
from tests.sandbox.reading_programs import READERS


def drawn(tests: str, code: str = "") -> tuple[str, list[str]] | None:
    return twins.draw(ast.parse(tests), ast.parse(code))


@pytest.mark.parametrize("name", READERS)
def test_a_program_that_reads_what_its_tests_expect_does_not_pass(name: str, run: Runner) -> None:
    result = run(*READERS[name])
    found = (result.verdict, result.error_type, result.result_trust)
    assert found == ("WRONG_ANSWER", "TestsTampered", "in_process"), result
    assert "reads what its tests expect" in (result.error_message or "")


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_passes_as_before(name: str, run: Runner) -> None:
    code, tests = HONEST[name]
    result = run(code, tests)
    assert (result.verdict, result.error_message, result.result_trust) == ("OK", None, "in_process")
    assert (drawn(tests) is None) == (name in NO_TWIN)


def test_tests_without_an_expected_literal_have_no_twin() -> None:
    text = "x = 3\ny = x\nassert f(y) == x\nassert f(2) > 1\nassert f(1) is not x\nassert f(0) == []\n"
    assert drawn(text) is None


def test_only_what_is_expected_is_replaced() -> None:
    twin = drawn("assert f(3, 'a') == {'b': 3}, 3\nx = 3\ng(3)\nassert 1 < h(x)\n")
    assert twin is not None
    text, (key, value) = twin
    assert text == f"assert f(3, 'a') == {{'{key}': {value}}}, 3\nx = 3\ng(3)\nassert 1 < h(x)"


@pytest.mark.parametrize("value", ["7", "2.25", "'ab'", "'AB'", "b'ab'", "[-7, 'a']", "{1: {2.5}}"])
def test_a_random_value_has_the_type_of_what_it_replaces(value: str) -> None:
    twin = drawn(f"assert f() == {value}")
    assert twin is not None
    was, now = ast.literal_eval(value), ast.literal_eval(twin[0].partition("==")[2].strip())
    assert type(now) is type(was)
    assert now != was
    if isinstance(was, str):
        assert now.isupper() == was.isupper()
    if isinstance(was, float):
        assert round(now, 2) == now


def test_a_set_that_the_program_makes_is_not_handed_random_values() -> None:
    tests = "assert f() == set([3])"
    assert drawn(tests) is not None
    assert drawn(tests, "def set(x):\n    return x\n") is None
    assert drawn(tests, "from sets import set\n") is None


def test_the_twin_can_be_switched_off(shared: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    code, tests = READERS["a number"]
    sandbox = Sandbox(settings_with(tmp_path_factory.mktemp("home"), twin_timeout_s=0))
    try:
        assert Runner(sandbox)(code, tests).verdict == "OK"
    finally:
        sandbox.close()
    assert Runner(shared)(code, tests).error_type == "TestsTampered"


def test_a_twin_that_does_not_end_says_nothing(shared: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> None:
    del shared  # only skips where nothing isolates
    code = "import time\nclass A:\n    def wait(self, x):\n        time.sleep(0.4)\n        return x\n"
    sandbox = Sandbox(settings_with(tmp_path_factory.mktemp("home"), twin_timeout_s=0.2))
    try:
        result = Runner(sandbox)(code, "assert A().wait(3) == 3\n")
    finally:
        sandbox.close()
    assert (result.verdict, result.result_trust) == ("OK", "in_process")
