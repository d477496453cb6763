"""How tests are found, run and reported."""

import pytest

from tests.sandbox.machine import Runner

ADD = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    ("tests", "n_tests", "trust"),
    [
        ("def test_a():\n    assert add(1, 2) == 3\n", 1, "isolated"),
        ("assert add(1, 2) == 3\nassert add(2, 2) == 4\n", 2, "isolated"),
        ("assert add(1, 2) == 3; assert add(2, 2) == 4\n", 2, "isolated"),
        ("from solution import add\nassert add(1, 2) == 3\n", 1, "isolated"),
        ("import solution\nassert solution.add(1, 2) == 3\n", 1, "isolated"),
        ("from solution import *\nassert add(1, 2) == 3\n", 1, "isolated"),
        ("def check(candidate):\n    assert candidate(1, 2) == 3\n\ncheck(add)\n", 1, "isolated"),
        ("for i in range(3):\n    assert add(i, 1) == i + 1\n", 1, "isolated"),
        ("import pytest\ndef test_a():\n    with pytest.raises(TypeError):\n        add(1, 'x')\n", 1, "isolated"),
        ("import pytest\ndef test_a():\n    assert add(0.1, 0.2) == pytest.approx(0.3)\n", 1, "isolated"),
        ("def test_a():\n    assert add(1, 1) == 2\n\nif __name__ == '__main__':\n    test_a()\n", 1, "isolated"),
        ("def main():\n    assert add(1, 1) == 2\n\nif __name__ == '__main__':\n    main()\n", 1, "isolated"),
        ("def test_a():\n    assert add(1, 1) == 2\ntest_a()\n", 1, "isolated"),
        ("class TestIt:\n    def test_a(self):\n        assert add(1, 2) == 3\n", 1, "in_process"),
        (
            (
                "import unittest\nclass AddCase(unittest.TestCase):\n    def test_a(self):\n"
                "        self.assertEqual(add(1, 2), 3)\nif __name__ == '__main__':\n    unittest.main()\n"
            ),
            1,
            "in_process",
        ),
        (
            "import pytest\n@pytest.fixture\ndef one():\n    return 1\ndef test_a(one):\n    assert add(one, 1) == 2\n",
            1,
            "in_process",
        ),
        (
            (
                "import pytest\n@pytest.mark.parametrize('x,y', [(1, 2), (2, 3), (3, 4)])\n"
                "def test_a(x, y):\n    assert add(x, 1) == y\n"
            ),
            3,
            "in_process",
        ),
        ("async def test_a():\n    assert add(1, 2) == 3\n", 1, "in_process"),
        ("assert add([1], [2]) == [1, 2]\nassert add('a', 'b') == 'ab'\n", 2, "isolated"),
    ],
)
def test_every_form_of_test_is_found_and_run(tests: str, n_tests: int, trust: str, run: Runner) -> None:
    result = run(ADD, tests)
    assert result.success, result
    assert (result.tests_run, result.tests_passed) == (n_tests, n_tests)
    assert result.result_trust == trust
    assert (result.error_type, result.error_message) == (None, None)


@pytest.mark.parametrize(
    "tests",
    [
        "def test_five():\n    assert add(1, 2) == 5\n",
        "class TestIt:\n    def test_five(self):\n        assert add(1, 2) == 5\n",
    ],
)
def test_a_failure_names_the_test_and_shows_the_assertion(tests: str, run: Runner) -> None:
    result = run(ADD, tests)
    assert (result.success, result.verdict, result.error_type) == (False, "WRONG_ANSWER", "AssertionError")
    assert "test_five" in (result.error_message or "")
    assert "add(1, 2) == 5" in (result.error_message or "") or "3 == 5" in (result.error_message or "")
    assert (result.tests_run, result.tests_passed) == (1, 0)


def test_a_failing_assert_shows_both_sides(run: Runner) -> None:
    result = run(ADD, "assert add(1, 2) == 5, 'sums'\n")
    assert result.error_message == "line 1: sums\nassert add(1, 2) == 5: left is 3, right is 5"


def test_one_failure_does_not_hide_the_other_tests(run: Runner) -> None:
    result = run(ADD, "assert add(1, 2) == 5\nassert add(1, 1) == 2\n")
    assert (result.tests_run, result.tests_passed, result.success) == (2, 1, False)


def test_an_exception_in_the_candidate_has_its_own_type(run: Runner) -> None:
    result = run("def add(a, b):\n    return {}[a]\n", "def test_a():\n    assert add(1, 2) == 3\n")
    assert (result.verdict, result.error_type) == ("WRONG_ANSWER", "KeyError")


