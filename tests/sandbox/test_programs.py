"""Plain runs: the documented fields, and edges by name."""

# ruff: noqa: E501 - a program inside a string keeps its statements together

import json

import pytest

from sandbox.errors import InvalidRequestError, UnknownLanguageError
from tests.sandbox.machine import Runner


def test_a_plain_run_counts_as_not_tested(run: Runner) -> None:
    result = run("print('hello from sandbox')")
    assert (result.success, result.stdout, result.stderr) == (True, "hello from sandbox\n", "")
    assert (result.tests_run, result.tests_passed, result.result_trust) == (0, 0, "not_tested")
    assert (result.verdict, result.exit_code, result.error_type, result.error_message) == ("OK", 0, None, None)
    assert result.peak_memory_bytes


@pytest.mark.parametrize(
    ("code", "error_type", "message"),
    [
        ("1/0", "ZeroDivisionError", "division by zero (line 1)"),
        ("x = 1\nprint(y)", "NameError", "name 'y' is not defined (line 2)"),
        ("import no_such", "ImportError", "No module named 'no_such' (line 1)"),
        (
            "def f():\n    x += 1\nx = 1\nf()",
            "NameError",
            "cannot access local variable 'x' where it is not associated with a value (line 2)",
        ),
        (
            "exec('if 1:\\nx')",
            "SyntaxError",
            "expected an indented block after 'if' statement on line 1 (<string>, line 2) (line 1)",
        ),
        ("raise Exception('m')", "RuntimeError", "m (line 1)"),
        ("open('no')", "FileNotFoundError", "[Errno 2] No such file or directory: 'no' (line 1)"),
        ("raise KeyError('k')", "KeyError", "'k' (line 1)"),
        ("def f():\n    f()\nf()", "RecursionError", "maximum recursion depth exceeded (line 2)"),
        ("class E(Exception):\n    pass\nraise E", "E", "E (line 3)"),
        ("import sys\nsys.exit(3)", "RuntimeError", "the program exited with status 3"),
        ("raise SystemExit('bye')", "RuntimeError", "the program exited with status 1"),
        ("import os\nos._exit(137)", "RuntimeError", "the program exited with status 137"),
        ("raise SystemExit(256 + 7)", "RuntimeError", "the program exited with status 7"),
    ],
)
def test_an_error_is_named_from_the_exception(code: str, error_type: str, message: str, run: Runner) -> None:
    result = run(code)
    assert (result.success, result.verdict) == (False, "RUNTIME_ERROR")
    assert (result.error_type, result.error_message) == (error_type, message)


def test_a_traceback_shows_the_program_and_not_the_harness(run: Runner) -> None:
    result = run("def f():\n    return 1/0\nf()")
    assert "ZeroDivisionError: division by zero" in result.stderr
    assert 'solution.py", line 2, in f' in result.stderr
    assert "inside" not in result.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def foo(:\n pass", "Line 1: invalid syntax"),
        ("if 1:\nx = 1", "Line 2: IndentationError: expected an indented block after 'if' statement on line 1"),
        ("x = '\0'", "source code string cannot contain null bytes"),
    ],
)
def test_source_that_does_not_parse_is_a_compile_error(code: str, message: str, run: Runner) -> None:
    result = run(code)
    assert (result.success, result.compile_success, result.verdict) == (False, False, "COMPILE_ERROR")
    assert (result.error_type, result.error_message) == ("SyntaxError", message)
    assert result.lint_score is None


@pytest.mark.parametrize(
    "code",
    ["", "\n", "# nothing\n", "\ufeffprint(1)", "print(1)\r\nprint(2)\r\n", "# coding: utf-7\nprint('é')"],
    ids=["empty", "newline", "comment", "bom", "crlf", "cookie"],
)
def test_odd_but_valid_source_runs(code: str, run: Runner) -> None:
    assert run(code).success


