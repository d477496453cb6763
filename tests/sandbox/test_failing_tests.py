"""A test that fails, or that checks nothing, is never a pass, in whatever style it is written."""

# ruff: noqa: E501 - a text of tests inside a string keeps its statements together

import pytest

from tests.sandbox.machine import Runner

ONE = "def f():\n    return 1\n"
CASE = "import unittest\nclass T(unittest.TestCase):\n"
ISOLATED_CASE = "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n"
FIXTURE = "import pytest\n@pytest.fixture\ndef one():\n    return 1\n"

FAILING = {
    "assertEqual": (CASE + "    def test_x(self):\n        self.assertEqual(f(), 2)\n", "AssertionError"),
    "assert in a method": (CASE + "    def test_x(self):\n        assert f() == 2\n", "AssertionError"),
    "raise in a method": (CASE + "    def test_x(self):\n        raise RuntimeError('no')\n", "RuntimeError"),
    "setUp": (
        CASE + "    def setUp(self):\n        raise ValueError('no')\n    def test_x(self):\n        pass\n",
        "ValueError",
    ),
    "tearDown": (
        CASE + "    def tearDown(self):\n        raise ValueError('no')\n    def test_x(self):\n        pass\n",
        "ValueError",
    ),
    "setUpClass": (
        CASE
        + "    @classmethod\n    def setUpClass(cls):\n        raise KeyError('no')\n    def test_x(self):\n        pass\n",
        "KeyError",
    ),
    "doCleanups": (
        CASE + "    def test_x(self):\n        self.addCleanup(lambda: 1 / 0)\n",
        "ZeroDivisionError",
    ),
    "subTest": (
        CASE
        + "    def test_x(self):\n        for n in (1, 2):\n            with self.subTest(n=n):\n"
        + "                self.assertEqual(f(), n)\n",
        "AssertionError",
    ),
    "subtests": (
        "def test_x(subtests):\n    for n in (2, 1):\n        with subtests.test(n=n):\n            assert f() == n\n",
        "AssertionError",
    ),
    "unexpected success": (CASE + "    @unittest.expectedFailure\n    def test_x(self):\n        f()\n", "Failed"),
    "skip, then tearDown": (
        CASE + "    def tearDown(self):\n        assert f() == 2\n    def test_x(self):\n        self.skipTest('no')\n",
        "AssertionError",
    ),
    "derived case": (
        CASE
        + "    pass\nclass U(T):\n    def test_x(self):\n        self.assertEqual(f(), 2)\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "inherited tests": (
        "class Base:\n    def test_x(self):\n        assert f() == 2\nclass TestIt(Base):\n    pass\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "case by another name": (
        "from unittest import TestCase as TC\nclass U(TC):\n    def test_x(self):\n        self.assertEqual(f(), 2)\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "runTest": (
        CASE + "    def runTest(self):\n        self.assertEqual(f(), 2)\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "nested class": (
        "class TestIt:\n    class TestIn:\n        def test_x(self):\n            assert f() == 2\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "class in a block": (
        "import unittest\nif True:\n    class T(unittest.TestCase):\n        def test_x(self):\n            self.assertEqual(f(), 2)\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "function in a block": (
        "try:\n    import json\nexcept ImportError:\n    pass\nelse:\n    def test_x():\n        assert f() == 2\ndef test_y():\n    pass\n",
        "AssertionError",
    ),
    "async setUp of a plain case": (
        CASE + "    async def setUp(self):\n        1 / 0\n    def test_x(self):\n        self.assertEqual(f(), 1)\n",
        "TestChecksNothing",
    ),
    "lambda": ("test_x = lambda: f() == 2\ndef test_y():\n    pass\n", "TestChecksNothing"),
    "plain class": ("class TestIt:\n    def test_x(self):\n        assert f() == 2\n", "AssertionError"),
    "setup_method": (
        "class TestIt:\n    def setup_method(self):\n        1 / 0\n    def test_x(self):\n        pass\n",
        "ZeroDivisionError",
    ),
    "fixture": (
        "import pytest\n@pytest.fixture\ndef one():\n    1 / 0\ndef test_x(one):\n    pass\n",
        "ZeroDivisionError",
    ),
    "fixture's end": (
        "import pytest\n@pytest.fixture\ndef one():\n    yield 1\n    1 / 0\ndef test_x(one):\n    pass\n",
        "ZeroDivisionError",
    ),
    "unknown fixture": ("def test_x(nothing):\n    pass\n", "FixtureLookupError"),
    "parametrize": (
        "import pytest\n@pytest.mark.parametrize('n', [1, 2])\ndef test_x(n):\n    assert f() == n\n",
        "AssertionError",
    ),
    "strict xfail": ("import pytest\n@pytest.mark.xfail(strict=True)\ndef test_x():\n    f()\n", "TestFailed"),
    "xfail of another kind": (
        "import pytest\n@pytest.mark.xfail(raises=KeyError)\ndef test_x():\n    assert f() == 2\n",
        "AssertionError",
    ),
    "async function": ("async def test_x():\n    assert f() == 2\n", "AssertionError"),
    "async function with a fixture": (FIXTURE + "async def test_x(one):\n    assert f() == 2\n", "AssertionError"),
    "async method": ("class TestIt:\n    async def test_x(self):\n        assert f() == 2\n", "AssertionError"),
    "async case": (ISOLATED_CASE + "    async def test_x(self):\n        self.assertEqual(f(), 2)\n", "AssertionError"),
    "keyboard interrupt": (FIXTURE + "def test_x(one):\n    raise KeyboardInterrupt\n", "TestRunFailed"),
}

