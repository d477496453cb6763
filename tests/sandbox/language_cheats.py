"""Programs that solve nothing and want to pass their tests: every usual way, for every language.

Each entry is (language, way, variant) -> (program, tests). Ways: `summary` prints what a runner would print, `exits`
leaves before the tests have, `replaces` shadows or patches what judges, `equals` returns what is equal to anything,
`channel` closes, floods or forges what reports travel on, `reads` looks for what is expected. A way that a language does
not have is in `IMPOSSIBLE`, with the reason.
"""

# ruff: noqa: E501 - a program inside a string keeps its statements together

from tests.sandbox.compiled_cheats import C_SHADOWS, CPP, CPP_SHADOWS, GO, GO_SHADOWS, RUST, RUST_SHADOWS, C
from tests.sandbox.tested_programs import BAD, TESTS

WAYS = ("summary", "exits", "replaces", "equals", "channel", "reads")
ALL = ("python", "javascript", "typescript", "go", "rust", "c", "cpp", "bash")
IMPOSSIBLE = {
    ("go", "equals"): "== cannot be overloaded",
    ("c", "equals"): "there is no overloading",
    ("cpp", "reads"): "as C's",
    ("python", "reads"): "in tests/sandbox/hostile/cheats.py, case 100",
    ("bash", "reads"): "the texts are gone before a program runs",
}

PY_APART = "def test_adds():\n    assert add(1, 2) == 3\n"
PY_BESIDE = (
    "import pytest\n@pytest.fixture\ndef one():\n    return 1\ndef test_adds(one):\n    assert add(one, 2) == 3\n"
)
PY_BAD = "def add(a, b):\n    return 0\n"
PYTHON = {
    ("summary", "prints"): "import os\nprint('1 passed in 0.01s', flush=True)\nos._exit(0)\n",
    ("exits", "when loaded"): "import sys\nsys.exit(0)\n",
    ("exits", "in a call"): "import os\ndef add(a, b):\n    os._exit(0)\n",
    ("exits", "by a signal"): "import os, signal\ndef add(a, b):\n    os.kill(os.getpid(), signal.SIGTERM)\n",
    ("exits", "as another program"): "import os\ndef add(a, b):\n    os.execv('/bin/true', ['true'])\n",
    ("replaces", "assert"): "import builtins\nbuiltins.AssertionError = type('Quiet', (BaseException,), {})\n" + PY_BAD,
    (
        "replaces",
        "runner",
    ): "import _pytest.runner as r\nr.call_and_report = lambda *a, **k: None\nr.runtestprotocol = lambda *a, **k: []\n"
    + PY_BAD,
    (
        "equals",
        "object",
    ): "class Any(int):\n    __hash__ = None\n    def __eq__(self, other):\n        return True\ndef add(a, b):\n    return Any()\n",
    ("channel", "closes"): "import os\ndef add(a, b):\n    os.closerange(3, 256)\n    return 0\n",
    (
        "channel",
        "floods",
    ): "import os\ndef add(a, b):\n    for fd in range(3, 64):\n        try:\n            os.set_blocking(fd, False)\n            os.write(fd, b'x' * (1 << 20))\n        except OSError:\n            pass\n    return 0\n",
}

