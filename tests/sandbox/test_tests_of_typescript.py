"""Tests of TypeScript programs: heard in every style of module and of test, types erased from both texts."""

# ruff: noqa: E501 - a text of tests inside a string keeps its statements together

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.types import ExecutionResult
from tests.sandbox.machine import Runner
from tests.sandbox.tested_programs import ADD, BAD, TESTS

pytestmark = pytest.mark.timeout(60)

CODE = """import fs = require('fs');
import { twice } from './lib/twice';
export type { Foo } from './lib/twice';
export * from './lib/twice';
export { twice as double } from './lib/twice.ts';
export interface Point { x: number; y: number }
export type Pair<T> = [T, T];
export enum Kind { Near = 1, Far }
export class Box<T> { constructor(private held: T) {} get(): T { return this.held; } }
export const add = (a: number, b: number): number => a + b;
export const { a: one, two } = { a: 1, two: twice(1) };
export async function later(a: number): Promise<number> { return a; }
export function boom(): never { throw new RangeError('far'); }
export default add;
if (import.meta.url === `file://${process.argv[1]}`) { console.log('main', fs.constants.R_OK); }
"""
FILES = {
    "lib/twice.ts": "import { unit } from './unit';\nexport interface Foo { a: number }\n"
    "export const twice = (a: number): number => 2 * a * unit;\n",
    "lib/unit.ts": "export const unit: number = 1;\n",
}
HEAD = "import { add, boom, later, Box, Kind, one, two, type Point } from './solution';\n"
STYLES = {
    "registered": HEAD
    + "test('adds', (): void => { const p: Point = { x: 1, y: 2 }; expect(add(p.x, p.y)).toBe(3); });\n",
    "described": HEAD
    + "describe('add', () => { it('adds', async () => { expect(await later(add(1, 2))).toBe(3); }); });\n",
    "bare": HEAD + "const cases: [number, number, number][] = [[1, 2, 3], [0, 0, 0]];\n"
    "for (const [a, b, want] of cases) { assert.equal(add(a, b), want); }\nassert.strictEqual<number>(add(2, 2), 4);\n",
    "functions": HEAD + "const testArrow: () => void = () => { assert.equal(add(1, 1), 2); };\n"
    "export function testDeclared(): void { console.assert(add(2, 1) === 3); }\n",
    "default": "import add from './solution';\nimport assert from 'node:assert/strict';\n"
    "test('adds', () => { assert.equal(add(1, 2), 3); });\n",
    "namespace": "import * as all from './solution.ts';\ntest('adds', () => { assert.equal(all.double(all.add(1, 1)), 4); });\n",
    "dynamic": "test('adds', async () => { const m = await import('./solution'); assert.equal(m.add(1, 1), 2); });\n",
    "required": "const { add } = require('./solution');\ntest('adds', () => { assert.equal(add(1, 1), 2); });\n",
    "direct": "test('adds', () => { assert.equal(add(1, 1), 2); });\n",
    "framework": "import { describe, expect, it } from 'vitest';\nimport { add } from './solution';\n"
    "describe('add', () => { it.each([[1, 2, 3], [2, 2, 4]])('%i', (a: number, b: number, c: number) => {\n"
    "  expect(add(a, b)).toBe(c); }); });\n",
}


def _run(run: Runner, code: str, tests: str, **fields: object) -> ExecutionResult:
    try:
        return run(code, tests, language="typescript", **fields)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("style", STYLES)
def test_tests_of_each_style_pass_a_right_program_and_fail_a_wrong_one(run: Runner, style: str) -> None:
    result = _run(run, CODE, STYLES[style], files=FILES)
    assert (result.verdict, result.error_message) == ("OK", None), result
    assert result.tests_run == result.tests_passed >= 1
    wrong = _run(run, CODE.replace("a + b", "a - b - 1"), STYLES[style], files=FILES)
    assert (wrong.verdict, wrong.error_type, wrong.success) == ("WRONG_ANSWER", "AssertionError", False), wrong


