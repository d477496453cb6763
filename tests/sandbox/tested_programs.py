"""One small program of each language with its tests, right and wrong."""

LANGUAGES = ("javascript", "typescript", "go", "rust", "c", "cpp", "bash")
ADD = {
    "javascript": "function add(a, b) { return a + b; }\nmodule.exports = { add };\n",
    "typescript": "export function add(a: number, b: number): number { return a + b; }\n",
    "go": "package main\n\nfunc Add(a, b int) int { return a + b }\n\nfunc main() {}\n",
    "rust": "fn add(a: i32, b: i32) -> i32 { a + b }\nfn main() {}\n",
    "c": "int add(int a, int b) { return a + b; }\nint main(void) { return 3; }\n",
    "cpp": "int add(int a, int b) { return a + b; }\nint main() { return 3; }\n",
    "bash": "add() {\n  echo $(($1 + $2))\n}\n",
}
TESTS = {
    "javascript": "test('adds', () => {\n  assert.strictEqual(add(1, 2), 3);\n});\n"
    "test('zero', () => { expect(add(0, 0)).toBe(0); });\n",
    "typescript": "import { add } from './solution';\ntest('adds', (): void => {\n"
    "  const want: number = 3;\n  assert.strictEqual(add(1, 2), want);\n"
    "});\ntest('zero', async () => { expect(add(0, 0)).toBe(0); });\n",
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
