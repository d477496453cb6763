"""Tests of C and C++ programs: functions `test_*`, a `main` with asserts, or bare asserts.

One translation unit holds the program, then a fence that undoes its macros, then the tests; the driver is another.
Each test function, and `main`, runs in a process of its own. Every assert that stands directly in `main` is a test.
Not covered: a program that searches its own memory for the token with which a test says that it passed; in C++ a type
of the program's own in a check that is no comparison by ==.
"""

import json
import re
from dataclasses import dataclass, field

from sandbox.recipes import Recipe, Step
from sandbox.suites.plans import BINARY, FOLDER, Sources, SuiteError, SuitePlan, driver, no_tests
from sandbox.suites.scan import Scanned, edit, numbered, scan
from sandbox.suites.symbols import COMPARED, refuse_replaced

CONVENTION = "functions void test_*(void), a main with asserts, or bare asserts"
# Undone whatever the program defines.
WORDS = (
    "if else for while do switch case default break continue return goto sizeof typedef struct union enum void "
    "char short int long float double signed unsigned const static extern volatile inline auto register class "
    "public private protected virtual new delete this template typename namespace using try catch throw operator "
    "nullptr constexpr decltype noexcept assert main _exit std string vector map set pair "
)
COMPARERS = {*COMPARED, "isnan", "strlen", "abs"}
_DEFINE = re.compile(r"^[ \t]*(?:#|%:|\?\?=)[ \t]*define[ \t]+([A-Za-z_]\w*)(\(?)(.*)$", re.MULTILINE)
_CONSTANT = re.compile(r"\s*\(*\s*[-+]?(?:[\d.][\w.+-]*|\"[^\"]*\"|'[^']*')\s*\)*\s*")
_FUNCTION = (
    r"\b(?P<type>void|int|bool|_Bool)\s+(?:(?P<name>test\w*)\s*\(\s*(?:void)?\s*\)|main\s*\((?P<parameters>[^()]*)\))"
    r"\s*(?:noexcept\s*)?(?=\{)"
)
# What a main does that only runs the test functions, apart from calling them.
_ONLY_RUNS = re.compile(
    r"\s*(?:return\s+(?:0|EXIT_SUCCESS)|(?:std\s*::\s*)?(?:printf|puts|fprintf|fflush)\s*\([^()]*\)|(?:std\s*::\s*)?cout\b[^;(]*)?\s*"
)
_ARGUMENTS = ("1", "cq_argv", "cq_argv + 1")  # of a main that has parameters
# Without any of these in their text tests only print, whatever the program does.
_SPEAKS = re.compile(
    r"\bassert\w*\s*\(|\b(?:abort|_?exit|_Exit|quick_exit|raise|kill|throw|terminate)\b|\breturn\s*[^\s0;]|\bbool\b"
)
_LEAVES_THREAD = re.compile(
    r"\b(?:pthread_create|thrd_create|pthread_detach|thrd_detach)\b|\.\s*detach\s*\(|\blaunch\s*::\s*deferred\b"
)
_WAITS = re.compile(r"\b(?:pthread_join|thrd_join|join|pthread_exit|\w*wait\w*|get)\s*\(")
_SPLICE = re.compile(r"\\[ \t]*\n")


@dataclass(frozen=True)
class Dialect:
    """How C and C++ differ here."""

    name: str
    suffix: str
    compiler: str
    flags: tuple[str, ...]


# Functions that are inlined everywhere stay in the file, where the step that looks for replaced ones finds them.
_KEPT = ("-fkeep-inline-functions", "-fkeep-static-functions")
C = Dialect("c", "c", "gcc", ("-std=gnu17", "-O1", "-w", *_KEPT))
# A function that ends without its value would otherwise return whatever lay in a register, which may be right.
_TRAPS = ("-fsanitize=return", "-fsanitize-undefined-trap-on-error", "-fno-delete-null-pointer-checks")
CPP = Dialect("cpp", "cpp", "g++", ("-std=gnu++17", "-O1", "-w", *_TRAPS))


@dataclass
class _Group:
    """What runs in one process: a test function, or main."""

    function: str
    returns: str
    slots: list[str] = field(default_factory=list)
    arguments: str = ""


