"""`error_type` of real runs: the documented class of each failure, in every language that can fail that way."""

import pytest

from tests.sandbox.machine import Runner

pytestmark = pytest.mark.timeout(240)  # the first Go program compiles Go's library, once a checkout

GO = 'package main\n\nimport ("log"; "os")\n\nfunc main() {\n\t%s\n}\n'
GO_OPENS = GO % '_, err := os.Open("no.txt")\n\tlog.Fatal(err)'
GO_PANICS = GO % 'log.Println(os.Args)\n\tvar m map[string]int\n\tm["a"] = 1'
GO_DEEP = "package main\n\nfunc f(n int) int { return f(n+1) + 1 }\n\nfunc main() { println(f(0)) }\n"
C_OPENS = '#include <stdio.h>\nint main(void) {\n  if (!fopen("no.txt", "r")) { perror("no.txt"); return 1; }\n}\n'
RUST_OPENS = 'fn main() {\n    std::fs::read_to_string("no.txt").unwrap();\n}\n'

RAN = [
    ("go", GO_DEEP, "MemoryLimit"),
    ("python", "f(", "SyntaxError"),
    ("python", "eval('1 +')", "SyntaxError"),
    ("python", "print(y)", "NameError"),
    ("python", "1 + 'a'", "TypeError"),
    ("python", "int('x')", "ValueError"),
    ("python", "import nothing_of_the_kind", "ImportError"),
    ("python", "from os import nothing", "ImportError"),
    ("python", "[][1]", "IndexError"),
    ("python", "{}['k']", "KeyError"),
    ("python", "None.x", "AttributeError"),
    ("python", "1 / 0", "ZeroDivisionError"),
    ("python", "open('no.txt')", "FileNotFoundError"),
    ("python", "def f(): f()\nf()", "RecursionError"),
    ("python", "class Own(Exception): pass\nraise Own", "Own"),
    ("python", "import sys\nsys.exit('no')", "RuntimeError"),
    (
        "python",
        "import sys, traceback\ntry:\n    {}['k']\nexcept KeyError:\n    traceback.print_exc()\n    sys.exit(1)",
        "KeyError",
    ),
    ("python", "import argparse\nargparse.ArgumentParser().parse_args(['--x'])", "RuntimeError"),
    ("python", "import sys\nsys.exit('the connection timed out')", "RuntimeError"),
    ("javascript", "let = ;", "SyntaxError"),
    ("javascript", "JSON.parse('{')", "SyntaxError"),
    ("javascript", "null.x", "TypeError"),
    ("javascript", "y", "ReferenceError"),
    ("javascript", "new Array(-1)", "RangeError"),
    ("javascript", "require('nothing')", "ImportError"),
    ("javascript", "import x from 'nothing';", "ImportError"),
    ("javascript", "require('fs').readFileSync('no.txt')", "NotFoundError"),
    ("javascript", "process.exit(1)", "RuntimeError"),
    ("typescript", "const a: = 1;", "SyntaxError"),
    ("typescript", "const a: any = null;\na.b;", "TypeError"),
    ("typescript", "declare const y: number;\nconsole.log(y);", "ReferenceError"),
    ("typescript", "throw new Error('no');", "RuntimeError"),
    ("go", "package main\n\nfunc main() {\n\tx\n}\n", "CompileError"),
    ("go", GO_OPENS, "NotFoundError"),
    ("go", GO_PANICS, "RuntimeError"),
    ("rust", "fn main() {\n    x;\n}\n", "CompileError"),
    ("rust", RUST_OPENS, "NotFoundError"),
    ("rust", 'fn main() -> Result<(), String> {\n    Err(String::from("no"))\n}\n', "RuntimeError"),
    ("c", "int main(void) { return x; }\n", "CompileError"),
    ("c", "int f(void);\nint main(void) { return f(); }\n", "LinkError"),
    ("c", C_OPENS, "NotFoundError"),
    ("c", "int main(void) { return 1; }\n", "RuntimeError"),
    ("c", "#include <stdlib.h>\nint main(void) { abort(); }\n", "SIGABRT"),
    ("cpp", "int main() { return x; }\n", "CompileError"),
    ("cpp", "int f();\nint main() { return f(); }\n", "LinkError"),
    ("cpp", "int main() { return 1; }\n", "RuntimeError"),
    ("bash", "if true; then\n", "SyntaxError"),
    ("bash", "nothing_of_the_kind\n", "NotFoundError"),
    ("bash", "cat no.txt\n", "NotFoundError"),
    ("bash", "echo 'x.c:1: error: told' >&2; false\n", "RuntimeError"),
    ("bash", "false\n", "RuntimeError"),
]


@pytest.mark.parametrize(("language", "code", "error_type"), RAN)
def test_a_failed_run_has_its_documented_class(language: str, code: str, error_type: str, run: Runner) -> None:
    versions = {known.name: known.version for known in run.sandbox.languages()}
    if versions[language] is None:
        pytest.skip(f"no toolchain for {language} on this machine")
    result = run(code, language=language)
    assert (result.success, result.error_type) == (False, error_type), result


@pytest.mark.parametrize("language", ["python", "javascript", "bash"])
def test_a_run_at_its_time_limit_is_a_timeout_in_every_language(language: str, run: Runner) -> None:
    code = {"python": "while True: pass", "javascript": "for (;;);", "bash": "while :; do :; done"}[language]
    result = run(code, language=language, timeout_s=0.5)
    assert (result.error_type, result.error_message) == ("Timeout", "Execution timed out after 0.5s")


@pytest.mark.parametrize(
    ("language", "code"),
    [("python", "import sys\nsys.stderr.write('NameError: told')"), ("bash", "echo 'KeyError: told' >&2")],
)
def test_what_a_program_writes_makes_nothing_fail(language: str, code: str, run: Runner) -> None:
    result = run(code, language=language)
    assert (result.success, result.error_type, result.error_message) == (True, None, None)
