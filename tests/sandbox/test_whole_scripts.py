"""Tests that are scripts rather than lists of tests: what stands outside of test functions counts, too."""

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.types import ExecutionResult
from tests.sandbox.machine import Runner

C_GOOD = "int add(int a, int b) { return a + b; }\n"
C_BAD = "int add(int a, int b) { return a == 1 ? 3 : 0; }\n"  # right for 1 + 2 only
C_ONE = "#include <assert.h>\n#include <stdio.h>\nvoid test_one(void) { assert(add(1, 2) == 3); }\n"
C_CHECK = "static int failed;\nstatic void check(int holds) { if (!holds) failed++; }\n"
C_SCRIPTS = {
    "an assert of main": (C_ONE + "int main(void) { test_one(); assert(add(2, 2) == 4); return 0; }\n", 2),
    "a status of main": (C_ONE + "int main(void) { test_one(); if (add(2, 2) != 4) return 1; return 0; }\n", 2),
    "a function of another name": (
        C_ONE + "void check_two(void) { assert(add(2, 2) == 4); }\nint main(void) { test_one(); check_two(); }\n",
        2,
    ),
    "a count": (
        C_CHECK + "void test_two(void) { check(add(2, 2) == 4); }\nint main() { test_two(); return failed; }\n",
        2,
    ),
    "arguments of main": (
        "#include <assert.h>\nint main(int argc, char **argv) { assert(!argv[argc]); assert(add(2, 2) == 4); }\n",
        2,
    ),
    "arguments of a test": (
        C_ONE
        + "void test_sum(int a, int b) { assert(add(a, b) == a + b); }\nint main() { test_one(); test_sum(2, 2); }\n",
        2,
    ),
}
C_ONLY_RUNS = C_ONE + 'int main(void) { printf("running (%d)\\n", 1); test_one(); puts("done"); return 0; }\n'

JS_GOOD = "function add(a, b) { return a + b; }\nmodule.exports = { add };\n"
JS_BAD = JS_GOOD.replace("a + b", "0")
JS_SCRIPTS = {
    "an async function": "(async () => {\n  assert.strictEqual(await add(1, 2), 3);\n})();\n",
    "one that waits": "async function main() {\n  await new Promise((done) => setTimeout(done, 20));\n"
    "  assert.strictEqual(add(1, 2), 3);\n}\nmain();\n",
    "a promise": "Promise.resolve(add(1, 2)).then((sum) => assert.strictEqual(sum, 3));\n",
    "a timer": "test('adds', () => { setTimeout(() => expect(add(1, 2)).toBe(3), 5); });\n",
}

SH_GOOD = "add() { echo $(($1 + $2)); }\n"
SH_BAD = "add() { echo 0; }\n"
COUNTS = (
    'fails=0\ncheck() {\n  if [ "$1" = "$2" ]; then echo ok; else fails=$((fails + 1)); fi\n}\ncheck "$(add 1 2)" 3\n'
)
TESTED = 'failed=0\ntest_add() {\n  if [[ "$(add 1 2)" == 3 ]]; then echo PASS; else failed=1; fi\n}\ntest_add\n'
SH_SCRIPTS = {
    "a count": COUNTS + 'check "$(add 2 2)" 4\n[ "$fails" -eq 0 ]\n',
    "a count as status": COUNTS + "exit $fails\n",
    "a count in a condition": COUNTS + "if [ $fails -gt 0 ]; then\n  exit 1\nfi\n",
    "a count of functions": TESTED + 'echo "$failed failed"\nexit $failed\n',
    "a file": 'out=$(mktemp)\ntrap \'rm -f "$out"\' EXIT\nadd 1 2 >"$out"\ngrep -qx 3 "$out"\n',
}
SH_NOTHING = {
    "a list": ('[ "$(add 1 2)" = 3 ] && echo PASS || echo FAIL\n', "NoTestsFound"),
    "a condition": ('if [ "$(add 1 2)" = 3 ]; then\n  echo PASS\nelse\n  echo FAIL\nfi\n', "NoTestsFound"),
    "a function": (TESTED, "TestChecksNothing"),
}


def _run(run: Runner, language: str, code: str, tests: str) -> ExecutionResult:
    try:
        return run(code, tests, language=language)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("language", ["c", "cpp"])
@pytest.mark.parametrize("script", C_SCRIPTS)
def test_what_main_checks_besides_calling_tests_is_a_test(run: Runner, language: str, script: str) -> None:
    tests, n_tests = C_SCRIPTS[script]
    right, wrong = (_run(run, language, code, tests) for code in (C_GOOD, C_BAD))
    assert (right.verdict, right.tests_passed, right.tests_run) == ("OK", n_tests, n_tests), right
    assert (wrong.verdict, wrong.tests_passed < wrong.tests_run) == ("WRONG_ANSWER", True), wrong


def test_a_main_that_only_runs_its_tests_is_none(run: Runner) -> None:
    result = _run(run, "c", C_GOOD, C_ONLY_RUNS)
    assert (result.verdict, result.tests_run) == ("OK", 1), result