def quoted(text: str) -> str:
    """Return a C string literal."""
    return json.dumps(text[:300], ensure_ascii=True).replace("\\u", "\\\\u").replace("??", "?\\?")


def defined_macros(text: str) -> dict[str, bool]:
    """Return every macro that a text defines, and whether it is a plain constant wherever it is defined."""
    spliced = scan(_SPLICE.sub("", text), "c")
    found: dict[str, bool] = {}
    for match in _DEFINE.finditer(spliced.text):
        is_constant = not match[2] and _CONSTANT.fullmatch(match[3]) is not None
        found[match[1]] = found.get(match[1], True) and is_constant
    return found


def _fence(sources: Sources, used: frozenset[str]) -> str:
    """Return directives that undo the program's macros, except constants that the tests use."""
    macros: dict[str, bool] = {}
    for text in (sources.code, *sources.files.values()):
        macros |= defined_macros(text)
    undone = {name for name, is_constant in macros.items() if name in used and not is_constant}
    return "".join(f"#undef {name}\n" for name in sorted(undone | set(WORDS.split())))


def _refuse_replaced_functions(sources: Sources, used: frozenset[str]) -> frozenset[str]:
    """Refuse a program that defines a function of the C library which the tests compare with.

    Returns:
        Those that it may define, because they are what is tested.
    """
    code = scan(sources.code, "c")
    defined = {match[1] for match in code.find(r"\b([A-Za-z_]\w*)\s*\([^;{}]*\)\s*(?:noexcept\s*)?\{", depth=0)}
    replaced = sorted(defined & used & COMPARERS)
    if replaced and (defined & used) - COMPARERS:
        text = f"the program defines {', '.join(replaced)}, which the tests use as the C library's"
        raise SuiteError("TestsTampered", text)
    return frozenset(replaced)


