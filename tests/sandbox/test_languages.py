"""Every language that has a tool does what is documented: run, crash, time out, fail to compile, check its syntax."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from sandbox.errors import SandboxUnavailableError, UnknownLanguageError
from sandbox.languages import find_language
from sandbox.runner import Sandbox
from tests.sandbox.machine import Runner, settings_with, share_go_cache, warm_up
from tests.sandbox.programs import SAMPLES, Samples

pytestmark = pytest.mark.timeout(240)  # the first Go program compiles Go's library, once a checkout


@pytest.fixture(params=SAMPLES)
def samples(request: pytest.FixtureRequest, shared: Sandbox) -> Samples:
    found: Samples = SAMPLES[request.param]
    if shared._toolchains.find(found.tool) is None:
        pytest.skip(f"{found.tool} is not installed")
    return found


@pytest.mark.parametrize("text", ["", "one\nzwei é 猫\n"], ids=["empty", "unicode"])
def test_a_program_reads_its_input_and_prints(samples: Samples, text: str, run: Runner) -> None:
    result = run(samples.echo, language=samples.language, stdin=text)
    assert (result.verdict, result.stdout, result.stderr) == ("OK", "hi é\n" + text, "")
    assert (result.success, result.compile_success, result.exit_code) == (True, True, 0)
    assert (result.error_type, result.error_message, result.result_trust) == (None, None, "not_tested")
    assert result.lint_score is None
    assert result.peak_memory_bytes


def test_a_program_finds_the_files_of_its_request(samples: Samples, run: Runner) -> None:
    result = run(samples.reads_file, language=samples.language, files={"data/in.txt": "from é file\n"})
    assert (result.verdict, result.stdout) == ("OK", "from é file\n")


def test_an_exit_status_is_told(samples: Samples, run: Runner) -> None:
    result = run(samples.exits_3, language=samples.language)
    assert (result.success, result.verdict, result.exit_code) == (False, "RUNTIME_ERROR", 3)
    assert (result.error_type, result.error_message) == ("RuntimeError", "the program exited with status 3")


def test_a_crash_is_named_as_its_runtime_names_it(samples: Samples, run: Runner) -> None:
    result = run(samples.crashes, language=samples.language)
    verdict, error_type, message = samples.crash
    assert (result.verdict, result.error_type, result.compile_success) == (verdict, error_type, True)
    assert message in (result.error_message or "")


def test_a_loop_ends_at_the_time_limit_of_the_run(samples: Samples, run: Runner) -> None:
    result = run(samples.loops, language=samples.language, timeout_s=1.0)
    assert (result.verdict, result.error_type) == ("TIME_LIMIT", "Timeout")
    assert result.error_message == "Execution timed out after 1s"


def test_source_that_does_not_compile_is_told_with_its_first_error(samples: Samples, run: Runner) -> None:
    result = run(samples.broken, language=samples.language)
    error_type, message = samples.broken_error
    assert (result.success, result.compile_success, result.verdict) == (False, False, "COMPILE_ERROR")
    assert result.error_type == error_type
    assert (result.error_message or "").startswith(message)
    assert result.stderr


def test_a_syntax_check_finds_the_same_error(samples: Samples, run: Runner) -> None:
    report = run.sandbox.check_syntax(samples.broken, samples.language, "main.py")
    assert (report.valid, report.language) == (False, samples.language)
    line = samples.broken_error[1].partition(":")[0].lower()
    assert f"({line})" in report.errors[0]


def test_a_syntax_check_executes_nothing(samples: Samples, run: Runner) -> None:
    report = run.sandbox.check_syntax(samples.valid, samples.language)
    assert (report.valid, report.errors) == (True, ())


def test_an_empty_text_can_be_checked(samples: Samples, run: Runner) -> None:
    report = run.sandbox.check_syntax("", samples.language)
    assert report.valid == (samples.language != "go")  # a Go file begins with its package


@pytest.mark.parametrize("stem", ["-o", "-", "..", "a b", "a\0b", "a\nb", "x" * 300, "é", "a/b", "$(x)"])
def test_a_name_that_no_file_should_have_is_only_shown(samples: Samples, stem: str, run: Runner) -> None:
    name = stem + PurePosixPath(find_language(samples.language).source_name).suffix
    assert run.sandbox.check_syntax(samples.valid, samples.language, name).valid
    report = run.sandbox.check_syntax(samples.broken, samples.language, name)
    assert (report.valid, name in report.errors[0]) == (False, True)


def test_an_alias_is_the_language(samples: Samples, run: Runner) -> None:
    for alias in (*samples.aliases, samples.language.upper()):
        assert run.sandbox.check_syntax(samples.valid, alias).language == samples.language


def test_a_language_has_a_version_and_its_documented_aliases(samples: Samples, run: Runner) -> None:
    language = next(found for found in run.sandbox.languages() if found.name == samples.language)
    assert language.aliases == samples.aliases
    assert any(char.isdigit() for char in language.version or "")


@pytest.mark.parametrize(
    ("language", "code", "error_type", "message"),
    [
        ("c", "int f(void);\nint main(void) { return f(); }\n", "LinkError", "undefined reference to `f'"),
        ("cpp", "int f();\nint main() { return f(); }\n", "LinkError", "undefined reference to `f()'"),
        ("c", "int f(void) { return 1; }\n", "LinkError", "undefined reference to `main'"),
        ("rust", 'extern "C" {\n    fn nope();\n}\nfn main() {\n    unsafe { nope() }\n}\n', "LinkError", "nope"),
        ("go", "package main\n\nfunc f() {}\n", "LinkError", "function main is undeclared in the main package"),
        ("go", 'package main\n\nimport "x.test/y"\n\nfunc main() { y.Z() }\n', "CompileError", "x.test/y"),
        ("c", '#include "no/such.h"\nint main(void) { return 0; }\n', "CompileError", "Line 1: no/such.h"),
    ],
)
def test_a_failed_linker_is_not_a_failed_compiler(
    language: str, code: str, error_type: str, message: str, run: Runner
) -> None:
    result = run(code, language=language)
    assert (result.verdict, result.error_type, result.execution_time_ms) == ("COMPILE_ERROR", error_type, 0)
    assert message in (result.error_message or "")


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("javascript", "const a = [];\nwhile (true) a.push(new Array(1000).fill(a.length));\n"),
        (
            "go",
            "package main\n\nvar k [][]byte\n\nfunc main() {\n\tfor {\n\t\tb := make([]byte, 1<<24)\n\t\tfor i := range b {\n\t\t\tb[i] = 1\n\t\t}\n\t\tk = append(k, b)\n\t}\n}\n",
        ),
        (
            "rust",
            "fn main() {\n    let mut v: Vec<Vec<u8>> = vec![];\n    loop {\n        v.push(vec![1; 1 << 24]);\n    }\n}\n",
        ),
        (
            "cpp",
            "#include <vector>\nint main() {\n  std::vector<std::vector<char>> v;\n  for (;;) v.emplace_back(1 << 24, 'x');\n}\n",
        ),
    ],
)
def test_a_runtime_that_gets_no_memory_is_at_the_memory_limit(language: str, code: str, run: Runner) -> None:
    result = run(code, language=language)
    assert (result.success, result.verdict, result.error_type) == (False, "MEMORY_LIMIT", "MemoryLimit")


@pytest.mark.parametrize(
    ("code", "error_type", "message"),
    [
        ("throw 'text';", "RuntimeError", "uncaught text"),
        ("throw new Error('no');", "RuntimeError", "no (line 1)"),
        (
            "class MyError extends Error {}\nMyError.prototype.name = 'MyError';\nthrow new MyError('m');",
            "MyError",
            "m",
        ),
        ("Promise.reject(new RangeError('later'));", "RangeError", "later (line 1)"),
        ("require('assert').strictEqual(1, 2);", "AssertionError", "Expected values to be strictly equal:"),
        ("JSON.parse('{');", "SyntaxError", ""),
        ("console.error('TypeError: told\\n    at x'); process.exit(1);", "TypeError", "status 1"),
    ],
)
def test_an_uncaught_exception_of_javascript_has_its_name(
    code: str, error_type: str, message: str, run: Runner
) -> None:
    result = run(code, language="js")
    assert (result.verdict, result.error_type, result.compile_success) == ("RUNTIME_ERROR", error_type, True)
    assert message in (result.error_message or "")


def test_javascript_may_be_written_as_a_module(run: Runner) -> None:
    code = 'import { twice } from "./twice.mjs";\nconsole.log(await Promise.resolve(twice(2)));\n'
    result = run(code, language="js", files={"twice.mjs": "export const twice = (n) => 2 * n;\n"})
    assert (result.verdict, result.stdout) == ("OK", "4\n")
    assert not run.sandbox.check_syntax('import x from "y";\nlet z = 1 1;\n', "js").valid


def test_several_sources_are_one_program(run: Runner) -> None:
    header = {"twice.h": "int twice(int);\n", "twice.c": '#include "twice.h"\nint twice(int n) { return 2 * n; }\n'}
    code = '#include <stdio.h>\n#include "twice.h"\nint main(void) { printf("%d\\n", twice(2)); }\n'
    assert run(code, language="c", files=header).stdout == "4\n"
    module = {"twice.rs": "pub fn twice(n: i32) -> i32 {\n    2 * n\n}\n"}
    code = 'mod twice;\nfn main() {\n    println!("{}", twice::twice(2));\n}\n'
    assert run(code, language="rust", files=module).stdout == "4\n"


def test_a_file_that_has_the_name_of_what_is_compiled_does_not_stop_it(run: Runner) -> None:
    assert run("int main(void) { return 0; }\n", language="c", files={"program": "text"}).verdict == "OK"


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("c", '#include "/dev/zero"\nint main(void) { return 0; }\n'),
        (
            "cpp",
            "template <int n> struct A { static const int v = A<n + 1>::v + A<n + 2>::v; };\nint main() { return A<0>::v; }\n",
        ),
        (
            "rust",
            'const fn f(n: u64) -> u64 {\n    let mut i = 0;\n    while i < n {\n        i += 1;\n    }\n    i\n}\nconst X: u64 = f(u64::MAX);\nfn main() {\n    println!("{}", X);\n}\n',
        ),
        ("c", "volatile int a[1 << 30] = {1};\nint main(void) { return a[1] - 1; }\n"),
    ],
    ids=["endless include", "templates", "endless constant", "large data"],
)
def test_a_compiler_bomb_is_only_a_compile_error(language: str, code: str, nothing_leaks: int, bombed: Runner) -> None:
    del nothing_leaks
    result = bombed(code, language=language)
    assert (result.success, result.compile_success, result.verdict) == (False, False, "COMPILE_ERROR")
    assert result.error_type in {"CompileError", "LinkError"}


@pytest.fixture(scope="session")
def strict(shared: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose compilers get little."""
    del shared
    home = tmp_path_factory.mktemp("strict")
    share_go_cache(home)
    sandbox = Sandbox(
        settings_with(home, compile_timeout_s=3.0, compile_memory_bytes=256 << 20, compile_workspace_bytes=32 << 20)
    )
    warm_up(sandbox)
    yield sandbox
    sandbox.close()


