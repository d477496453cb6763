"""TypeScript: translated and run, its types checked apart, its syntax checked without looking at types."""

import threading
from pathlib import Path

import pytest

from sandbox.errors import ExecutionCancelledError, InvalidRequestError, ToolchainMissingError
from sandbox.node_tools import find_node_tools
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.types import ExecutionRequest
from sandbox.typescript import read_errors, read_type_errors
from tests.sandbox.machine import Runner, processes_below, settings_with, wait_until_no_more_than

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def ts(run: Runner) -> Runner:
    """Runs TypeScript; skips where its tools are not installed."""
    if find_node_tools(SandboxSettings().cache_folder) is None:
        pytest.skip("TypeScript's tools are not installed; make setup does it")
    return Typed(run.sandbox)


class Typed(Runner):
    """A runner of TypeScript."""

    def __call__(self, code: str, tests: str | None = None, **fields: object) -> object:  # type: ignore[override]  # as the parent's, in another language
        return super().__call__(code, tests, language="typescript", **fields)


TYPED = """import fs from "fs";
import * as path from "node:path";
interface Point { x: number; y: number }
enum Kind { Near, Far }
class Box<T> { constructor(private readonly held: T) {} get(): T { return this.held; } }
const p: Point = { x: 1, y: 2 };
console.log(p.x + p.y, Kind[Kind.Far], new Box("b").get(), path.basename("/a/b"), fs.existsSync("/nowhere"));
process.stdout.write(`${process.argv.length} ${Buffer.from("x").length} ${new URL("http://a/b").pathname}\\n`);
const name = [3, 1].toSorted();
console.log(name, structuredClone({ a: 1 }), setTimeout(() => {}, 0) !== null, typeof fetch);
"""


def test_a_typed_program_runs_and_its_types_are_right(ts: Runner) -> None:
    result = ts(TYPED)
    assert (result.success, result.compile_success, result.verdict) == (True, True, "OK"), result
    assert result.stdout == "3 Far b b false\n2 1 /b\n[ 1, 3 ] { a: 1 } true function\n"
    assert (result.type_errors, result.stderr, result.lint_score) == ((), "", None)


def test_type_errors_are_told_apart_and_the_program_still_runs(ts: Runner) -> None:
    result = ts("const n: number = 'one';\nfunction twice(a) { return a + a; }\nconsole.log(n, twice(2));\n")
    assert (result.success, result.compile_success, result.verdict) == (True, False, "OK"), result
    assert result.stdout == "one 4\n"
    assert result.type_errors == (
        "solution.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.",
        "solution.ts(2,16): error TS7006: Parameter 'a' implicitly has an 'any' type.",
    )


def test_what_does_not_parse_is_a_syntax_error_and_no_type_error(ts: Runner) -> None:
    result = ts("const a: number = 1;\nconst b: number = ;\n")
    assert (result.success, result.compile_success, result.verdict) == (False, False, "COMPILE_ERROR")
    assert (result.error_type, result.error_message) == ("SyntaxError", 'Line 2: Unexpected ";"')
    assert (result.type_errors, result.exit_code) == ((), 1)


def test_an_exception_is_named_with_its_line_of_the_source(ts: Runner) -> None:
    result = ts("interface P { x: number }\n\nconst p: P = { x: 1 };\nthrow new TypeError(`bad ${p.x}`);\n")
    assert (result.verdict, result.error_type, result.compile_success) == ("RUNTIME_ERROR", "TypeError", True)
    assert result.error_message == "bad 1 (line 4)"
    assert "solution.ts:4" in result.stderr


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("const v = await Promise.resolve(5);\nconsole.log(v, require('os').EOL.length);\nexport {};\n", "5 1\n"),
        ("console.log(import.meta.url.startsWith('file:'), typeof __dirname);\n", "true string\n"),
        ("const os = require('os');\nif (require.main === module) console.log(os.EOL.length);\n", "1\n"),
        ("import os from 'os';\nif (require.main === module) console.log(os.EOL.length);\n", "1\n"),
        ("export const a = 1;\nexport default function f(): number { return a; }\nconsole.log(f());\n", "1\n"),
    ],
)
def test_scripts_and_modules_both_run(ts: Runner, code: str, printed: str) -> None:
    result = ts(code)
    assert (result.stdout, result.verdict, result.type_errors) == (printed, "OK", ()), result