JS_APART = TESTS["javascript"]
JS_BESIDE = (
    "const { Kept } = require('./solution');\ntest('adds', () => { expect(new Kept(1).add(2)).toBe(3); });\n"
    "test('zero', () => { assert.strictEqual(add(0, 0), 0); });\n"
)
JS_BAD = "class Kept { constructor(a) { this.a = a; } add(b) { return add(this.a, b); } }\nfunction add(a, b) { return a - b - 1; }\nmodule.exports = { add, Kept };\n"
JS_CALLED = JS_BAD.replace("{ return a - b - 1; }", "{ BODY }")
JS_RUNS_TESTS = "const t = a[n.indexOf('test')]; t('adds', () => {}); t('zero', () => {}); return [];"
JAVASCRIPT = {
    ("summary", "prints"): "console.log('# tests 2\\n# pass 2\\n# fail 0');\n" + JS_BAD,
    ("exits", "when loaded"): "process.exit(0);\n",
    ("exits", "in a call"): JS_CALLED.replace("BODY", "process.exit(0);"),
    ("exits", "really"): JS_CALLED.replace("BODY", "process.reallyExit(0);"),
    ("exits", "by a signal"): JS_CALLED.replace("BODY", "process.kill(process.pid, 'SIGKILL');"),
    ("exits", "with a handler"): "process.on('exit', () => { process.exitCode = 0; });\nprocess.exit = () => {};\n"
    + JS_BAD,
    (
        "replaces",
        "assert",
    ): "const a = require('assert'); for (const k of Object.keys(a)) try { a[k] = () => {}; } catch {}\nglobalThis.assert = () => {}; console.assert = () => {};\n"
    + JS_BAD,
    (
        "replaces",
        "assert in a call",
    ): JS_CALLED.replace("BODY", "try { require('assert').strictEqual = () => {}; } catch {} return 9;"),
    (
        "replaces",
        "prototypes",
    ): "Object.prototype.toJSON = () => 'passed'; Object.prototype.valueOf = () => 3;\nArray.prototype.push = () => 0; JSON.stringify = () => '{}'; Object.is = () => true;\n"
    + JS_BAD,
    (
        "replaces",
        "matchers by a setter",
    ): JS_CALLED.replace(
        "BODY",
        "for (const k of ['toBe', 'ok']) try { Object.defineProperty(Object.prototype, k, { configurable: true, set() {}, get() { return () => {}; } }); } catch {} return 9;",
    ),
    (
        "replaces",
        "the compiler of tests",
    ): f"require('vm').compileFunction = (c, n) => (...a) => {{ {JS_RUNS_TESTS} }};\n" + JS_BAD,
    (
        "replaces",
        "iteration",
    ): "try { Object.getPrototypeOf([][Symbol.iterator]()).next = () => ({ done: true }); } catch {}\n" + JS_BAD,
    (
        "equals",
        "by its value",
    ): JS_CALLED.replace("BODY", "return { valueOf: () => 3, toString: () => '3', [Symbol.toPrimitive]: () => 3 };"),
    (
        "channel",
        "forges",
    ): 'for (const id of [\'adds\', \'zero\']) require(\'fs\').writeSync(3, `{"event":"test","id":"${id}","outcome":"passed"}\\n`);\nrequire(\'fs\').writeSync(3, \'{"event":"end"}\\n\');\n'
    + JS_BAD,
    ("channel", "closes"): JS_CALLED.replace("BODY", "require('fs').closeSync(3); return 0;"),
    (
        "channel",
        "floods",
    ): JS_CALLED.replace(
        "BODY",
        "try { for (let i = 0; i < 5; i++) require('fs').writeSync(3, 'x'.repeat(1 << 20) + '\\n'); } catch {} return 0;",
    ),
    (
        "channel",
        "takes the nonce from a buffer",
    ): 'const b = Buffer.from; Buffer.from = (s, ...r) => { const m = /nonce":"(\\w+)/.exec(String(s));\nif (m) { for (const f of [\'"event":"test","id":"adds","outcome":"passed"\', \'"event":"test","id":"zero","outcome":"passed"\', \'"event":"collected","tests":["adds","zero"]\', \'"event":"end"\']) require(\'fs\').writeSync(3, `{"nonce":"${m[1]}",${f}}\\n`); process.reallyExit(0); }\nreturn b(s, ...r); };\n'
    + JS_BAD,
    (
        "channel",
        "takes the nonce from below fs",
    ): 'try { const b = process.binding(\'fs\'); for (const k of [\'writeString\', \'writeBuffer\']) { const w = b[k]; b[k] = (fd, s, ...r) => { const m = /nonce":"(\\w+)/.exec(String(s));\nif (m) { for (const f of [\'"event":"test","id":"adds","outcome":"passed"\', \'"event":"test","id":"zero","outcome":"passed"\', \'"event":"collected","tests":["adds","zero"]\', \'"event":"end"\']) w(3, `{"nonce":"${m[1]}",${f}}\\n`, null, \'utf8\'); process.reallyExit(0); }\nreturn w(fd, s, ...r); }; } } catch {}\n'
    + JS_BAD,
    (
        "reads",
        "files",
    ): "const fs = require('fs'); let want = 0;\nfor (const d of ['.', 'cinque_suite']) for (const f of fs.readdirSync(d)) { const m = /toBe\\((\\d+)|strictEqual\\(.*?, (\\d+)/.exec(fs.statSync(d + '/' + f).isFile() && !f.startsWith('solution') ? fs.readFileSync(d + '/' + f, 'utf8') : ''); if (m) want = Number(m[1] || m[2]); }\n"
    + JS_BAD.replace("a - b - 1", "want ? (a + b) : -1"),
}
JS_SHADOWS = {
    "console": (
        "const console = { assert() {}, log() {} };\nfunction add(a, b) { return 0; }\nmodule.exports = { add };\n",
        "function testAdd() { console.assert(add(1, 2) === 3); }\n",
    ),
    "String": (
        "function String() { return '3'; }\nfunction add(a, b) { return 0; }\nmodule.exports = { add };\n",
        "test('adds', () => { assert.equal(String(add(1, 2)), '3'); });\n",
    ),
    "util": (
        "require('util').isDeepStrictEqual = () => true;\nclass Kept {}\nfunction add(a, b) { return [0]; }\nmodule.exports = { add, Kept };\n",
        "const { Kept } = require('./solution');\nconst util = require('util');\ntest('adds', () => { assert(util.isDeepStrictEqual(add(1, 2), [3])); new Kept(); });\n",
    ),
    "a matcher's string": (
        "function add() { return { includes: () => true, valueOf: () => Infinity }; }\nmodule.exports = { add };\n",
        "test('adds', () => { expect(add(1, 2)).toMatch('three'); });\ntest('more', () => { expect(add(1, 2)).toBeGreaterThan(2); });\n",
    ),
    "a promise that nobody awaits": (
        "async function add(a, b) { return 0; }\nmodule.exports = { add };\n",
        "test('adds', () => { expect(add(1, 2)).resolves.toBe(3); });\n",
    ),
}