@pytest.fixture
def bombed(strict: Sandbox) -> Runner:
    return Runner(strict)


def test_a_compiler_cannot_read_the_host(run: Runner, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h"
    secret.write_text("#error readable\n", encoding="utf-8")
    result = run(f'#include "{secret}"\nint main(void) {{ return 0; }}\n', language="c")
    assert "No such file or directory" in (result.error_message or "")


@pytest.mark.parametrize("name", ["cobol", "", "c#", "nodejs "])
def test_an_unknown_language_is_refused(name: str, run: Runner) -> None:
    with pytest.raises(UnknownLanguageError, match="known are: python, javascript"):
        run.sandbox.check_syntax("x", name)


@pytest.mark.parametrize("language", ["c", "bash", "javascript"])
def test_without_isolation_the_same_languages_run_and_say_so(language: str, tmp_path: Path) -> None:
    sandbox = Sandbox(settings_with(tmp_path, isolation="none"))
    try:
        result = Runner(sandbox)(SAMPLES[language].echo, language=language, stdin="x\n")
        broken = Runner(sandbox)(SAMPLES[language].broken, language=language)
    except SandboxUnavailableError as error:
        pytest.skip(error.message)
    finally:
        sandbox.close()
    assert (result.verdict, result.stdout, result.isolation) == ("OK", "hi é\nx\n", "none")
    assert broken.error_type == SAMPLES[language].broken_error[0]