class _Tests:
    """The text of tests, read and changed so that its checks report."""

    def __init__(self, dialect: Dialect, text: str, prefix: str) -> None:
        self._dialect = dialect
        self._prefix = prefix
        self.hoisted = ""
        self.source = text
        self._scan = self._with_main(scan(text, "c"))
        self._changes: list[tuple[int, int, str]] = []
        self.groups: list[_Group] = []
        self._read()

    def _with_main(self, found: Scanned) -> Scanned:
        """Return the text; bare asserts are put into a main."""
        if any(found.find(r"\bassert\s*\(", depth=0)) and not any(found.find(_FUNCTION, depth=0)):
            lines = [found.text[match.start() : match.end()] for match in found.find(r"^[ \t]*#.*$")]
            self.hoisted = "\n".join(lines) + "\n"
            body = re.sub(r"^[ \t]*#.*$", "", found.text, flags=re.MULTILINE)
            return scan(f"int main(void) {{{body}\n}}", "c")
        return found

    @property
    def text(self) -> str:
        """The changed text; every line is where it was."""
        return edit(self._scan.text, self._changes)

    def identifiers(self) -> frozenset[str]:
        """Return every name that the tests use."""
        return self._scan.identifiers()

    def _read(self) -> None:
        functions = {match["name"] or "main": match for match in self._scan.find(_FUNCTION, depth=0)}
        main = functions.pop("main", None)
        for name, match in functions.items():
            self.groups.append(_Group(name, match["type"], [name]))
        spans: list[tuple[int, int]] = []
        if main is not None:
            opening = main.end()
            spans.append((opening, self._scan.closing(opening)))
            if not self._only_runs(self._scan.blank[opening + 1 : spans[0][1]], list(functions)):
                n_parameters = 0 if main["parameters"].strip() in {"", "void"} else main["parameters"].count(",") + 1
                arguments = ", ".join(_ARGUMENTS[:n_parameters]).replace("cq", self._prefix)
                self.groups.append(_Group(f"{self._prefix}_main", "int", [], arguments))
                self._main_slots(*spans[0])
            self._changes.append((spans[0][1], spans[0][1], "return 0;"))
        self._rewrite_nested()

    @staticmethod
    def _only_runs(body: str, functions: list[str]) -> bool:
        """Tell whether a main does no more than run test functions, each of which runs by itself anyhow."""
        names = "|".join(map(re.escape, functions))
        call = re.compile(rf"\s*(?:[A-Z]\w*\s*\(\s*(?:{names})\s*\)|(?:{names})\s*\(\s*\))\s*")
        parts = body.split(";")
        return bool(functions) and all(_ONLY_RUNS.fullmatch(part) or call.fullmatch(part) for part in parts)

    def _is_direct(self, position: int, end: int) -> bool:
        """Tell whether an assert is a statement of its own right in the body of main."""
        before = self._scan.blank[:position].rstrip()[-1:]
        return (
            self._scan.depths[position] == 1
            and before in {"{", "}", ";"}
            and self._scan.blank[end:].lstrip()[:1] == ";"
        )

    def _asserts(self) -> list[tuple[int, int, int]]:
        """Return start, opening and closing bracket of every assert."""
        found = []
        for match in self._scan.find(r"\bassert\s*(?=\()"):
            if re.search(r"#[ \t]*\w+[ \t]*$", self._scan.blank[: match.start()]):
                continue
            found.append((match.start(), match.end(), self._scan.closing(match.end())))
        return found

    def _main_slots(self, start: int, end: int) -> None:
        inside = [one for one in self._asserts() if start < one[0] < end]
        direct = [one for one in inside if self._is_direct(one[0], one[2] + 1)]
        names = numbered([f"line {self._scan.line(one[0])}" for one in direct])
        first = sum(len(group.slots) for group in self.groups)
        self.groups[-1].slots += names
        if len(direct) < len(inside) or not direct:
            self.groups[-1].slots.append("main")
        for offset, one in enumerate(direct):
            self._rewrite(one, first + offset)

    def _rewrite_nested(self) -> None:
        taken = {start for start, _, _ in self._changes}
        for one in self._asserts():
            if one[0] not in taken:
                self._rewrite(one, -1)

    def _rewrite(self, span: tuple[int, int, int], slot: int) -> None:
        start, opening, closing = span
        inner = self._scan.text[opening + 1 : closing]
        line = self._scan.line(start)
        text = quoted("assert " + " ".join(inner.split()))
        if self._dialect.name == "cpp":
            sides = self._equality(opening, closing)
            if sides is not None:
                new = f"{self._prefix}_equality::check({slot},{line},{text},({sides[0]}),({sides[1]}))"
            else:
                new = f"{self._prefix}_check({slot},{self._prefix}_equality::truth(bool({inner})),{line},{text})"
        else:
            new = f"{self._prefix}_check({slot},({inner})?1:0,{line},{text})"
        self._changes.append((start, closing + 1, new))

    def _equality(self, opening: int, closing: int) -> tuple[str, str] | None:
        """Return the sides of an assert that is one comparison by ==."""
        depth = self._scan.depths[opening] + 1
        inside = [
            match
            for match in re.finditer(r"[!=<>]=|&&|\|\||[?,<>&|^]", self._scan.blank[opening + 1 : closing])
            if self._scan.depths[opening + 1 + match.start()] == depth
        ]
        if len(inside) != 1 or inside[0].group() != "==":
            return None
        text = self._scan.text[opening + 1 : closing]
        sides = text[: inside[0].start()].strip(), text[inside[0].end() :].strip()
        return None if {"0", "NULL", "nullptr", "", "0L"} & set(sides) else sides


def _table(groups: list[_Group]) -> str:
    ids = [(slot, index) for index, group in enumerate(groups) for slot in group.slots]
    return (
        f"enum {{ N_SLOTS = {len(ids)}, N_GROUPS = {len(groups)} }};\n"
        f"static const char *const ids[] = {{{', '.join(quoted(name) for name, _ in ids)}}};\n"
        f"static const int groups[] = {{{', '.join(str(index) for _, index in ids)}}};\n"
    )


def _entry(dialect: Dialect, groups: list[_Group], prefix: str) -> str:
    """Return the main function of the tests: run one group, and say so."""
    cases, first = [], 0
    for index, group in enumerate(groups):
        last = first + len(group.slots) - 1
        call = f"{group.function}({group.arguments});"
        if group.returns == "int":
            call = f"status = {call}"
        elif group.returns != "void":
            call = f'{prefix}_check(-1, {group.function}(), 0, "{group.function} returned false");'
        own_slot = group.slots[-1] == group.function or group.slots[-1] == "main"
        passed = f"if (status == 0) {prefix}_pass({last});" if own_slot else ""
        cases.append(f"    case {index}: {call} {passed} break;\n")
        first = last + 1
    body = f"    switch ({prefix}_group()) {{\n{''.join(cases)}    }}\n"
    if dialect.name == "cpp":
        body = f"    try {{\n{body}    }} {driver('caught.inc').replace('CQ', prefix)}"
    argv = f'static char {prefix}_name[] = "tests";\nstatic char *{prefix}_argv[] = {{{prefix}_name, 0}};\n'
    body += f"    {prefix}_done();\n    return status;\n"
    return f"{argv}#undef main\nint main(void) {{\n    int status = 0;\n{body}}}\n"