BASH = {
    ("summary", "prints"): "add() { printf 'ok 1 - test_add\\nok 2 - test_zero\\n' >&2; echo 9; }\n",
    ("exits", "when read"): "exit 0\n",
    ("exits", "in a call"): "add() { exit 0; }\n",
    ("exits", "by a trap"): "trap 'exit 0' EXIT\n" + BAD["bash"],
    ("exits", "its tests"): "add() { kill -9 $PPID; }\n",
    ("exits", "as another program"): "add() { exec true; }\n",
    (
        "replaces",
        "builtins",
    ): "test() { return 0; }\n[() { return 0; }\nexit() { return 0; }\nbuiltin() { return 0; }\nunset() { return 0; }\nassert_eq() { return 0; }\n"
    + BAD["bash"],
    ("channel", "forges"): "add() { echo passed >&5; echo '{}' >&3; echo 9; }\n",
    ("channel", "closes"): "add() { exec 1>&- 2>&- 3>&- 4>&- 5>&- 7>&-; }\n",
    ("channel", "floods"): "add() { for fd in 3 5 7; do head -c 6000000 /dev/zero >&$fd; done 2>/dev/null; echo 9; }\n",
}
BASH_SHADOWS = {
    "more words than one": ('add() { echo "1 -o 3"; }\n', "[ $(add 1 2) -eq 3 ]\n"),
    "a negation": ('add() { echo "! x"; }\n', "test_add() {\n  [ $(add 1 2) = 3 ]\n}\n"),
    "both sides": ("add() { echo x x; }\n", "test_add() {\n  assert_eq $(add 1 2) 3\n}\n"),
    "a pattern": ("add() { echo '*'; }\n", "[[ 3 == $(add 1 2) ]]\n"),
    "a division by zero": ("add() { echo 1/0; }\n", 'test_add() { assert_eq "$(( $(add 1 2) * 2 ))" 6; }\n'),
    "a bare division by zero": ("add() { echo 1/0; }\n", '[ "$(( $(add 1 2) * 2 ))" = 6 ]\n'),
    "a readonly variable": (
        "readonly sum=3\nTOTAL=3\nadd() { echo 9; }\n",
        'test_add() {\n  sum=$(add 1 2)\n  [ "$sum" = "$TOTAL" ]\n}\ntest_sum() { [ "$sum" = 9 ]; }\n',
    ),
    "cmp": ("cmp() { return 0; }\nadd() { echo 0; }\n", "echo 3 >want\nadd 1 2 >got\ncmp -s want got\n"),
}

CHEATS: dict[tuple[str, str, str], tuple[str, str]] = {}
for _language, _programs, _tests in (
    ("python", PYTHON, {"apart": PY_APART, "beside": PY_BESIDE}),
    ("javascript", JAVASCRIPT, {"apart": JS_APART, "beside": JS_BESIDE}),
    (
        "typescript",
        JAVASCRIPT,
        {
            "apart": TESTS["typescript"].replace("import { add }", "const { add } = require('./solution'); //"),
            "beside": JS_BESIDE,
        },
    ),
    *(
        (_name, _programs, {"": TESTS[_name]})
        for _name, _programs in (("go", GO), ("rust", RUST), ("c", C), ("cpp", CPP), ("bash", BASH))
    ),
):
    for (_way, _variant), _code in _programs.items():
        for _place, _text in _tests.items():
            CHEATS[_language, _way, f"{_variant} {_place}".strip()] = (_code, _text)
for _language, _pairs in (
    *(("javascript", JS_SHADOWS), ("typescript", JS_SHADOWS), ("go", GO_SHADOWS), ("rust", RUST_SHADOWS)),
    *(("c", C_SHADOWS), ("cpp", CPP_SHADOWS), ("bash", BASH_SHADOWS)),
):
    for _variant, _pair in _pairs.items():
        CHEATS[_language, "replaces", f"fools: {_variant}"] = _pair
CHEATS |= {
    ("bash", "equals", name): CHEATS.pop(("bash", "replaces", f"fools: {name}"))
    for name in ("more words than one", "a negation", "both sides", "a pattern")
}