@pytest.mark.parametrize("code", ["(" * 10**6, "-" * 10**6 + "1", "x = " + "[" * 3000, "9" * 10**6, "'\ud800'"])
def test_source_made_to_break_a_parser_is_only_a_compile_error(code: str, run: Runner) -> None:
    result = run(code)
    assert (result.success, result.compile_success, result.error_type) == (False, False, "SyntaxError")
    assert not run.sandbox.check_syntax(code, "python", "x.py").valid


def test_ten_megabytes_of_source_run_or_are_refused_cleanly(run: Runner) -> None:
    result = run("x = 1\n" * (10 << 20 // 6 >> 10) + "#" + "x" * (10 << 20) + "\nprint('end')")
    assert (result.success, result.stdout) == (True, "end\n")
    with pytest.raises(InvalidRequestError, match="bytes of text"):
        run("#" * (17 << 20))


def test_output_is_cut_at_its_documented_ends(run: Runner) -> None:
    result = run("import sys\nprint('a' * 9000 + 'z')\nsys.stderr.write('b' * 9000 + 'y')\nraise ValueError('m' * 900)")
    assert (len(result.stdout), result.stdout[-2:]) == (4000, "z\n")
    assert len(result.stderr) == 2000
    assert len(result.error_message or "") == 500


def test_output_that_is_no_text_becomes_text(run: Runner) -> None:
    result = run("import sys\nsys.stdout.buffer.write(bytes(range(256)) + b'end')")
    assert result.success
    assert result.stdout.endswith("end")
    assert json.loads(json.dumps(result.stdout)) == result.stdout


def test_standard_input_is_read_or_left(run: Runner) -> None:
    assert run("print(input() + input())", stdin="a\nb\n").stdout == "ab\n"
    assert run("print(1)", stdin="x" * (4 << 20)).success
    assert run("input()").error_type == "EOFError"


def test_files_are_written_beside_the_program(run: Runner) -> None:
    result = run(
        "import pkg.mod\nprint(open('data/a.txt').read(), pkg.mod.X)", files={"data/a.txt": "hé", "pkg/mod.py": "X = 1"}
    )
    assert result.stdout == "hé 1\n"


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "a/../../x", "", "a\0b", "a\nb", "a" * 300, "solution.py", "/".join("a" * 40)]
)
def test_a_file_name_that_leaves_the_workspace_is_refused(name: str, run: Runner) -> None:
    with pytest.raises(InvalidRequestError):
        run("pass", files={name: "x"})


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a", "a/b"), "a file and a folder"),
        (("b/c", "b"), "a file and a folder"),
        (("a.txt", "./a.txt"), "the same place"),
        (("./solution.py",), "the program itself"),
        (tuple(f"{number}.txt" for number in range(5000)), "at most 2048"),
        (tuple(f"{number}/" * 10 + "x" for number in range(300)), "3301 files and folders; at most 2048"),
        (("/".join("a" * 200 for _ in range(6)),), "cannot be used"),
    ],
    ids=["folder", "below the program", "twice", "program", "many", "deep", "long"],
)
def test_files_that_cannot_all_be_written_are_refused(names: tuple[str, ...], reason: str, run: Runner) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        run("pass", files=dict.fromkeys(names, "x"))


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_that_is_no_time_is_refused(timeout_s: float, run: Runner) -> None:
    with pytest.raises(InvalidRequestError):
        run("pass", timeout_s=timeout_s)


def test_an_unknown_language_is_refused_everywhere(run: Runner) -> None:
    with pytest.raises(UnknownLanguageError, match="python"):
        run("pass", language="cobol")
    with pytest.raises(UnknownLanguageError):
        run.sandbox.check_syntax("pass", "cobol", "x")


def test_an_alias_of_a_language_is_that_language(run: Runner) -> None:
    assert run("print(1)", language=" PY ").success


def test_a_timeout_says_how_long_it_waited(run: Runner) -> None:
    result = run("print('start')\nwhile True: pass", timeout_s=0.4)
    assert (result.verdict, result.error_type, result.exit_code) == ("TIME_LIMIT", "Timeout", None)
    assert result.error_message == "Execution timed out after 0.4s"
    assert result.stdout == "start\n"


