"""Tests of Go programs: functions `TestX(t *testing.T)`, with the parts of testify that small tests use.

Program and tests become one package of a module without dependencies; a `TestMain` of ours runs each test and reports
it. All runs in one process. Not covered: a program that searches its own memory for the nonce that signs reports.
"""

import re
from pathlib import PurePosixPath

from sandbox.recipes import Recipe, Step
from sandbox.suites import testify
from sandbox.suites.plans import BINARY, Sources, SuiteError, SuitePlan, driver, no_tests
from sandbox.suites.scan import Scanned, edit, scan

CONVENTION = "func TestX(t *testing.T)"
TEST_FILE = "solution_test.go"
MODULE = "cinque.local/solution"
_OWN = "cinqueOwn"  # before the names of tests, whose own names their watchers take
TESTIFY = "github.com/stretchr/testify"
_TEST = r"^func\s+(?P<name>Test(?:[^a-z\s(]\w*)?)\s*\(\s*(?P<t>\w+)\s+\*\s*testing\.T\s*\)"
_PACKAGE = r"^\s*package\s+(?P<name>\w+)"
_NAMES = r"(?P<names>\w+(?:[ \t]*,[ \t]*\w+)*)"
_DECLARED = rf"^[ \t]*(?:func|const|var|type)\s+{_NAMES}"
_GROUPED = rf"(?:^|(?<=[(;]))[ \t]*{_NAMES}"
_PREDECLARED = frozenset(
    (
        *("true", "false", "nil", "iota", "append", "cap", "copy", "len", "make", "new", "panic", "recover", "bool"),
        *("byte", "error", "float32", "float64", "int", "int8", "int16", "int32", "int64", "rune", "string"),
        *("uint", "uint8", "uint16", "uint32", "uint64"),
    )
)
_IMPORTED = re.compile(r"(?P<alias>[\w.]+[ \t]+)?\"(?P<path>[^\"\n]+)\"")
_KNOWN = {
    "testing": "testing", "assert": f"{TESTIFY}/assert", "require": f"{TESTIFY}/require", "fmt": "fmt", "math": "math",
    "sort": "sort", "strings": "strings", "strconv": "strconv", "reflect": "reflect", "errors": "errors",
    "time": "time", "rand": "math/rand", "bytes": "bytes", "os": "os",
    "sync": "sync", "unicode": "unicode", "regexp": "regexp",
}  # fmt: skip


def _package(found: Scanned) -> str | None:
    match = next(found.find(_PACKAGE), None)
    return match["name"] if match else None


def _imports(found: Scanned) -> list[tuple[int, int, str, str]]:
    """Return start, end, name and path of every import."""
    listed = []
    for match in found.find(r"(?:^|(?<=;))[ \t]*import\b[ \t]*", depth=0):
        opening = match.end()
        is_block = found.blank[opening : opening + 1] == "("
        line_end = found.text.find("\n", opening)
        end = found.closing(opening) if is_block else line_end if line_end >= 0 else len(found.text)
        for one in _IMPORTED.finditer(found.text, opening, end):
            if found.blank[one.start("path") - 1] == '"':
                name = (one["alias"] or one["path"].rpartition("/")[2]).strip()
                listed.append((one.start(), one.end(), name, one["path"]))
    return listed


def with_package(text: str, package: str) -> str:
    """Return the text as part of a package; the clause is added or renamed in the first line."""
    found = scan(text, "go")
    match = next(found.find(_PACKAGE), None)
    if match is None:
        return f"package {package}; {text.lstrip(chr(0xFEFF))}"
    return edit(text, [(match.start("name"), match.end("name"), package)])


def _with_fitting_imports(text: str) -> str:
    """Return tests without imports that they do not use, which Go refuses, and with common ones that they lack."""
    found = scan(text, "go")
    imports = _imports(found)
    changes = []
    for start, end, name, path in imports:
        is_used = name in {"_", "."} or re.search(rf"(?<![\w.]){re.escape(name)}\s*\.", found.blank) is not None
        changes += [] if is_used else [(start, end, f'_ "{path}"')]
    names = {name for _, _, name, _ in imports}
    defined = {match[1] for match in found.find(r"\b(\w+)\s*(?::=|\bfunc\b)")}
    used = {match[1] for match in found.find(r"(?<![\w.])(\w+)\s*\.\s*[A-Z]")}
    lacking = sorted((used - names - (defined - {"assert", "require"})) & set(_KNOWN))
    package = next(found.find(_PACKAGE), None)
    if lacking and package is not None:
        added = "; ".join(f'import "{_KNOWN[name]}"' for name in lacking)
        changes.append((package.end(), package.end(), f"; {added}"))
    return edit(text, changes)