def test_a_candidate_that_fails_on_import_is_a_runtime_error(run: Runner) -> None:
    result = run("raise ValueError('no')\n", "assert True\n")
    assert (result.verdict, result.error_type, result.success) == ("RUNTIME_ERROR", "ValueError", False)
    assert result.error_message == "no (line 1)"


@pytest.mark.parametrize("tests", ["", "x = 1\n", "print('hi')\n", "def check(f):\n    assert f(1)\n"])
def test_tests_without_a_test_are_no_success(tests: str, run: Runner) -> None:
    result = run(ADD, tests)
    assert (result.success, result.error_type, result.result_trust) == (False, "NoTestsFound", "not_tested")
    assert "no tests were found" in (result.error_message or "")


def test_tests_that_do_not_compile_are_told_from_a_candidate_that_does_not(run: Runner) -> None:
    result = run(ADD, "def test(:\n")
    assert (result.success, result.compile_success, result.error_type) == (False, True, "TestSyntaxError")
    result = run("def add(:\n", "assert add(1, 2) == 3\n")
    assert (result.success, result.compile_success, result.error_type) == (False, False, "SyntaxError")
    assert (result.error_message or "").startswith("Line 1: ")


def test_an_argument_changed_in_place_is_changed_for_the_tests(run: Runner) -> None:
    code = "def sort(x):\n    x.sort()\n"
    tests = "def test_a():\n    x = [3, 1, 2]\n    assert sort(x) is None\n    assert x == [1, 2, 3]\n"
    result = run(code, tests)
    assert (result.success, result.result_trust) == (True, "isolated")


def test_a_value_that_cannot_travel_is_tested_in_one_process_and_says_so(run: Runner) -> None:
    result = run("def add(a, b):\n    return map(int, [a, b])\n", "assert list(add(1, 2)) == [1, 2]\n")
    assert (result.success, result.result_trust) == (True, "in_process")


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("class A:\n    x = 1\n", "assert A().x == 1\n"),
        ("def f():\n    yield 1\n", "assert list(f()) == [1]\n"),
        ("cache = {}\ndef f(x):\n    cache[x] = 1\n", "f(2)\nassert cache == {2: 1}\n"),
        ("def f(x):\n    return x\n", "y = [1]\nassert f(y) is y\n"),
        ("import functools\n@functools.cache\ndef f(x):\n    return x\n", "f(1)\nassert f.cache_info().misses == 1\n"),
        (
            "def f():\n    print('out')\n",
            "def test_a(capsys):\n    f()\n    assert capsys.readouterr().out == 'out\\n'\n",
        ),
    ],
    ids=["class", "generator", "state", "identity", "attribute", "output"],
)
def test_tests_that_need_more_than_calls_run_in_one_process(code: str, tests: str, run: Runner) -> None:
    result = run(code, tests)
    assert (result.success, result.result_trust) == (True, "in_process"), result


def test_a_constant_and_an_import_of_the_candidate_are_there_for_the_tests(run: Runner) -> None:
    result = run("import math\nLIMIT = 5\ndef f(x):\n    return min(x, LIMIT)\n", "assert f(math.inf) == LIMIT\n")
    assert (result.success, result.result_trust) == (True, "isolated")


def test_a_function_named_like_a_builtin_can_be_tested(run: Runner) -> None:
    assert run("def sum(xs):\n    return 42\n", "assert sum([1]) == 42\n").success


def test_a_skip_that_the_tests_ask_for_is_no_failure(run: Runner) -> None:
    tests = "import pytest\n@pytest.mark.skip\ndef test_a():\n    assert 0\ndef test_b():\n    assert add(1, 1) == 2\n"
    result = run(ADD, tests)
    assert (result.success, result.tests_run, result.tests_passed) == (True, 1, 1)
    assert not run(ADD, "import pytest\n@pytest.mark.skip\ndef test_a():\n    assert 0\n").success


def test_a_crash_inside_a_call_is_a_signal(run: Runner) -> None:
    result = run("import ctypes\ndef f():\n    ctypes.string_at(0)\n", "assert f() == 1\n")
    assert (result.verdict, result.error_type, result.success) == ("SIGNALED", "SIGSEGV", False)


def test_output_of_the_candidate_is_kept_beside_its_tests(run: Runner) -> None:
    result = run("def f():\n    print('hello')\n    return 1\n", "assert f() == 1\n")
    assert (result.stdout, result.success) == ("hello\n", True)


def test_memory_taken_by_the_candidate_is_a_limit_in_a_split_run(run: Runner) -> None:
    result = run("def f():\n    x = []\n    while True:\n        x.append(bytearray(16 << 20))\n", "assert f() == 1\n")
    assert (result.success, result.verdict) == (False, "WRONG_ANSWER") or result.verdict == "MEMORY_LIMIT"
