"""Who skipped a test decides what it means: the tests may, the program may not, and a skip is never a pass."""

# ruff: noqa: E501 - a text of tests inside a string keeps its statements together

import pytest

from tests.sandbox.machine import Runner

ONE = "def f():\n    return 1\n"
CASE = "import unittest\nclass T(unittest.TestCase):\n"
PASSES = "def test_y():\n    assert f() == 1\n"

SKIPS = {
    "function": "import pytest\ndef test_x():\n    pytest.skip('no')\n",
    "function, imported": "from pytest import skip\ndef test_x():\n    skip('no')\n",
    "SkipTest": "import unittest\ndef test_x():\n    raise unittest.SkipTest('no')\n",
    "xfail": "import pytest\ndef test_x():\n    pytest.xfail('no')\n",
    "importorskip": "import pytest\ndef test_x():\n    pytest.importorskip('no_such_module')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef one():\n    pytest.skip('no')\ndef test_x(one):\n    pass\n",
    "skipTest": CASE + "    def test_x(self):\n        self.skipTest('no')\n",
    "raise in a case": CASE + "    def test_x(self):\n        raise unittest.SkipTest('no')\n",
    "skip in a case": "import pytest\n" + CASE + "    def test_x(self):\n        pytest.skip('no')\n",
    "setUp": CASE + "    def setUp(self):\n        self.skipTest('no')\n    def test_x(self):\n        pass\n",
    "skipped case": CASE.replace("class", "@unittest.skip('no')\nclass") + "    def test_x(self):\n        pass\n",
    "after an error of the program": (
        "import pytest\ndef test_x():\n    try:\n        f(1)\n    except TypeError:\n        pytest.skip('no')\n"
    ),
}


@pytest.mark.parametrize("style", SKIPS)
def test_a_skip_by_the_tests_is_neither_a_pass_nor_a_failure(style: str, run: Runner) -> None:
    result = run(ONE, SKIPS[style] + PASSES)
    assert (result.success, result.tests_run, result.tests_passed) == (True, 1, 1), result


@pytest.mark.parametrize("style", SKIPS)
def test_when_every_test_is_skipped_nothing_was_checked(style: str, run: Runner) -> None:
    result = run(ONE, SKIPS[style])
    assert (result.success, result.verdict, result.error_type) == (False, "WRONG_ANSWER", "NoTestsRun"), result
    assert (result.tests_run, result.tests_passed) == (0, 0)
    assert "skipped" in (result.error_message or "")


@pytest.mark.parametrize(
    "tests",
    [
        "import pytest\npytest.skip('no', allow_module_level=True)\n" + PASSES,
        "import pytest\npytest.importorskip('no_such_module')\n@pytest.fixture\ndef one():\n    pass\n" + PASSES,
        "import pytest\npytestmark = pytest.mark.skip('no')\n@pytest.fixture\ndef one():\n    pass\n" + PASSES,
    ],
    ids=["plain", "under pytest", "mark"],
)
def test_tests_that_skip_themselves_as_a_whole_checked_nothing(tests: str, run: Runner) -> None:
    result = run(ONE, tests)
    assert (result.success, result.verdict, result.error_type) == (False, "WRONG_ANSWER", "NoTestsRun"), result


@pytest.mark.parametrize(
    "code",
    [
        "import pytest\ndef f():\n    pytest.skip('no')\n",
        "import unittest\ndef f():\n    raise unittest.SkipTest('no')\n",
        "import pytest\ndef f():\n    pytest.xfail('no')\n",
        "import pytest\nf = lambda: pytest.skip('no')\n",
    ],
)
@pytest.mark.parametrize(
    "tests",
    [
        "def test_x():\n    assert f.__name__ and f() == 1\ndef test_y():\n    pass\n",
        CASE + "    def test_x(self):\n        self.assertEqual(f(), 1)\n    def test_y(self):\n        pass\n",
        "import pytest\n@pytest.mark.skipif(False, reason='')\ndef test_x():\n    assert f() == 1\ndef test_y():\n    pass\n",
    ],
    ids=["beside", "case", "excused"],
)
def test_a_skip_by_the_program_is_not_passed(code: str, tests: str, run: Runner) -> None:
    result = run(code, tests)
    assert not result.success
    assert (result.verdict, result.tests_passed) == ("WRONG_ANSWER", 1), result
    assert result.error_type != "TestsTampered"