@pytest.mark.parametrize("language", ["javascript", "typescript"])
@pytest.mark.parametrize("script", JS_SCRIPTS)
def test_a_check_that_nobody_awaits_still_counts(run: Runner, language: str, script: str) -> None:
    assert _run(run, language, JS_GOOD, JS_SCRIPTS[script]).verdict == "OK"
    wrong = _run(run, language, JS_BAD, JS_SCRIPTS[script])
    assert (wrong.verdict, wrong.error_type) == ("WRONG_ANSWER", "AssertionError"), wrong


@pytest.mark.parametrize("keeps", ["", "class Kept {}\nmodule.exports.Kept = Kept;\n"], ids=["apart", "beside"])
def test_a_program_that_keeps_a_timer_does_not_keep_its_tests(run: Runner, keeps: str) -> None:
    code = f"setInterval(() => {{}}, 1000);\n{JS_GOOD}{keeps}"
    tests = "test('adds', () => { expect(add(1, 2)).toBe(3); });\n" + ("new Kept();\n" if keeps else "")
    assert _run(run, "javascript", code, tests).verdict == "OK"


@pytest.mark.parametrize("how", ["removeAllListeners('unhandledRejection')", "_events = {}"])
def test_a_program_cannot_silence_what_nobody_awaits(run: Runner, how: str) -> None:
    silences = f"process.{how};\nprocess.on('unhandledRejection', () => {{}});"
    code = f"class Kept {{}}\nfunction add() {{ {silences} return 0; }}\n"
    tests = "new (require('./solution').Kept)();\n"
    for late in (
        JS_SCRIPTS["an async function"],
        JS_SCRIPTS["a promise"].replace("Promise", "test('adds', () => { Promise"),
    ):
        closed = late.rstrip(";\n") + ("; });\n" if late.startswith("test") else ";\n")
        result = _run(run, "javascript", code + "module.exports = { add, Kept };\n", tests + closed)
        assert (result.success, result.result_trust) == (False, "in_process"), result


def test_a_variable_of_the_program_is_seen_in_a_sum(run: Runner) -> None:
    tests = (
        'fails=0\ncheck() { [ "$1" = "$2" ] || fails=$((fails + STEP)); }\ncheck "$(add 1 2)" 3\n[ "$fails" -eq 0 ]\n'
    )
    assert run("STEP=1\n" + SH_GOOD, tests, language="bash").success
    assert not run("STEP=1\n" + SH_BAD, tests, language="bash").success


@pytest.mark.parametrize("script", SH_SCRIPTS)
def test_failures_that_a_script_counts_fail_it(run: Runner, script: str) -> None:
    right, wrong = (run(code, SH_SCRIPTS[script], language="bash") for code in (SH_GOOD, SH_BAD))
    assert (right.verdict, right.tests_passed, right.tests_run) == ("OK", 1, 1), right
    assert (wrong.verdict, wrong.error_type, wrong.tests_passed) == ("WRONG_ANSWER", "AssertionError", 0), wrong


def test_a_command_that_cannot_fail_still_prepares_what_follows(run: Runner) -> None:
    tests = 'mkdir made || true\ntest_made() { [ -d made ]; }\n[ "$(add 1 2)" = 3 ]\n'
    result = run(SH_GOOD, tests, language="bash")
    assert (result.verdict, result.tests_run) == ("OK", 2), result


def test_a_test_that_exits_with_a_status_has_failed(run: Runner) -> None:
    result = run(SH_BAD, '[ "$(add 1 2)" = 3 ] || exit 1\n', language="bash")
    assert (result.verdict, result.error_type) == ("WRONG_ANSWER", "AssertionError")
    assert result.error_message == "line 1: the test exited with status 1"


@pytest.mark.parametrize("tests", SH_NOTHING.values(), ids=SH_NOTHING)
@pytest.mark.parametrize("code", [SH_GOOD, SH_BAD], ids=["right", "wrong"])
def test_what_only_prints_whether_it_holds_is_no_test(run: Runner, code: str, tests: tuple[str, str]) -> None:
    result = run(code, tests[0], language="bash")
    assert (result.success, result.error_type, result.tests_run) == (False, tests[1], 0), result


RUST = "pub fn add(a: i32, b: i32) -> i32 { if a == 1 { a + b } else { 0 } }\n"
RUST_HIDDEN = {
    "a macro": "macro_rules! two { ($name:ident) => { #[test] fn $name() { assert_eq!(add(2, 2), 4); } } }\n"
    "two! { sum }\n",
    "async": "#[test]\nasync fn two() { assert_eq!(add(2, 2), 4); }\n",
}


@pytest.mark.parametrize("hidden", RUST_HIDDEN.values(), ids=RUST_HIDDEN)
def test_a_rust_test_that_would_be_dropped_is_refused(run: Runner, hidden: str) -> None:
    result = _run(run, "rust", RUST, hidden + "#[test]\nfn one() { assert_eq!(add(1, 2), 3); }\n")
    assert (result.success, result.error_type, result.tests_run) == (False, "UnsupportedTests", 0), result
    assert "line " in (result.error_message or "")
