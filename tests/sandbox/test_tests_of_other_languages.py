"""Tests of programs in every language but Python: passing, failing, broken and missing."""

import re
import threading
from pathlib import Path

import pytest

from sandbox import driven, languages
from sandbox.errors import ExecutionCancelledError, ToolchainMissingError
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, ExecutionResult
from tests.sandbox.machine import Runner, settings_with
from tests.sandbox.tested_programs import ADD, BAD, LANGUAGES, TESTS

pytestmark = pytest.mark.timeout(180)  # the first Go program waits for the compilation of Go's standard library


def _run(run: Runner, language: str, code: str, tests: str, **fields: object) -> ExecutionResult:
    try:
        return run(code, tests, language=language, **fields)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_right_program_passes_every_test(run: Runner, language: str) -> None:
    result = _run(run, language, ADD[language], TESTS[language])
    assert (result.verdict, result.tests_passed, result.tests_run, result.error_message) == ("OK", 2, 2, None)
    assert result.result_trust == ("isolated" if language.endswith("script") else "in_process")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_program_fails_the_test_that_it_fails(run: Runner, language: str) -> None:
    result = _run(run, language, BAD[language], TESTS[language])
    assert (result.verdict, result.error_type, result.success) == ("WRONG_ANSWER", "AssertionError", False)
    assert result.tests_passed == (0 if language == "cpp" else 1)  # an assert that fails ends its main
    assert re.search("add|line 4", result.error_message or "", re.IGNORECASE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_that_does_not_compile_is_told_from_tests_that_do_not(run: Runner, language: str) -> None:
    broken = ADD[language].replace("{", "{ (((", 1)
    result = _run(run, language, broken, TESTS[language])
    assert (result.verdict, result.compile_success) == ("COMPILE_ERROR", False)
    if language == "bash":
        return  # a shell reads its text while it runs it, so tests that do not parse fail as tests
    result = _run(run, language, ADD[language], TESTS[language].replace("{", "{ (((", 1))
    assert (result.verdict, result.compile_success, (result.error_type or "")[:4]) == ("COMPILE_ERROR", True, "Test")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_without_tests_does_not_pass(run: Runner, language: str) -> None:
    result = _run(run, language, ADD[language], "")
    assert (result.success, result.error_type) == (False, "NoTestsFound")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_that_lacks_what_is_tested_does_not_pass(run: Runner, language: str) -> None:
    result = _run(run, language, ADD[language].replace("dd", "ddition"), TESTS[language])
    assert not result.success
    assert result.tests_passed == 0


ERRING = {
    "javascript": ("function add(a, b) { return a.b.c; }", "TypeError"),
    "typescript": ("export function add(a: any, b: number): number { return a.b.c; }", "TypeError"),
    "go": (
        "package main\n\nfunc Add(a, b int) int {\n\tvar m []int\n\treturn m[a]\n}\n\nfunc main() {}\n",
        "RuntimeError",
    ),
    "rust": ("fn add(a: i32, _b: i32) -> i32 { let v: Vec<i32> = vec![]; v[a as usize] }", "RuntimeError"),
    "c": ("int add(int a, int b) { return *(volatile int *)(long)(a - a); }", "SIGSEGV"),
    "cpp": (
        '#include <stdexcept>\nint add(int a, int b) { throw std::out_of_range("too far"); }',
        "std::out_of_range",
    ),
    "bash": ("add() { no_such_command; }", "AssertionError"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_that_errs_in_a_test_is_named_with_its_error(run: Runner, language: str) -> None:
    code, kind = ERRING[language]
    result = _run(run, language, code, TESTS[language])
    assert (result.success, result.error_type, result.tests_passed) == (False, kind, 0)


@pytest.mark.parametrize("language", ["javascript", "c", "bash"])
def test_a_program_that_never_ends_is_a_time_limit(run: Runner, language: str) -> None:
    body = {"javascript": "for (;;) ;", "c": "for (;;) ;", "bash": "while :; do :; done"}[language]
    code = {"bash": f"add() {{ {body}; }}\n", "c": f"int add(int a, int b) {{ {body} }}"}.get(
        language, f"function add(a, b) {{ {body} }}"
    )
    result = _run(run, language, code, TESTS[language], timeout_s=1.0)
    assert (result.verdict, result.error_type) == ("TIME_LIMIT", "Timeout")


BASH_STATE = "TOTAL=5\n[() { return 0; }\ntest() { return 0; }\nreadonly POSIXLY_CORRECT\nadd() { echo 9; }\n"


def test_a_bash_program_read_into_its_tests_cannot_replace_their_builtins(run: Runner) -> None:
    result = _run(run, "bash", BASH_STATE, '[ "$TOTAL" = 5 ]\n[ "$(add 1 2)" = 3 ]\n')
    assert not result.success
    result = _run(run, "bash", "TOTAL=5\nadd() { echo $(($1 + $2)); }\n", '[ "$TOTAL" = 5 ]\n[ "$(add 1 2)" = 3 ]\n')
    assert (result.verdict, result.tests_passed) == ("OK", 2)


def test_javascript_tests_that_need_more_than_plain_data_run_beside_the_program(run: Runner) -> None:
    code = "class Counter { constructor() { this.n = 0; } next() { return ++this.n; } }\nmodule.exports = Counter;\n"
    tests = "const Counter = require('./solution');\nit('counts', () => assert.equal(new Counter().next(), 1));\n"
    result = _run(run, "javascript", code, tests)
    assert (result.verdict, result.result_trust) == ("OK", "in_process")
    result = _run(run, "javascript", code.replace("++this.n", "3"), tests)
    assert (result.verdict, result.error_type) == ("WRONG_ANSWER", "AssertionError")


JS_STYLES = {
    "bare": "assert.equal(add(1, 2), 3);\nfor (const n of [1, 2]) assert.strictEqual(add(n, 0), n);\n",
    "console": "const testAdd = () => {\n  console.assert(add(1, 2) === 3);\n};\ntestAdd();\n",
    "modules": "import { add } from './solution.js';\nimport assert from 'node:assert/strict';\n"
    "for (const n of [1, 2]) test(`case ${n}`, () => assert.equal(add(n, 1), n + 1));\n",
    "nested": "describe('add', () => { describe('small', () => {\n"
    "it('one', async () => expect(add(0, 1)).toEqual(1)); }); });",
}


@pytest.mark.parametrize("style", JS_STYLES)
def test_javascript_tests_of_each_style_are_heard(run: Runner, style: str) -> None:
    result = _run(run, "javascript", ADD["javascript"], JS_STYLES[style])
    assert result.verdict == "OK", result
    assert not _run(run, "javascript", BAD["javascript"], JS_STYLES[style]).success


def test_every_language_with_tools_has_tests() -> None:
    assert {entry.name for entry in languages.LANGUAGES if entry.program is not None} <= set(driven.SUITES)


def test_tests_that_call_a_hanging_program_are_cancelled_at_once(run: Runner) -> None:
    cancelled, running = threading.Event(), "function add() { for (;;) ; }"
    timer = threading.Timer(0.6, cancelled.set)
    timer.start()
    request = ExecutionRequest(running, "javascript", TESTS["javascript"], lint=False, timeout_s=50.0)
    with pytest.raises(ExecutionCancelledError):
        run.sandbox.execute(request, cancelled=cancelled)
    timer.join()


def test_a_javascript_program_may_be_called_many_times(run: Runner) -> None:
    tests = "test('many', () => { for (let n = 0; n < 3000; n++) assert.equal(add(n, 'x'.length), n + 1); });\n"
    result = _run(run, "javascript", ADD["javascript"], tests)
    assert (result.verdict, result.result_trust) == ("OK", "isolated")


@pytest.mark.parametrize("language", ["javascript", "c", "bash"])
def test_tests_are_heard_without_any_isolation_too(tmp_path: Path, language: str) -> None:
    sandbox = Sandbox(settings_with(tmp_path, isolation="none"))
    try:
        for code, verdict in ((ADD[language], "OK"), (BAD[language], "WRONG_ANSWER")):
            result = sandbox.execute(ExecutionRequest(code, language, TESTS[language], lint=False))
            assert (result.verdict, result.result_trust) == (verdict, "in_process")
    finally:
        sandbox.close()
