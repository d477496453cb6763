"""I. Cheats of other languages: programs 109 to 112 of the table. More of each stand beside the code that runs them.

Go is left to those: compiling its standard library once takes longer than all of this.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from tests.sandbox.hostile.cheats import ATTACKED, FAILURES
from tests.sandbox.hostile.programs import Case, Program

C_TESTS = "#include <assert.h>\nvoid test_add(void) { assert(add(1, 2) == 3); }\nvoid test_more(void) { assert(add(2, 2) == 4); }\n"
C_SAYS = '#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\nstatic void say(void) { puts("ATTACKED"); fflush(stdout); }\n'
C_WRONG = "int add(int a, int b) { say(); return 0; }\n"
C_RIGHT = "int add(int a, int b) { say(); return a + b; }\n"
C_CHEATS = (
    "__attribute__((constructor)) static void leave(void) { say(); exit(0); }\n" + C_WRONG,
    "static void leave(void) { say(); _exit(0); }\n__attribute__((constructor)) static void at(void) { atexit(leave); }\n"
    + C_WRONG,
    'int add(int a, int b) { say(); puts("2 passed"); fflush(stdout); exit(0); }\n',
    C_WRONG + "#undef assert\n#define assert(x) ((void)0)\n",
    "int main(void) { say(); return 0; }\n" + C_WRONG + "#define main other\n",
    "__attribute__((constructor)) static void forge(void) { char b[4096]; long n; say(); for (int fd = 3; fd < 64; fd++)"
    " { n = read(fd, b, sizeof b); if (n > 0) n = write(fd, b, n); } }\n" + C_WRONG,
    '__attribute__((constructor)) static void load(void) { say(); setenv("LD_PRELOAD", "/sandbox/work/x.so", 1); }\n'
    + C_WRONG,
)
JS_TESTS = "test('add', () => { assert.strictEqual(add(1, 2), 3); });\ntest('more', () => { assert.strictEqual(add(2, 2), 4); });\n"
JS_WRONG = "function add(a, b) { console.log('ATTACKED'); return 0; }\nmodule.exports = { add };\n"
JS_CHEATS = (
    "console.log('ATTACKED');\nprocess.exit(0);\n",
    "function add() { console.log('ATTACKED'); process.exit(0); }\nmodule.exports = { add };\n",
    "process.exit = () => {};\nprocess.on('exit', () => { process.exitCode = 0; });\n" + JS_WRONG,
    "console.log('ATTACKED');\nconst a = require('assert');\nfor (const k of Object.keys(a)) try { a[k] = () => {}; } catch {}\nglobalThis.assert = () => {};\n"
    + JS_WRONG,
    "console.log('ATTACKED');\nObject.prototype.toJSON = () => 'passed';\nJSON.stringify = () => '{}';\nObject.is = () => true;\nArray.prototype.push = () => 0;\n"
    + JS_WRONG,
)
RUST_TESTS = (
    "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn adds() { assert_eq!(add(1, 2), 3); }\n"
    "    #[test]\n    fn more() { assert_eq!(add(2, 2), 4); }\n}\n"
)
RUST_CHEATS = (
    'fn add(_: i32, _: i32) -> i32 { println!("\\nATTACKED"); println!("test result: ok. 2 passed"); std::process::exit(0) }\nfn main() {}\n',
    (
        'extern "C" fn leave() { println!("ATTACKED"); std::process::exit(0) }\n#[link_section = ".init_array"]\n#[used]\n'
        'static LEAVE: extern "C" fn() = leave;\nfn add(_: i32, _: i32) -> i32 { 0 }\nfn main() {}\n'
    ),
)
BASH_TESTS = 'test_add() { assert_eq "$(add 1 2)" 3; }\ntest_more() { [ "$(add 2 2)" = 4 ]; }\n'
BASH_WRONG = "add() { echo ATTACKED >&2; echo 0; }\n"
BASH_CHEATS = (
    "echo ATTACKED >&2\ntrap 'exit 0' EXIT\n" + BASH_WRONG,
    "echo ATTACKED >&2\ntest() { return 0; }\n[() { return 0; }\nexit() { return 0; }\nbuiltin() { return 0; }\n"
    + BASH_WRONG,
)


def cheats(language: str, tests: str, codes: tuple[str, ...]) -> tuple[Program, ...]:
    """Return programs that must not pass these tests."""
    return tuple(Program(code, ATTACKED, language, FAILURES, test_code=tests) for code in codes)


CASES = (
    Case(
        "109",
        "cheats in C",
        (
            *(Program(C_SAYS + C_RIGHT, (), "c", test_code=C_TESTS),),
            # A candidate whose macros break the tests may also just not compile with them: it does not pass.
            *(Program(C_SAYS + code, (), "c", FAILURES, test_code=C_TESTS) for code in C_CHEATS[3:5]),
            *cheats("c", C_TESTS, tuple(C_SAYS + code for code in (*C_CHEATS[:3], *C_CHEATS[5:]))),
        ),
        limit_s=60.0,
    ),
    Case("110", "cheats in JavaScript", cheats("javascript", JS_TESTS, JS_CHEATS), limit_s=60.0),
    Case("111", "cheats in Rust", cheats("rust", RUST_TESTS, RUST_CHEATS), limit_s=60.0),
    Case(
        "112",
        "cheats in a shell",
        (
            *cheats("bash", BASH_TESTS, BASH_CHEATS),
            Program("exit 0\n", (), "bash", FAILURES, test_code=BASH_TESTS),  # ends whoever reads it, without a word
        ),
    ),
)