def test_threads_and_exit_handlers_finish_as_in_python(run: Runner) -> None:
    code = (
        "import atexit, threading, time\natexit.register(print, 'atexit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\nprint('main')"
    )
    assert run(code).stdout == "main\nthread\natexit\n"


def test_the_interpreter_and_its_late_imports_work(run: Runner) -> None:
    code = "import subprocess, sys, xml.dom.minidom, sqlite3\nprint(subprocess.run([sys.executable, '-c', 'print(6*7)'], capture_output=True, text=True).stdout)"
    assert run(code).stdout == "42\n\n"


@pytest.mark.parametrize("module", ["numpy", "pydantic", "sandbox", "pylint", "sandbox.inside.job"])
def test_packages_of_the_product_are_not_there(module: str, run: Runner) -> None:
    assert run(f"import {module}").error_type == "ImportError"


def test_multiprocessing_works_inside(run: Runner) -> None:
    code = "import multiprocessing as m\nif __name__ == '__main__':\n    with m.Pool(2) as p:\n        print(p.map(abs, [-1, -2]))"
    assert run(code).stdout == "[1, 2]\n"


def test_syntax_check_reports_without_running(run: Runner) -> None:
    report = run.sandbox.check_syntax("def foo(:\n pass", "python", "main.py")
    assert (report.valid, report.errors, report.language) == (
        False,
        ("SyntaxError: invalid syntax (line 1)",),
        "python",
    )
    assert run.sandbox.check_syntax("import os; os._exit(1)", "py", "main.py").valid


@pytest.mark.parametrize(
    ("filename", "message"),
    [
        (None, "SyntaxError: invalid syntax (line 1)"),
        ("", "SyntaxError: invalid syntax (line 1)"),
        ("main.py", "SyntaxError: invalid syntax (line 1)"),
        ("tools/add.py", "SyntaxError: invalid syntax (tools/add.py, line 1)"),
    ],
)
def test_a_syntax_error_names_the_file_that_was_given(filename: str | None, message: str, run: Runner) -> None:
    assert run.sandbox.check_syntax("def foo(:\n pass", "python", filename).errors == (message,)


@pytest.mark.parametrize(
    "name", ["a\0b.py", "x" * 5000, "../../a.py", "\udcff.py"], ids=["nul", "long", "path", "surrogate"]
)
def test_a_name_that_no_file_can_have_makes_no_text_invalid(name: str, run: Runner) -> None:
    assert run.sandbox.check_syntax("x = 1\n", "python", name).valid
    (error,) = run.sandbox.check_syntax("x = = 1\n", "python", name).errors
    assert error.startswith("SyntaxError: invalid syntax (")
    assert json.loads(json.dumps(error).encode()) == error


def test_a_syntax_error_without_a_line_still_names_the_file(run: Runner) -> None:
    (error,) = run.sandbox.check_syntax("x = '\0'", "python", "add.py").errors
    assert error == "SyntaxError: source code string cannot contain null bytes (add.py)"


def test_the_lint_score_is_pylints_own(run: Runner) -> None:
    assert run("import os\nprint( 1)\n", lint=True).lint_score == 5.0
    assert run('"""Doc."""\nprint(1)\n', lint=True).lint_score == 10.0
    assert run("", lint=True).lint_score is None
    assert run("def (", lint=True).lint_score is None


@pytest.mark.parametrize(
    ("code", "score"),
    [
        ("print(1)", 10.0),
        ("def add(a, b):\n    return a + b\n", 10.0),
        ("class A(Exception):\n    pass", 10.0),
        ("def f(): return 1", 5.0),
    ],
)
def test_a_snippet_is_not_rated_down_for_what_only_a_file_has(code: str, score: float, run: Runner) -> None:
    assert run(code, lint=True).lint_score == score


def test_languages_name_their_toolchain(run: Runner) -> None:
    python = run.sandbox.languages()[0]
    assert (python.name, python.aliases) == ("python", ("py", "python3"))
    assert (python.version or "").startswith("Python 3.")
