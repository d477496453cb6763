"""The documented classes of error, recognised in their documented order, and only where an error stands."""

import pytest

from sandbox.failures import CLASSES, SCANNED_CHARS, classify, named
from sandbox.types import Verdict

IN_DOCUMENTED_ORDER = [
    *("SyntaxError", "NameError", "TypeError", "ValueError", "ImportError", "IndexError", "KeyError", "AttributeError"),
    *("ZeroDivisionError", "FileNotFoundError", "ReferenceError", "CompileError", "LinkError", "NotFoundError"),
    "Timeout",
]


def test_the_order_is_the_documented_one() -> None:
    assert [name for name, _ in CLASSES] == IN_DOCUMENTED_ORDER


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("  File 'x', line 1\nSyntaxError: invalid syntax", "SyntaxError"),
        ("IndentationError: unexpected indent", "SyntaxError"),
        ("./solution.go:8:15: syntax error: unexpected newline in argument list", "SyntaxError"),
        ("solution.sh: line 3: syntax error: unexpected end of file", "SyntaxError"),
        ("Traceback ...\nNameError: name 'x' is not defined", "NameError"),
        ("Uncaught TypeError: x is not a function", "TypeError"),
        ("json.decoder.JSONDecodeError: x", "RuntimeError"),
        ("ModuleNotFoundError: No module named 'x'", "ImportError"),
        ("Error: Cannot find module 'lodash'", "ImportError"),
        ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'lodash' imported from x", "ImportError"),
        ("2026/01/01 12:00:00 open no.txt: no such file or directory", "NotFoundError"),
        ("KeyError: 'k'", "KeyError"),
        ("ZeroDivisionError: division by zero", "ZeroDivisionError"),
        ("/sandbox/work/solution.js:1\nReferenceError: x is not defined\n    at f", "ReferenceError"),
        ("AssertionError", "RuntimeError"),
        ("solution.c:4:20: error: 'totl' undeclared", "CompileError"),
        ("error[E0425]: cannot find value `totl` in this scope", "CompileError"),
        ("solution.ts(2,19): error TS2353: Object literal", "CompileError"),
        ("x [ERROR] Unexpected token", "CompileError"),
        ("b.c:(.text+0xa): undefined reference to `f'\ncollect2: error: ld returned 1 exit status", "LinkError"),
        ("error: linking with `cc` failed: exit status: 1", "LinkError"),
        ("solution.sh: line 2: nosuch: command not found", "NotFoundError"),
        ("cat: nope.txt: No such file or directory", "NotFoundError"),
        ("Execution timed out after 30s", "Timeout"),
        ("something else", "RuntimeError"),
        ("panic: runtime error: index out of range [3] with length 3", "RuntimeError"),
        ("", None),
        (" \n", None),
    ],
)
def test_a_text_has_its_class(stderr: str, expected: str | None) -> None:
    assert classify(stderr) == expected


def test_of_several_classes_the_first_in_order_counts() -> None:
    assert classify("KeyError: 'k'\nValueError: no k") == "ValueError"


@pytest.mark.parametrize("text", ["I caught a KeyError: fine", "no_error: 3", "see TypeError docs", "errors: none"])
def test_a_class_that_is_only_mentioned_does_not_count(text: str) -> None:
    assert classify(text) == "RuntimeError"


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [(Verdict.TIME_LIMIT, "Timeout"), (Verdict.MEMORY_LIMIT, "MemoryLimit"), (Verdict.OUTPUT_LIMIT, "OutputLimit")],
)
def test_a_limit_decides_whatever_the_program_wrote(verdict: Verdict, expected: str) -> None:
    assert classify("NameError: forged", verdict) == expected
    assert classify("", verdict) == expected


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("prog: error: the following arguments are required", "RuntimeError"),
        ("x.o: undefined reference to `f'", "RuntimeError"),
        ("the connection timed out", "RuntimeError"),
        ("x.c:1:1: error: told\nTypeError: meant", "TypeError"),
        ("", None),
    ],
)
def test_what_ran_has_no_class_of_compiling_and_is_no_timeout(stderr: str, expected: str | None) -> None:
    assert classify(stderr, Verdict.RUNTIME_ERROR) == expected


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("KeyError", "", "KeyError"),
        ("ModuleNotFoundError", "", "ImportError"),
        ("UnboundLocalError", "", "NameError"),
        ("TabError", "", "SyntaxError"),
        ("RecursionError", "KeyError: told", "RecursionError"),
        ("Own", "", "Own"),
        ("SIGSEGV", "", "SIGSEGV"),
        ("Exception", "", "RuntimeError"),
        ("Error", "Cannot find module 'x'", "ImportError"),
        ("Error", "ENOENT: no such file or directory, open 'x'", "NotFoundError"),
        ("Error", "TypeError: told", "RuntimeError"),
        ("Panic", "index out of range [3] with length 3", "RuntimeError"),
        ("panic", "", "RuntimeError"),
    ],
)
def test_an_error_that_its_runtime_names_has_its_documented_class(name: str, message: str, expected: str) -> None:
    assert named(name, message) == expected


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("solution.py:1: KeyError: 'k'", "CompileError"),
        ("KeyError: in a quoted line", "CompileError"),
        ("", "CompileError"),
        ("SyntaxError: Unexpected number", "SyntaxError"),
        ("/usr/bin/ld: b.c: undefined reference to `f'\ncollect2: error: ld returned 1 exit status", "LinkError"),
    ],
)
def test_what_did_not_compile_has_a_class_of_compiling(stderr: str, expected: str) -> None:
    assert classify(stderr, Verdict.COMPILE_ERROR) == expected


def test_of_a_huge_text_both_ends_are_read() -> None:
    filler = "x" * SCANNED_CHARS
    assert classify(f"NameError: a\n{filler}{filler}") == "NameError"
    assert classify(f"{filler}{filler}\nNameError: a") == "NameError"
    assert classify("error: " * 200_000) == "CompileError"
