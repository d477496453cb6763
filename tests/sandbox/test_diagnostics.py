"""Compilers' and runtimes' words are read for what they say, and only after the fact of a failure is known."""

# ruff: noqa: E501 - what tools print keeps its lines

import signal

import pytest

from sandbox import crashes, diagnostics
from sandbox.crashes import Crash, Ending
from sandbox.diagnostics import Diagnostic

OLD_RUST = "thread 'main' panicked at 'no luck', solution.rs:2:5\nnote: run with `RUST_BACKTRACE=1`\n"
NEW_RUST = "\nthread 'main' (7) panicked at solution.rs:3:9:\nno luck\nnote: run with\n"
GO_PANIC = "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/sandbox/work/solution.go:4 +0x1\nexit status 2\n"
NODE = "/w/solution.js:2\n  throw new E('m');\n  ^\n\nTypeError: m\n    at f (/w/solution.js:2:9)\n\nNode.js v20.1.0\n"


@pytest.mark.parametrize(
    ("read", "text", "first"),
    [
        (
            diagnostics.gcc,
            "a.c:1:2: warning: w\na.c: In function 'main':\na.c:3:5: error: x undeclared\na.c:9:1: error: y\n",
            Diagnostic("CompileError", "x undeclared", 3),
        ),
        (diagnostics.gcc, "a.c:1:10: fatal error: n.h: No such file\n", Diagnostic("CompileError", "n.h: No such file", 1)),
        (
            diagnostics.gcc,
            "/usr/bin/ld: /tmp/x.o: in function `main':\na.c:(.text+0x5): undefined reference to `f'\ncollect2: error: ld\n",
            Diagnostic("LinkError", "undefined reference to `f'"),
        ),
        (diagnostics.gcc, "cc1: out of memory allocating 65536 bytes\n", Diagnostic("CompileError", "cc1: out of memory allocating 65536 bytes")),
        (diagnostics.gcc, "", Diagnostic("CompileError", diagnostics.NOTHING_SAID)),
        (
            diagnostics.rustc,
            "warning: unused\n --> s.rs:1:1\n\nerror[E0308]: mismatched types\n  --> s.rs:7:18\n   |\nerror: aborting due to 1 previous error\n",
            Diagnostic("CompileError", "mismatched types [E0308]", 7),
        ),
        (
            diagnostics.rustc,
            "error: linking with `cc` failed: exit status: 1\n  = note: rust-lld: error: undefined symbol: nope\n",
            Diagnostic("LinkError", "undefined symbol: nope"),
        ),
        (diagnostics.go, "# command-line-arguments\n./s.go:4:2: undefined: x\n", Diagnostic("CompileError", "undefined: x", 4)),
        (diagnostics.node, "/w/a.js:3\nlet x = ;\n        ^\n\nSyntaxError: Unexpected token ';'\n    at x\n", Diagnostic("SyntaxError", "Unexpected token ';'", 3)),
        (diagnostics.bash, "s.sh: line 3: syntax error near `fi'\ns.sh: line 3: `fi'\n", Diagnostic("SyntaxError", "syntax error near `fi'", 3)),
    ],
)  # fmt: skip
def test_the_first_error_of_a_compiler_is_read(read: diagnostics.Reader, text: str, first: Diagnostic) -> None:
    assert read(text)[0] == first


def test_a_report_holds_a_limited_number_of_errors() -> None:
    text = "".join(f"a.c:{line}:1: error: e\n" for line in range(1, 1000))
    assert len(diagnostics.gcc(text)) == diagnostics.MAX_ERRORS


@pytest.mark.parametrize(
    ("explain", "ending", "crash"),
    [
        (crashes.rust, Ending(101, None, OLD_RUST), Crash("Panic", "no luck", 2)),
        (crashes.rust, Ending(101, None, NEW_RUST), Crash("Panic", "no luck", 3)),
        (crashes.rust, Ending(1, None, 'Error: "no"\n'), Crash("Error", '"no"')),
        (crashes.rust, Ending(0, None, NEW_RUST), None),
        (crashes.rust, Ending(1, None, NEW_RUST), None),
        (crashes.go, Ending(2, None, GO_PANIC), Crash("Panic", "boom", 4)),
        (crashes.go, Ending(1, None, GO_PANIC), None),
        (crashes.go, Ending(2, None, "panic: printed by the program\n"), None),
        (crashes.node, Ending(1, None, NODE), Crash("TypeError", "m", 2)),
        (crashes.node, Ending(1, None, NODE + "and more\n"), None),
        (crashes.node, Ending(2, None, NODE), None),
        (crashes.cpp, Ending(None, signal.SIGABRT, "terminate called after throwing an instance of 'int'\n"), Crash("int", "int")),
        (crashes.cpp, Ending(1, None, "terminate called after throwing an instance of 'int'\n"), None),
        (crashes.nothing, Ending(1, None, NODE), None),
    ],
)  # fmt: skip
def test_a_runtime_explains_only_the_ending_that_it_causes(
    explain: crashes.Explainer, ending: Ending, crash: Crash | None
) -> None:
    assert explain(ending) == crash


@pytest.mark.parametrize("line", ["A: b\n", "x" * 79 + "\n", "    at f\n", "/a:1\n", "error: \n", "\n"])
def test_no_text_keeps_a_reader_busy(line: str) -> None:
    text = (line * (32_768 // len(line)))[:32_768]
    for read in (diagnostics.gcc, diagnostics.rustc, diagnostics.go, diagnostics.node, diagnostics.bash):
        read(text)
    for explain in (crashes.node, crashes.go, crashes.rust, crashes.cpp):
        for status in (1, 2, 101):
            explain(Ending(status, None, text[-crashes.TAIL_CHARS :] + "\n\nNode.js v20.1.0\n"))