def _suite(dialect: Dialect, sources: Sources, tests: _Tests, prefix: str) -> str:
    cpp = dialect.name == "cpp"
    headers = '#include "equality.h"\n#include <exception>\n#include <cxxabi.h>\n' if cpp else ""
    return (
        f"#ifdef {prefix}_once\n#error the tests include themselves\n#endif\n#define {prefix}_once\n"
        f'#include "checks.h"\n{headers}'
        f"#define main {prefix}_program_main\n"
        f'#include "{sources.source_name}"\n'
        f"{_fence(sources, tests.identifiers())}"
        f"{tests.hoisted}"
        f"#define main {prefix}_main\n"
        f'#include "tests.{dialect.suffix}"\n'
        f"{_entry(dialect, tests.groups, prefix)}"
    )


def _refuse_left_threads(text: str) -> None:
    """Refuse tests with threads that nobody waits for: their asserts may never run, and a test's end is their own."""
    found = scan(text, "c")
    started = next(found.find(_LEAVES_THREAD.pattern), None)
    if started is not None and re.search(r"\bassert\w*\s*\(", found.blank) and not _WAITS.search(found.blank):
        why = f"line {found.line(started.start())}: nobody waits for this thread, so its checks may never run; join it"
        raise SuiteError("TestChecksNothing", why)


def plan(dialect: Dialect, sources: Sources) -> SuitePlan:
    """Plan the tests of a C or C++ program. Raises `SuiteError`."""
    prefix = f"cq_{sources.digest}"
    tests = _Tests(dialect, sources.test_code, prefix)
    if not any(group.slots for group in tests.groups):
        raise no_tests(CONVENTION)
    if not _SPEAKS.search(scan(tests.source, "c").blank):
        raise SuiteError("TestChecksNothing", "the tests cannot fail, they only print: write assert(add(1, 2) == 3)")
    _refuse_left_threads(tests.source)
    tested = _refuse_replaced_functions(sources, tests.identifiers())
    folder = sources.hidden_folder
    own = {name: driver(name).replace("CQ", prefix) for name in ("driver.c", "checks.h", "equality.h")}
    own |= {"table.h": _table(tests.groups), f"tests.{dialect.suffix}": tests.text}
    own |= {f"suite.{dialect.suffix}": _suite(dialect, sources, tests, prefix)}
    files = {f"{folder}/{name}": text for name, text in own.items()}
    files[f"{FOLDER}/assert.h"] = driver("assert.h")
    argv = (
        dialect.compiler, *dialect.flags, f"-I{FOLDER}", "-iquote", ".", "-o", BINARY,
        "-x", "c", f"{folder}/driver.c",
        "-x", "c" if dialect.name == "c" else "c++", f"{folder}/suite.{dialect.suffix}", "-lm",
    )  # fmt: skip
    recipe = Recipe(
        files={sources.source_name: sources.code, **sources.files, **files},
        steps=(Step(argv), refuse_replaced(BINARY, f"tests.{dialect.suffix}", tested)),
        artefacts=(BINARY,),
        run=(f"./{BINARY}",),
        toolchain=dialect.compiler,
    )
    ids = tuple(slot for group in tests.groups for slot in group.slots)
    return SuitePlan(recipe, ids, test_files=(f"tests.{dialect.suffix}", f"suite.{dialect.suffix}"))


def plan_c(sources: Sources) -> SuitePlan:
    """Plan the tests of a C program. Raises `SuiteError`."""
    return plan(C, sources)


def plan_cpp(sources: Sources) -> SuitePlan:
    """Plan the tests of a C++ program. Raises `SuiteError`."""
    return plan(CPP, sources)
