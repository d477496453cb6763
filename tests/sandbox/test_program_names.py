"""Tests that import the program under a name of their own: it is found, and nothing else is taken for it."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import pytest

from tests.sandbox.machine import Runner

ADD = "def add(a, b):\n    return a + b\n"
APART = {
    "from main": "from main import add\nassert add(1, 2) == 3\n",
    "a placeholder": "from your_module import *\ndef test_a():\n    assert add(1, 2) == 3\n",
    "the function's name": "from add import add\nassert add(1, 2) == 3\n",
    "a module": "import main\nassert main.add(1, 2) == 3\n",
    "a short name": "import main as m\ndef test_a():\n    assert m.add(1, 2) == 3\n",
    "solution by a short name": "import solution as s\nassert s.add(1, 2) == 3\n",
    "in a package": "from src.calculator import add\nassert add(1, 2) == 3\n",
    "relative": "from .main import add\nassert add(1, 2) == 3\n",
    "__main__": "from __main__ import add\nassert add(1, 2) == 3\n",
    "in a test": "def test_a():\n    from main import add\n    assert add(1, 2) == 3\n",
}
BESIDE = {
    "pytest": "import pytest\nfrom main import add\n@pytest.mark.parametrize('n', [1, 2])\ndef test_a(n):\n    assert add(n, 2) == n + 2\n",
    "unittest": "import unittest\nfrom calculator import add\nclass TestAdd(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(add(1, 2), 3)\n",
    "a patch": "from unittest.mock import patch\nimport main\ndef test_a():\n    with patch('main.add', lambda a, b: 7):\n        assert main.add(1, 2) == 7\n    assert main.add(1, 2) == 3\n",
    "by text": "import importlib\nmain = importlib.import_module('main')\nassert main.add(1, 2) == 3\n",
    "a module of a package": "from src import calculator\nassert calculator.add(1, 2) == 3\n",
    "a dotted module": "import app.calculator\nassert app.calculator.add(1, 2) == 3\n",
    "a second try": "try:\n    from solution import add\nexcept ImportError:\n    from main import add\nassert add(1, 2) == 3\n",
}
NOT_THE_PROGRAM = {
    "a reference of the same name": "from main import add\nfrom reference import add as wanted\nassert add(1, 2) == wanted(1, 2)\n",
    "a reference beside the direct name": "import sympy\nassert add(1, 2) == sympy.add(1, 2)\n",
    "a reference beside solution": "import solution\nimport reference\nassert solution.add(1, 2) == reference.add(1, 2)\n",
    "a package that is not there": "import numpy as np\ndef test_a():\n    assert add(1, 2) == np.array(3)\n",
    "two names, one of them unknown": "from main import add\nfrom helpers import other\nassert add(1, 2) == 3\n",
}


@pytest.mark.parametrize(
    ("tests", "trust"),
    [*((tests, "isolated") for tests in APART.values()), *((tests, "in_process") for tests in BESIDE.values())],
    ids=[*APART, *BESIDE],
)
def test_the_program_is_found_under_the_name_that_tests_give_it(run: Runner, tests: str, trust: str) -> None:
    right, wrong = run(ADD, tests), run(ADD.replace("a + b", "0"), tests)
    assert (right.success, right.result_trust) == (True, trust), right
    assert (wrong.verdict, wrong.error_type) == ("WRONG_ANSWER", "AssertionError"), wrong


@pytest.mark.parametrize("tests", NOT_THE_PROGRAM.values(), ids=NOT_THE_PROGRAM)
def test_what_the_program_is_compared_with_is_not_taken_for_it(run: Runner, tests: str) -> None:
    result = run(ADD, tests)
    assert (result.success, result.error_type) == (False, "ImportError"), result


def test_the_standard_library_and_files_of_the_request_are_never_shadowed(run: Runner) -> None:
    own = {"main.py": "def add(a, b):\n    return -1\n"}
    assert run(ADD, "from main import add\nassert add(1, 2) == -1\n", files=own).success
    assert run(
        "def sqrt(x):\n    return -1\n", "from math import sqrt as root\nassert root(4) == 2\nassert sqrt(4) == -1\n"
    ).success
    assert run(ADD, "from main import add\nassert add(1, 2) == 3\n", files={"numbers.txt": "1"}).success


def test_tests_that_want_what_the_program_lacks_are_told_so(run: Runner) -> None:
    result = run(ADD, "from main import subtract\nassert subtract(2, 1) == 1\n")
    assert result.error_type == "ImportError"
    assert "cannot import name 'subtract' from 'solution'" in (result.error_message or "")
