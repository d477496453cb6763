"""Tests as people and models write them: each is heard, passes a right program and fails a wrong one."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.types import ExecutionResult
from tests.sandbox.machine import Runner
from tests.sandbox.tested_programs import ADD

WRONG = {name: code.replace("a + b", "0").replace("$(($1 + $2))", "0") for name, code in ADD.items()}
ADD_PY = "def add(a, b):\n    return a + b\n"
HELPER = "function same(a, b) { if (a !== b) throw new Error(`${a} is not ${b}`); }\n"
COUNTS = "let failed = 0;\nfunction check(holds) { if (!holds) failed++; }\ncheck(add(1, 2) === 3);\n"
RUNS = "function test(name, fn) { try { fn(); } catch (e) { console.log('FAIL', name, e.message); } }\n"
JAVASCRIPT = {
    "a helper": HELPER + "same(add(1, 2), 3);\n",
    "an if": "if (add(1, 2) !== 3) {\n  throw new Error('bad');\n}\n",
    "a status": COUNTS + "process.exit(failed ? 1 : 0);\n",
    "a later status": COUNTS + "if (failed) process.exitCode = 1;\n",
    "a runner": RUNS + "test('adds', () => { if (add(1, 2) !== 3) throw new Error('x'); });\n",
    "a comma": "assert(add(1, 2) === 3), assert(add(2, 2) === 4);\n",
    "a catch that prints": "try { assert.equal(add(1, 2), 3); } catch (e) { console.log('FAIL'); }\n",
    "parameters": "function testAdd(a, b, c) { if (add(a, b) !== c) throw new Error('x'); }\ntestAdd(1, 2, 3);\n",
    "chai": "const { expect } = require('chai');\nit('adds', () => {\n  expect(add(1, 2)).to.be.a('number').and.equal(3);\n"
    "  expect([add(1, 2)]).to.deep.equal([3]);\n  expect(add(1, 2) === 3).to.be.true;\n"
    "  expect(() => { throw new TypeError('no'); }).to.throw(TypeError, 'no');\n});\n",
    "chai's assert": "const { assert } = require('chai');\nassert.isTrue(add(1, 2) === 3);\n",
    "jest.fn": "test('calls', () => {\n  const f = jest.fn((n) => add(n, 1));\n  expect([1, 2].map((n) => f(n))).toEqual([2, 3]);\n"
    "  expect(f).toHaveBeenCalledTimes(2);\n});\n",
    "patterns": "test('any', () => { expect({ n: [add(1, 2)] }).toMatchObject({ n: expect.arrayContaining([3]) }); });\n",
    "a table": "test.each`\n  a | b | sum\n  ${1} | ${2} | ${3}\n`('adds', ({ a, b, sum }) => { expect(add(a, b)).toBe(sum); });\n",
    "groups of a table": "describe.each([[1, 2, 3]])('add', (a, b, c) => { it('adds', () => { expect(add(a, b)).toBe(c); }); });\n",
}
PYTHON = {
    "an if": "if add(1, 2) != 3:\n    raise ValueError('bad')\n",
    "a status": "import sys\nfails = 0\nif add(1, 2) != 3:\n    fails += 1\nsys.exit(1 if fails else 0)\n",
    "a count": "fails = 0\ndef check(a, b):\n    global fails\n    fails += a != b\ncheck(add(1, 2), 3)\nexit(fails)\n",
    "unittest.main": "import unittest\nclass Adds(unittest.TestCase):\n    def test_a(self):\n"
    "        self.assertEqual(add(1, 2), 3)\nunittest.main()\n",
    "if True": "if True:\n    def test_a():\n        assert add(1, 2) == 3\n",
    "a guard": "def test_a():\n    assert add\nif __name__ == '__main__':\n    test_a()\n    assert add(1, 2) == 3\n",
    "a list": "def one():\n    assert add(1, 2) == 3\nfor check in [one]:\n    check()\n",
    "a method": "class Checks:\n    def run(self):\n        assert add(1, 2) == 3\nChecks().run()\n",
    "parameters": "def test_add(a, b, c):\n    assert add(a, b) == c\ntest_add(1, 2, 3)\n",
    "a handler that prints": "def test_a():\n    try:\n        assert add(1, 2) == 3\n    except AssertionError:\n        print('FAIL')\n",
    "a thread": "import threading\ndef work():\n    assert add(1, 2) == 3\ndef test_a():\n"
    "    one = threading.Thread(target=work)\n    one.start()\n    one.join()\n",
}
OTHERS = {
    "rust, by name": ("rust", "use solution::add;\n#[test]\nfn adds() { assert_eq!(add(1, 2), 3); }\n"),
    "rust, by path": ("rust", "#[test]\nfn adds() { assert_eq!(solution::add(1, 2), 3); }\n"),
    "shunit2": ("bash", 'testAdd() {\n  assertEquals "adds" 3 "$(add 1 2)"\n}\n'),
    "bats": ("bash", '@test "it adds" {\n  run add 1 2\n  [ "$status" -eq 0 ]\n  [ "$output" = 3 ]\n}\n'),
}
STYLES = {
    **{f"javascript, {name}": ("javascript", tests) for name, tests in JAVASCRIPT.items()},
    **{f"python, {name}": ("python", tests) for name, tests in PYTHON.items()},
    **OTHERS,
}
NOTHING = {
    "python, nested": ("python", "def test_a():\n    def inner():\n        assert add(1, 2) == 3\n"),
    "python, generator": ("python", "def test_a():\n    map(print, [add(1, 2) == 3])\n"),
    "python, finally": ("python", "def test_a():\n    try:\n        assert add(1, 2)\n    finally:\n        return\n"),
    "python, twice": ("python", "def test_a():\n    assert add(1, 2) == 3\ndef test_a():\n    assert add\n"),
    "python, async": ("python", "async def f():\n    assert add(1, 2) == 3\nf()\n"),
    "c, prints": ("c", 'int printf(const char *, ...);\nvoid test_a(void) { printf(add(1, 2) == 3 ? "ok" : "no"); }\n'),
    "go, prints": ("go", 'func TestAdd(t *testing.T) {\n\tif Add(1, 2) == 3 {\n\t\tfmt.Println("PASS")\n\t}\n}\n'),
}


def _run(run: Runner, language: str, code: str, tests: str) -> ExecutionResult:
    try:
        return run(code, tests, language=language)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


def _programs(language: str) -> tuple[str, str]:
    return (ADD_PY, ADD_PY.replace("a + b", "0")) if language == "python" else (ADD[language], WRONG[language])


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_style_of_tests_passes_a_right_program_and_fails_a_wrong_one(run: Runner, style: tuple[str, str]) -> None:
    language, tests = style
    right, wrong = (_run(run, language, code, tests) for code in _programs(language))
    assert (right.verdict, right.tests_passed) == ("OK", right.tests_run), right
    assert (wrong.verdict, wrong.success) == ("WRONG_ANSWER", False), wrong
    assert wrong.error_type != "TestsTampered"


@pytest.mark.parametrize("style", NOTHING.values(), ids=NOTHING)
def test_checks_that_would_never_be_heard_are_named(run: Runner, style: tuple[str, str]) -> None:
    language, tests = style
    for code in _programs(language):
        result = _run(run, language, code, tests)
        assert (result.success, result.error_type) == (False, "TestChecksNothing"), result


def test_an_expectation_without_a_matcher_fails(run: Runner) -> None:
    result = run(ADD["javascript"], "test('a', () => { expect(add(1, 2) === 3); });\n", language="javascript")
    assert (result.success, "without a matcher" in (result.error_message or "")) == (False, True), result


def test_a_program_that_leaves_while_it_is_loaded_is_told_with_its_status(run: Runner) -> None:
    result = run("import sys\nclass A: pass\nsys.exit(0)\n", "def test_a():\n    assert A()\n")
    assert "(status 0)" in (result.error_message or ""), result