CHECKING_NOTHING = {
    "generator": "def test_x():\n    yield f() == 2\n",
    "generator with a fixture": FIXTURE + "def test_x(one):\n    assert f() == 2\n    yield\n",
    "generator method": "class TestIt:\n    def test_x(self):\n        yield f()\n",
    "generator of a case": CASE + "    def test_x(self):\n        yield f()\n",
    "async generator": "async def test_x():\n    yield f()\n",
    "pair": "def test_x():\n    assert (f() == 2, 'of test_x')\n",
    "pair with a fixture": FIXTURE + "def test_x(one):\n    assert (f() == 2, 'of test_x')\n",
    "returned": "def test_x():\n    return f() == 2\n",
    "returned true": "def test_x():\n    return f() == 1\n",
    "returned with a fixture": FIXTURE + "def test_x(one):\n    return f() == one\n",
    "returned by a method": "class TestIt:\n    def test_x(self):\n        return f() == 2\n",
    "returned by a case": CASE + "    def test_x(self):\n        return f() == 2\n",
    "returned by an async test": "async def test_x():\n    return f() == 2\n",
    "returned where an error is expected": (
        "import pytest\ndef test_x():\n    with pytest.raises(Exception):\n        return f()\n"
    ),
    "returned false after an assert": "def test_x():\n    assert f()\n    return f() == 2\n",
    "async method of a plain case": CASE + "    async def test_x(self):\n        self.assertEqual(f(), 2)\n",
}


@pytest.mark.parametrize("style", FAILING)
def test_a_failing_test_of_any_style_is_reported_as_failed(style: str, run: Runner) -> None:
    tests, kind = FAILING[style]
    result = run(ONE, tests)
    assert (result.success, result.verdict, result.error_type) == (False, "WRONG_ANSWER", kind), result
    assert result.tests_passed < max(1, result.tests_run)


@pytest.mark.parametrize("method", ["unittest.TestCase.assertEqual", "u.TestCaseFunction.addFailure"])
def test_a_program_that_disarms_unittest_when_it_is_loaded_has_not_passed(method: str, run: Runner) -> None:
    code = f"import unittest, _pytest.unittest as u\n{method} = lambda *a: None\n" + ONE
    assert not run(code, FAILING["assertEqual"][0]).success


@pytest.mark.parametrize("style", CHECKING_NOTHING)
def test_a_test_that_checks_nothing_is_no_pass_and_says_why(style: str, run: Runner) -> None:
    result = run(ONE, CHECKING_NOTHING[style])
    assert (result.success, result.verdict, result.error_type) == (False, "WRONG_ANSWER", "TestChecksNothing"), result
    assert (result.tests_run, result.tests_passed) == (1, 0)
    assert "test_x" in (result.error_message or "")


@pytest.mark.parametrize(
    "tests",
    [
        CASE + "    def test_x(self):\n        return self.assertEqual(f(), 1)\n",
        "def test_x():\n    if f() == 1:\n        return\n    assert False\n",
        "def test_x():\n    def g():\n        yield f()\n    assert list(g()) == [1]\n",
        "import pytest\n@pytest.fixture\ndef test_value():\n    yield 1\ndef test_x(test_value):\n    assert f() == 1\n",
        "class Double:\n    def test_it(self):\n        return 1\nclass TestX:\n    def test_x(self):\n        assert f() == 1\n",
        FIXTURE + "@pytest.mark.asyncio\nasync def test_x(one):\n    assert f() == one\n",
        ISOLATED_CASE + "    async def test_x(self):\n        self.assertEqual(f(), 1)\n",
        CASE
        + "    def test_x(self):\n        for n in (1, 2):\n            with self.subTest(n=n):\n                self.assertEqual(f(), 1)\n",
        "import pytest\n@pytest.mark.xfail\ndef test_x():\n    assert f() == 2\ndef test_y():\n    assert f() == 1\n",
        "def test_x():\n    assert f() == 1\n    return True\n",
        "def check(g):\n    assert g() == 1\n    return True\ncheck(f)\n",
        "class Base:\n    def test_x(self):\n        assert f() == 1\nclass TestIt(Base):\n    pass\n",
        "class TestX:\n    def test_x(self):\n        def test_it():\n            return f()\n        assert test_it() == 1\n",
    ],
    ids=[
        "none returned",
        "bare return",
        "inner generator",
        "fixture",
        "double",
        "asyncio",
        "async case",
        "subTest",
        "xfail",
        "true after asserts",
        "checker",
        "inherited",
        "inner function",
    ],
)
def test_what_only_looks_like_a_test_that_checks_nothing_passes(tests: str, run: Runner) -> None:
    result = run(ONE, tests)
    assert result.success, result
    assert (result.tests_run, result.tests_passed) == (1, 1)


def test_a_checker_that_returns_false_has_not_passed(run: Runner) -> None:
    result = run(ONE, "def check(g):\n    return g() == 2\ncheck(f)\n")
    assert (result.success, result.error_type, result.tests_passed) == (False, "TestChecksNothing", 0)
    assert "check returned False" in (result.error_message or "")
