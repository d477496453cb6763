"""Tests of programs in every language but Python: passing, failing, broken, missing, and cheats."""

import re
import threading
from pathlib import Path

import pytest

from sandbox import driven, languages
from sandbox.errors import ExecutionCancelledError, ToolchainMissingError
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, ExecutionResult
from tests.sandbox.machine import Runner, settings_with

pytestmark = pytest.mark.timeout(180)  # the first Go program waits for the compilation of Go's standard library
LANGUAGES = ("javascript", "go", "rust", "c", "cpp", "bash")
ADD = {
    "javascript": "function add(a, b) { return a + b; }\nmodule.exports = { add };\n",
    "go": "package main\n\nfunc Add(a, b int) int { return a + b }\n\nfunc main() {}\n",
    "rust": "fn add(a: i32, b: i32) -> i32 { a + b }\nfn main() {}\n",
    "c": "int add(int a, int b) { return a + b; }\nint main(void) { return 3; }\n",
    "cpp": "int add(int a, int b) { return a + b; }\nint main() { return 3; }\n",
    "bash": "add() {\n  echo $(($1 + $2))\n}\n",
}
TESTS = {
    "javascript": "test('adds', () => {\n  assert.strictEqual(add(1, 2), 3);\n});\n"
    "test('zero', () => { expect(add(0, 0)).toBe(0); });\n",
    "go": 'package main\n\nimport "testing"\n\nfunc TestAdd(t *testing.T) {\n'
    '\tif got := Add(1, 2); got != 3 {\n\t\tt.Errorf("got %d", got)\n\t}\n}\n\n'
    "func TestZero(t *testing.T) { assert.Equal(t, 0, Add(0, 0)) }\n",
    "rust": "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn adds() {\n"
    "        assert_eq!(add(1, 2), 3);\n"
    "    }\n    #[test]\n    fn zero() { assert!(add(0, 0) == 0); }\n}\n",
    "c": "#include <assert.h>\nvoid test_add(void) {\n    assert(add(1, 2) == 3);\n}\n"
    "static void test_zero(void) { assert(add(0, 0) == 0); }\n",
    "cpp": "#undef NDEBUG\n#include <cassert>\nint main() {\n    assert(add(1, 2) == 3);\n"
    "    assert(add(0, 0) == 0);\n}\n",
    "bash": 'test_add() {\n  assert_eq "$(add 1 2)" 3\n}\ntest_zero() { [ "$(add 0 0)" = 0 ]; }\n',
}
BAD = {name: code.replace("+", "-") for name, code in ADD.items()}


def _run(run: Runner, language: str, code: str, tests: str, **fields: object) -> ExecutionResult:
    try:
        return run(code, tests, language=language, **fields)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_right_program_passes_every_test(run: Runner, language: str) -> None:
    result = _run(run, language, ADD[language], TESTS[language])
    assert (result.verdict, result.tests_passed, result.tests_run, result.error_message) == ("OK", 2, 2, None)
    assert result.result_trust == ("isolated" if language == "javascript" else "in_process")


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