def _refuse_tampering(code: Scanned, used: frozenset[str]) -> None:
    """Refuse a program that reaches for the tests' text or the runner's, or that redefines what tests judge with."""
    directive = re.search(r"//go:(?:linkname|embed)\b", code.text)
    if directive is not None:
        raise SuiteError("TestsTampered", f"the program uses {directive.group()}, which could reach into its tests")
    lists = [match["names"] for match in code.find(_DECLARED, depth=0)]
    for block in code.find(r"^[ \t]*(?:const|var|type)\s*(?=\()", depth=0):
        end = code.closing(block.end())
        lists += [match["names"] for match in code.find(_GROUPED, depth=1) if block.end() < match.start() < end]
    declared = {name.strip() for names in lists for name in names.split(",")}
    replaced = sorted(declared & used & _PREDECLARED)
    if replaced:
        text = f"the program declares {', '.join(replaced)}, which the tests use as Go's own"
        raise SuiteError("TestsTampered", text)


def _refuse_idle(found: Scanned) -> None:
    """Refuse a test that has no means to fail: it neither uses its `t`, but for a log, nor ends the program."""
    for match in found.find(_TEST, depth=0):
        opening = found.blank.find("{", match.end())
        body = found.blank[opening : found.closing(opening)] if opening >= 0 else ""
        t = re.escape(match["t"])
        heard = re.sub(rf"\b{t}\s*\.\s*(?:Logf?|Parallel|Helper|Name)\b", "", body)
        if not re.search(rf"\b(?:{t}|panic|assert|require|Exit|Fatal\w*|Panic\w*)\b", heard):
            text = f"{match['name']} cannot fail, whatever the program does: call {match['t']}.Errorf in it"
            raise SuiteError("TestChecksNothing", text)


def _has_checking_goroutines(found: Scanned) -> bool:
    """Tell whether a `go func() { ... }` of the tests checks something by the `t` of a test."""
    names = {match["t"] for match in found.find(_TEST, depth=0)}
    for match in found.find(r"\bgo\s+(?:func\b|\w+\s*\()"):
        opening = found.blank.find("{", match.end())
        is_literal = match.group().endswith("func") and opening >= 0
        body = (
            found.blank[opening : found.closing(opening)] if is_literal else found.blank[match.start() :].split("\n")[0]
        )
        if re.search(rf"\b(?:{'|'.join(map(re.escape, names))}|assert|require|panic)\b", body):
            return True
    return False


def _main(tests: list[str], package: str, events: str, *, has_goroutines: bool) -> str:
    watched = "".join(
        f'\nfunc {name}(t *testing.T) {{ {events}.Watch(t, "{name}", {_OWN}{name}) }}\n' for name in tests
    )
    return (
        f'package {package}\n\nimport (\n\t"testing"\n\n\t{events} "{MODULE}/{events}"\n)\n\n'
        f"// TestMain stands for the standard one.\nfunc TestMain(m *testing.M) {{ "
        f"{events}.Checks = {str(has_goroutines).lower()}; {events}.Run(m) }}\n{watched}"
    )


def _renamed(text: str, tests: list[str]) -> str:
    """Return the tests under names that the standard runner does not look for."""
    found = scan(text, "go")
    names = "|".join(tests)
    return edit(text, [(m.start(), m.start(), _OWN) for m in found.find(rf"(?<![\w.])(?:{names})\b(?=\s*\()")])


def plan(sources: Sources) -> SuitePlan:
    """Plan the tests of a Go program. Raises `SuiteError`."""
    found = scan(sources.test_code, "go")
    tests = [match["name"] for match in found.find(_TEST, depth=0) if match["name"] != "TestMain"]
    if not tests:
        raise no_tests(CONVENTION)
    if any(found.find(r"^func\s+TestMain\b", depth=0)):
        raise SuiteError("UnsupportedTests", "TestMain is not supported: the sandbox runs each test itself")
    _refuse_idle(found)
    code = scan(sources.code, "go")
    _refuse_tampering(code, found.identifiers())
    events = f"cinque{sources.digest}"  # the program cannot name it, so it cannot link to what is inside
    package = _package(code) or (_package(found) or "main").removesuffix("_test") or "main"
    module = f"module {MODULE}\n\ngo 1.18\n\nrequire {TESTIFY} v1.0.0\n\nreplace {TESTIFY} => ./cinque_testify\n"
    others = {name: text for name, text in sources.files.items() if name != "go.mod" and not name.endswith("_test.go")}
    files = {
        sources.source_name: with_package(sources.code, package),
        **{
            name: with_package(text, package)
            if name.endswith(".go") and PurePosixPath(name).parent == PurePosixPath()
            else text
            for name, text in others.items()
        },
        TEST_FILE: _renamed(_with_fitting_imports(with_package(sources.test_code, package)), tests),
        "cinque_main_test.go": _main(tests, package, events, has_goroutines=_has_checking_goroutines(found)),
        f"{events}/events.go": driver("events.go"),
        "cinque_testify/go.mod": f"module {TESTIFY}\n\ngo 1.18\n",
        "cinque_testify/assert/assert.go": testify.source("assert"),
        "cinque_testify/require/require.go": testify.source("require"),
        "go.mod": module,
    }
    argv = ("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", BINARY, ".")
    recipe = Recipe(files, (Step(argv),), (BINARY,), (f"./{BINARY}",), "go")
    return SuitePlan(recipe, tuple(tests), test_files=(TEST_FILE, "cinque_main_test.go"))