def test_a_program_may_have_several_files_and_standard_input(ts: Runner) -> None:
    code = (
        "import { twice } from './lib/twice';\nimport { two } from './two.js';\nimport data from './data.json';\n"
        "import { readFileSync } from 'fs';\nconsole.log(twice(two), data.v, readFileSync(0, 'utf8'));\n"
    )
    files = {
        "lib/twice.ts": "export const twice = (a: number): number => 2 * a;\n",
        "two.ts": "export const two: number = 2;\n",
        "data.json": '{"v": 9}',
    }
    result = ts(code, files=files, stdin="in")
    assert (result.stdout, result.type_errors) == ("4 9 in\n", ())
    broken = ts(code, files={**files, "two.ts": "export const two: string = 2;\n"})
    assert "two.ts(1,14): error TS2322: Type 'number' is not assignable to type 'string'." in broken.type_errors


def test_an_import_of_nothing_is_a_compile_error(ts: Runner) -> None:
    result = ts("import { x } from './nothing';\nconsole.log(x);\n")
    assert (result.verdict, result.error_type) == ("COMPILE_ERROR", "CompileError")
    assert result.error_message == 'Line 1: Could not resolve "./nothing"'


def test_names_of_browsers_have_types_though_nothing_else(ts: Runner) -> None:
    result = ts("function id(e: HTMLElement): string { return e.id; }\nconsole.log(typeof id, typeof document);\n")
    assert (result.stdout, result.type_errors) == ("function undefined\n", ())
    assert "TS2304" in ts("console.log(noSuchName);\n").type_errors[0]
    assert "TS2304" in ts("const a: NoSuchType = 1;\n").type_errors[0]


def test_the_syntax_check_looks_at_syntax_only(ts: Runner) -> None:
    check = ts.sandbox.check_syntax
    assert check("const n: number = 'one';\nimport { x } from './nothing';\n", "ts").valid
    report = check("let a: number = 1;\nlet b: = 2;\n", "typescript", "add.ts")
    assert (report.valid, report.language) == (False, "typescript")
    assert report.errors == ('SyntaxError: Unexpected "=" (add.ts, line 2)',)


def test_the_version_is_that_of_the_compiler(ts: Runner) -> None:
    (version,) = (language.version for language in ts.sandbox.languages() if language.name == "typescript")
    tools = find_node_tools(SandboxSettings().cache_folder)
    assert tools is not None
    assert version == tools.typescript_version


def test_types_without_end_are_stopped_and_said_to_be_unchecked(ts: Runner, tmp_path: Path) -> None:
    del ts
    deep = (
        "type Pairs<T extends unknown[]> = T extends [infer H, ...infer R] ? [H, Pairs<R>, Pairs<R>] : 0;\n"
        "const x: Pairs<[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29]> = null!;\n"
        "const y: Pairs<[0,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29]> = x;\n"
        "console.log(1);\n"
    )
    sandbox = Sandbox(settings_with(tmp_path, compile_timeout_s=3))
    try:
        result = Typed(sandbox)(deep)
    finally:
        sandbox.close()
    assert (result.stdout, result.success) == ("1\n", True)
    assert result.type_errors
    assert not result.compile_success


def test_a_cancelled_program_leaves_no_checker_behind(ts: Runner) -> None:
    ts("console.log(1);\n")
    before = processes_below()
    cancelled = threading.Event()
    timer = threading.Timer(0.3, cancelled.set)
    timer.start()
    with pytest.raises(ExecutionCancelledError):
        ts.sandbox.execute(
            ExecutionRequest("while (true) {}\nexport const q: number = 3;\n", "typescript"), cancelled=cancelled
        )
    timer.join()
    wait_until_no_more_than(before)


def test_without_its_tools_typescript_is_reported_as_missing(run: Runner, tmp_path: Path) -> None:
    del run
    sandbox = Sandbox(SandboxSettings(home=tmp_path / "home", cache=tmp_path / "nothing"))
    try:
        with pytest.raises(ToolchainMissingError, match=r"not installed.*python -m sandbox\.node_tools"):
            Typed(sandbox)("console.log(1);\n")
        assert [language.version for language in sandbox.languages() if language.name == "typescript"] == [None]
    finally:
        sandbox.close()


def test_a_bad_requirement_is_refused_in_every_language(ts: Runner) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        ts("console.log(1);\n", requirements=("-e .",))


def test_errors_of_the_tools_are_read_with_their_lines() -> None:
    said = (
        '✘ [ERROR] Expected ";" but found "x"\n\n    solution.ts:3:4:\n      3 │ let x\n\n'
        '✘ [ERROR] Could not resolve "./a"\n\n    solution.ts:1:8:\n'
    )
    assert [(error.kind, error.line) for error in read_errors(said)] == [("SyntaxError", 3), ("CompileError", 1)]
    assert read_errors("")[0].message == "the compiler failed and said nothing"
    report = "a.ts(1,2): error TS1: one\n  more of it\nnoise\nerror TS5: all\n"
    assert read_type_errors(report) == ("a.ts(1,2): error TS1: one\n  more of it", "error TS5: all")
    assert len(read_type_errors("a.ts(1,2): error TS1: one\n" * 50)) == 20