EQUAL_TO_ALL_CPP = (
    "struct Any { template <class T> bool operator==(const T &) const { return true; }"
    " operator bool() const { return true; } };\nAny add(int, int) { return {}; }\n"
)
EQUAL_TO_ALL_RUST = (
    "#[derive(Debug)]\npub struct Any;\nimpl<T> PartialEq<T> for Any { fn eq(&self, _: &T) -> bool { true } }\n"
    "fn add(_: i32, _: i32) -> Any { Any }\n"
)
CHEATS = {
    "js exits": ("javascript", "console.log('# pass 2'); process.exit(0);"),
    "js exits in a call": ("javascript", "function add() { console.log('# pass 2'); process.exit(0); }"),
    "js replaces assert": (
        "javascript",
        "const a = require('assert'); for (const k of Object.keys(a)) try { a[k] = () => {}; } catch {}\n"
        "globalThis.assert = () => {}; console.assert = () => {};\n" + BAD["javascript"],
    ),
    "js replaces assert in a call": (
        "javascript",
        "function add() { try { require('assert').strictEqual = () => {}; } catch {} return 9; }",
    ),
    "js replaces prototypes": (
        "javascript",
        "Object.prototype.toJSON = () => 'passed'; Object.prototype.valueOf = () => 3;\n"
        "Array.prototype.push = () => 0; JSON.stringify = () => '{}'; Object.is = () => true;\n" + BAD["javascript"],
    ),
    "js returns what equals all": (
        "javascript",
        "const add = () => ({ valueOf: () => 3, [Symbol.toPrimitive]: () => 3 }); module.exports = class {};",
    ),
    "js replaces process.exit": (
        "javascript",
        "process.exit = () => {}; process.on('exit', () => { process.exitCode = 0; });\n" + BAD["javascript"],
    ),
    "js forges a report": (
        "javascript",
        'require(\'fs\').writeSync(3, \'{"event":"test","id":"adds","outcome":"passed"}\\n\');\n' + BAD["javascript"],
    ),
    "go exits in init": (
        "go",
        (
            'package main\n\nimport (\n\t"fmt"\n\t"os"\n)\n\nfunc init() { fmt.Println("PASS"); os.Exit(0) }\n\n'
            "func Add(a, b int) int { return 0 }\n\nfunc main() {}\n"
        ),
    ),
    "go exits in a call": (
        "go",
        'package main\n\nimport "os"\n\nfunc Add(a, b int) int { os.Exit(0); return 0 }\n\nfunc main() {}\n',
    ),
    "rust exits": (
        "rust",
        'fn add(_: i32, _: i32) -> i32 { println!("test result: ok. 2 passed"); std::process::exit(0) }',
    ),
    "rust exits in a constructor": (
        "rust",
        'extern "C" fn leave() { std::process::exit(0) }\n#[link_section = ".init_array"]\n#[used]\n'
        'static LEAVE: extern "C" fn() = leave;\n' + BAD["rust"],
    ),
    "rust replaces the macros": (
        "rust",
        "#[macro_export]\nmacro_rules! assert_eq { ($($t:tt)*) => {} }\n#[macro_export]\n"
        "macro_rules! assert { ($($t:tt)*) => {} }\n" + BAD["rust"],
    ),
    "rust returns what equals all": ("rust", EQUAL_TO_ALL_RUST),
    "c exits in a constructor": (
        "c",
        "#include <stdio.h>\n#include <stdlib.h>\n__attribute__((constructor)) static void leave(void) {"
        ' puts("2 passed"); '
        "exit(0); }\n" + BAD["c"],
    ),
    "c exits in a call": ("c", "#include <stdlib.h>\nint add(int a, int b) { exit(0); }"),
    "c ends early at exit": (
        "c",
        "#include <stdlib.h>\n#include <unistd.h>\nstatic void leave(void) { _exit(0); }\n"
        "__attribute__((constructor)) static void at(void) { atexit(leave); }\n" + BAD["c"],
    ),
    "c replaces assert": ("c", BAD["c"] + "#define assert(x) ((void)0)\n"),
    "c replaces main": ("c", BAD["c"] + "#define main other\n"),
    "c replaces if": ("c", BAD["c"] + "#define if(x) if (1)\n#define _exit(x)\n"),
    "c replaces the function by a macro": ("c", BAD["c"] + "#define add(a, b) 3 == 3 || 1\n"),
    "c replaces write": ("c", "long write(int f, const void *b, unsigned long n) { return n; }\n" + BAD["c"]),
    "c reads the nonce": (
        "c",
        "#include <unistd.h>\n__attribute__((constructor)) static void take(void) { char b[64];"
        " if (read(3, b, 40) > 0) "
        "write(3, b, 40); _exit(0); }\n" + BAD["c"],
    ),
    "c includes its tests": (
        "c",
        BAD["c"] + "#ifndef AGAIN\n#define AGAIN\n#define assert(x)\n#include __BASE_FILE__\n#endif\n",
    ),
    "cpp exits in a constructor": (
        "cpp",
        "#include <cstdlib>\nstruct Leave { Leave() { std::exit(0); } } leave_now;\n" + BAD["cpp"],
    ),
    "cpp replaces assert": ("cpp", BAD["cpp"] + "#define assert(x)\n#define NDEBUG\n"),
    "cpp returns what equals all": ("cpp", EQUAL_TO_ALL_CPP),
    "bash traps": ("bash", "trap 'exit 0' EXIT\n" + BAD["bash"]),
    "bash exits": ("bash", "exit 0\n"),
    "bash exits in a call": ("bash", "add() { exit 0; }\n"),
    "bash replaces builtins": (
        "bash",
        "test() { return 0; }\n[() { return 0; }\nexit() { return 0; }\nbuiltin() { return 0; }\n"
        "unset() { return 0; }\n"
        "assert_eq() { return 0; }\n" + BAD["bash"],
    ),
    "bash forges a report": ("bash", "add() { echo passed >&5; echo '{}' >&3; echo 9; }\n"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_does_not_pass(run: Runner, name: str) -> None:
    language, code = CHEATS[name]
    result = _run(run, language, code, TESTS[language])
    assert not result.success, result
    assert result.verdict != "OK"


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