def test_classes_and_enums_are_tested_beside_the_program(run: Runner) -> None:
    tests = HEAD + (
        "test('class', () => { const b = new Box<number>(3); assert.equal(b.get(), 3); });\n"
        "test('enum', () => { expect(Kind.Far).toBe(2); expect(Kind[1]).toBe('Near'); });\n"
        "test('names', () => { assert.deepEqual([one, two], [1, 2]); });\n"
    )
    result = _run(run, CODE, tests, files=FILES)
    assert (result.verdict, result.tests_passed, result.result_trust) == ("OK", 3, "in_process"), result
    assert not _run(run, CODE.replace("return this.held", "return 0 as T"), tests, files=FILES).success


def test_plain_functions_are_tested_apart_from_the_program(run: Runner) -> None:
    result = _run(run, ADD["typescript"], TESTS["typescript"])
    assert (result.verdict, result.result_trust) == ("OK", "isolated")


def test_a_program_that_throws_fails_unless_that_is_expected(run: Runner) -> None:
    tests = HEAD + "test('throws', () => { expect(() => boom()).toThrow(RangeError); assert.throws(boom, /far/); });\n"
    assert _run(run, CODE, tests, files=FILES).verdict == "OK"
    result = _run(run, CODE, HEAD + "test('boom', () => { boom(); });\n", files=FILES)
    assert (result.verdict, result.error_type, result.tests_passed) == ("WRONG_ANSWER", "RangeError", 0)
    assert "boom: far" in (result.error_message or "")


@pytest.mark.parametrize(
    "tests",
    [
        HEAD + "test('a', async () => { await expect(later(3)).resolves.toBe(4); });\n",
        HEAD + "test('a', async () => { assert.equal(await later(3), 4); });\n",
        HEAD + "test('a', () => later(3).then((n: number) => { assert.equal(n, 4); }));\n",
        HEAD + "test('nobody awaits', () => { expect(later(3)).resolves.toBe(4); });\n",
        HEAD + "test('a', async () => { await assert.rejects(later(3)); });\n",
    ],
)
def test_an_asynchronous_test_that_fails_is_heard(run: Runner, tests: str) -> None:
    result = _run(run, CODE, tests, files=FILES)
    assert (result.verdict, result.tests_run, result.tests_passed) == ("WRONG_ANSWER", 1, 0), result


def test_type_errors_of_the_program_are_told_and_its_tests_still_run(run: Runner) -> None:
    code = ADD["typescript"] + "export const n: number = 'one';\n"
    result = _run(run, code, TESTS["typescript"])
    assert (result.success, result.verdict, result.compile_success, result.tests_passed) == (True, "OK", False, 2)
    assert result.type_errors == ("solution.ts(2,14): error TS2322: Type 'string' is not assignable to type 'number'.",)


def test_type_errors_of_the_tests_are_no_concern_of_the_program(run: Runner) -> None:
    tests = (
        "import { add } from './solution';\ntest('adds', () => { const n: string = add(1, 2); assert.equal(n, 3); });\n"
    )
    result = _run(run, ADD["typescript"], tests)
    assert (result.verdict, result.compile_success, result.type_errors) == ("OK", True, ())


def test_a_text_that_does_not_parse_is_told_from_the_other(run: Runner) -> None:
    result = _run(run, "export function add(a: number, b: number) {\n  return a + ;\n}\n", TESTS["typescript"])
    assert (result.verdict, result.error_type, result.compile_success) == ("COMPILE_ERROR", "SyntaxError", False)
    assert (result.error_message or "").startswith("Line 2: ")
    result = _run(run, ADD["typescript"], TESTS["typescript"].replace("(): void", "(): "))
    assert (result.verdict, result.error_type, result.compile_success) == ("COMPILE_ERROR", "TestCompileError", True)


def test_a_program_that_throws_when_loaded_is_a_runtime_error(run: Runner) -> None:
    result = _run(run, "throw new TypeError('no');\n" + ADD["typescript"], TESTS["typescript"])
    assert (result.verdict, result.error_type, result.tests_run) == ("RUNTIME_ERROR", "TypeError", 0)


def test_an_import_of_nothing_is_no_pass(run: Runner) -> None:
    result = _run(run, "import { x } from './nothing';\n" + ADD["typescript"] + "x();\n", TESTS["typescript"])
    assert not result.success
    assert "nothing" in (result.error_message or "")


def test_a_wrong_program_keeps_its_other_tests(run: Runner) -> None:
    result = _run(run, BAD["typescript"], TESTS["typescript"])
    assert (result.tests_run, result.tests_passed) == (2, 1)
