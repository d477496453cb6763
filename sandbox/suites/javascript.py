"""Tests of JavaScript and TypeScript programs: `test`/`it`/`describe`, functions `test*`, top-level asserts.

The tests run in a node of their own and the program in another job, plain data between them. Tests that need more
than plain data (callbacks, classes, closures) are run again beside the program, behind intrinsics that were locked
before it was loaded.
"""

import json
import re
from dataclasses import replace

from sandbox.recipes import Recipe, Step
from sandbox.suites.modules import without_modules
from sandbox.suites.plans import FOLDER, Sources, SuitePlan, driver, no_tests
from sandbox.suites.scan import edit, numbered, scan
from sandbox.suites.scripts import SPEAKS, TOP, Script, statement_end

CONVENTION = "test('name', () => ...), functions test*(), top-level asserts, or a top-level throw or process.exit(1)"
# Joined into one file: what modules export to each other, a program in the same process could reach.
_DRIVER = ("report.js", "apart.js", "here.js", "checks.js", "process.js", "driver.js")
_LIBRARIES = ("codec.js", "expect.js", "chai.js", "jest.js")
_ESBUILD = ("esbuild", "--log-level=error", "--target=es2022")
BARE = "__bare"  # the tests' name for the driver's function that runs one top-level statement
KEYWORDS = (
    "await break case catch class const continue debugger default delete do else enum export extends false "
    "finally for function if implements import in instanceof interface let new null package private protected "
    "public return static super switch this throw true try typeof var void while with yield arguments eval async "
    "undefined exports module "
)
_CHECK = re.compile(r"\b(?:assert|expect|console\s*\.\s*assert)\b")
_CALL = r"^[ \t]*(?P<await>await\s+)?(?P<what>console\s*\.\s*assert|assert(?:\s*\.\s*\w+)*|expect)\s*(?=\()"
_BLOCK = r"^[ \t]*(?:for|if|while|try|do)\b|^[ \t]*(?=\{)"
_DECLARED = r"^[ \t]*(?:export\s+)?(?:async\s+)?(?:function\s*\*?\s*|(?:const|let|var)\s+)(?P<name>test\w*)\b"
_REGISTER = r"(?<![\w.$])(?P<what>describe|suite|context|test|it)(?P<mode>\.\w+)?\s*(?=\()"
_OWN_RUNNER = r"^[ \t]*(?:(?:async\s+)?function\s*|(?:const|let|var)\s+)(?P<name>describe|suite|context|test|it)\b"
_STRING = re.compile(r"\s*(?:'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"|`((?:\\.|[^`\\$])*)`)\s*,")


class _Tests:
    """A text of tests, read, and changed so that each top-level check runs by itself."""

    def __init__(self, text: str) -> None:
        self._scan = scan(text, "javascript")
        self._changes: list[tuple[int, int, str]] = []
        self._own_runners = {m["name"] for m in self._scan.find(_OWN_RUNNER, depth=0) if self._is_function(m)}
        self.functions = self._functions()
        self.bare = self._bare()
        self.registered, self.skipped = self._registered()
        self.has_checks = _CHECK.search(self._scan.blank) is not None
        script = Script(self._scan, self.functions)
        self._changes += script.changes(BARE)
        top = (TOP,) if script.speaks else ()
        self.ids = (*self.bare, *self.functions, *self.registered, *top)
        self.is_sticky = script.is_sticky
        self.text = edit(text, self._changes)
        self.names = sorted(self._scan.identifiers() - set(KEYWORDS.split()))

    def _functions(self) -> list[str]:
        """Return the test functions; calls of them at the top are taken out, because each runs as a test."""
        names = [match["name"] for match in self._scan.find(_DECLARED, depth=0) if self._is_test(match)]
        names = [name for name in dict.fromkeys(names) if name not in {"test", "tests"}]
        for name in names:
            for match in self._scan.find(rf"^[ \t]*(?:await\s+)?{re.escape(name)}\s*\(\s*\)[ \t]*(?:;|$)", depth=0):
                self._changes.append((match.start(), match.end(), ""))
        return names

    def _is_function(self, match: re.Match[str]) -> bool:
        rest = self._scan.blank[match.end() : match.end() + 300]
        return (
            "function" in match.group()
            or re.match(r"(?:[^=;]|=>)*=\s*(?:async\b\s*)?(?:function|\(|<|\w+\s*=>)", rest) is not None
        )

    def _is_test(self, match: re.Match[str]) -> bool:
        """Tell whether a declaration is of a test: of a function that is given nothing."""
        parameters = re.compile(r"[^({;\n]*\(\s*[^)\s]").match(self._scan.blank, match.end())
        return self._is_function(match) and parameters is None

    def _block_end(self, position: int) -> int:
        """Return the end of a loop or block, with the blocks that belong to it."""
        blank = self._scan.blank
        while True:
            word = re.compile(r"\s*(?:for\s+await|for|if|while|try|do|else|catch|finally)?\s*").match(blank, position)
            position = word.end() if word else position
            if blank[position : position + 1] == "(":
                position = self._scan.skip_space(self._scan.closing(position) + 1)
            if blank[position : position + 1] == "{":
                end = self._scan.closing(position) + 1
            elif re.compile(r"(?:for|if|while)\b").match(blank, position):
                continue
            else:
                end = statement_end(self._scan, position)
            if not (more := re.compile(r"\s*;?\s*(?:else|catch|finally)\b").match(blank, end)):
                return end
            position = more.start() + re.match(r"\s*;?", more.group()).end()  # type: ignore[union-attr] # always matches

    def _bare(self) -> list[str]:
        calls = self._scan.find(_CALL, depth=0)
        spans = [(match.start(), statement_end(self._scan, match.start() + 1)) for match in calls]
        for match in self._scan.find(_BLOCK, depth=0):
            start = self._scan.skip_space(match.start())
            end = self._block_end(start)
            inside = self._scan.blank[start:end]
            if _CHECK.search(inside) and not re.search(_REGISTER, inside) and not SPEAKS.search(inside):
                spans.append((start, end))
        spans = [one for i, one in enumerate(sorted(spans)) if i == 0 or one[0] >= sorted(spans)[i - 1][1]]
        names = numbered([f"line {self._scan.line(self._scan.skip_space(start))}" for start, _ in spans])
        for (start, end), name in zip(spans, names, strict=True):
            self._changes.append((start, start, f";await {BARE}({json.dumps(name)}, async () => {{ "))
            self._changes.append((end, end, " });"))
        return names

    def _registered(self) -> tuple[list[str], list[str]]:
        """Return the tests that are registered under literal names, and those of them that are to be skipped."""
        groups: list[tuple[int, int, str]] = []
        names, skipped = [], []
        for match in self._scan.find(_REGISTER):
            if match["what"] in self._own_runners:
                continue
            literal = _STRING.match(self._scan.text, match.end() + 1)
            end = self._scan.closing(match.end())
            name = next((part for part in literal.groups() if part is not None), "") if literal else None
            if match["what"] in {"describe", "suite", "context"}:
                groups.append((match.start(), end, name if name is not None else "\0"))
                if match["mode"] == ".each":  # how many there are is known when it runs
                    end = statement_end(self._scan, match.start())
                if match["mode"] in {".skip", ".each"}:
                    groups[-1] = (match.start(), end, "\0")
                continue
            path = [
                *(group for first, last, group in groups if first < match.start() < last),
                name if name is not None else "\0",
            ]
            if any("\0" in part for part in path) or match["mode"] == ".each" or self._is_in_loop(match.start()):
                continue
            full = " > ".join(re.sub(r"\\(.)", r"\1", part) for part in path)
            names.append(full)
            if match["mode"] in {".skip", ".todo"}:
                skipped.append(full)
        return numbered(names), skipped

    def _is_in_loop(self, position: int) -> bool:
        """Tell whether a registration is made by a loop, so that its id is not known before the run."""
        return any(
            match.start() < position < self._block_end(match.start())
            for match in self._scan.find(r"\b(?:for|while)\b|\bforEach\s*(?=\()")
        )


def plan(sources: Sources) -> SuitePlan:
    """Plan the tests of a JavaScript program. Raises `SuiteError`."""
    tests, own = _read(sources, "js")
    return _plan(sources, tests, own, has_lines=True)


def plan_typescript(sources: Sources) -> SuitePlan:
    """Plan the tests of a TypeScript program: both texts are transpiled, and then as for JavaScript."""
    tests, own = _read(sources, "ts")
    made = _plan(sources, tests, own, has_lines=False)
    name = sources.source_name
    return replace(
        made,
        recipe=_transpiled(made.recipe, name, "test_solution", "solution"),
        apart=None if made.apart is None else _transpiled(made.apart, name, "solution"),
        beside=None if made.beside is None else _transpiled(made.beside, name, "test_solution"),
        test_files=("test_solution.ts",),
    )


def _transpiled(recipe: Recipe, program: str, *names: str) -> Recipe:
    """Return the recipe with steps that make JavaScript of these files of the suite, and of what they may import.

    `program` is the file that the caller named; what runs is made of its copy in the suite.
    """
    sources = tuple(f"{FOLDER}/{name}" for name in names)
    others = tuple(
        path.removesuffix(".ts")
        for path in recipe.files
        if path.endswith(".ts") and not path.endswith(".d.ts") and "/" + FOLDER not in f"/{path}" and path != program
    )
    steps = [Step((*_ESBUILD, f"--outdir={FOLDER}", *(f"{name}.ts" for name in sources)))]
    if others:
        steps.append(
            Step((*_ESBUILD, "--format=cjs", "--outdir=.", "--outbase=.", *(f"./{name}.ts" for name in others)))
        )
    made = tuple(f"{name}.js" for name in (*sources, *others))
    return replace(recipe, steps=tuple(steps), artefacts=made, toolchain="node esbuild")


def _read(sources: Sources, suffix: str) -> tuple["_Tests", dict[str, str]]:
    """Return the tests, and both texts as the suite stores them."""
    tests = _Tests(without_modules(sources.test_code))
    if not tests.ids and not tests.has_checks and not re.search(_REGISTER, tests.text):
        raise no_tests(CONVENTION)
    return tests, {f"test_solution.{suffix}": tests.text, f"solution.{suffix}": without_modules(sources.code)}


def _plan(sources: Sources, tests: "_Tests", own: dict[str, str], *, has_lines: bool) -> SuitePlan:
    config = {
        "source": "solution.js",
        "tests": "test_solution.js",
        "names": tests.names,
        "functions": tests.functions,
        "bare": BARE,
        "ids": tests.ids,
        "top": TOP,
        "sticky": tests.is_sticky,
        "apart": False,
        "lines": has_lines,
    }

    def recipe(main: str, drivers: tuple[str, ...], texts: dict[str, str], settings: dict[str, object]) -> Recipe:
        stored = {**{name: driver(name) for name in drivers}, **texts, "config.json": json.dumps(settings)}
        stored["driver.js"] = "\n".join(driver(name) for name in _DRIVER)
        return Recipe(
            files={
                sources.source_name: sources.code,
                **sources.files,
                **{f"{FOLDER}/{name}": text for name, text in stored.items()},
            },
            steps=(),
            artefacts=(),
            run=("node", "--no-warnings", f"{FOLDER}/{main}"),
            toolchain="node",
        )

    of_program = {name: text for name, text in own.items() if not name.startswith("test_")}
    of_tests = {name: text for name, text in own.items() if name.startswith("test_")}
    beside = recipe("driver.js", _LIBRARIES, of_tests, {**config, "apart": True})
    return SuitePlan(
        recipe("driver.js", (*_LIBRARIES, "program.js"), own, config),
        tests.ids,
        collects=True,
        needs_sources=True,
        may_skip=frozenset(tests.skipped),
        test_files=("test_solution.js",),
        apart=recipe("serve.js", ("serve.js", "program.js", "codec.js"), of_program, {"source": "solution.js"}),
        beside=replace(
            beside, files={name: text for name, text in beside.files.items() if name != sources.source_name}
        ),
    )
