"""Tests of Rust programs: functions marked `#[test]`, alone or in modules, with the assert macros.

The program becomes a module of a crate whose root is the driver, and the tests a module inside that one, so that they
see private names. Asserts are tied to the standard library's, whatever macros the program defines. All runs in one
process. Not covered: a program that searches its own memory for the nonce that signs reports, and a type of its own in
a check that is no comparison of two values by == or !=.
"""

import json
import re
from itertools import pairwise

from sandbox.recipes import Recipe, Step
from sandbox.suites.plans import BINARY, Sources, SuiteError, SuitePlan, driver, no_tests
from sandbox.suites.scan import edit, scan
from sandbox.suites.symbols import refuse_replaced

CONVENTION = "functions marked #[test], alone or in mod tests { use super::*; ... }"
FLAGS = ("--edition", "2021", "--color", "never", "-C", "opt-level=1", "-C", "overflow-checks=on")
_STANDARD = "assert|assert_eq|assert_ne|debug_assert|debug_assert_eq|debug_assert_ne|panic|unreachable|matches"
_TEST = r"#\s*\[\s*test\s*\]"
_FUNCTION = re.compile(
    r"(?:\s|#\s*\[[^\]]*\])*(?:pub(?:\([^)]*\))?\s+)?(?P<keyword>fn)\s+(?P<name>\w+)\s*\(\s*\)(?P<returns>[^{;]*)\{"
)
_MODULE = r"(?P<vis>pub(?:\([^)]*\))?\s+)?\bmod\s+(?P<name>\w+)\s*(?=\{)"
_INNER = re.compile(r"(?:\s*#!\[[^\]]*\])*")
_BLOCK = re.compile(r"(?:if|match|let|unsafe|loop)\b")
# Names that every test builds its expectations with: a program's own of that name would be what it expects.
_NAMES = (
    "pub(super) use super::super::*; pub(super) use ::core::option::Option::{Some, None}; "
    "pub(super) use ::core::result::Result::{Ok, Err}; "
    "pub(super) use ::std::{string::String, vec::Vec, boxed::Box, vec, format};"
)
_EXPECTED = re.compile(r"expected\s*=\s*\"((?:\\.|[^\"\\])*)\"")


# Tests that look at how a thread or a caught call ended judge its panics themselves.
_JUDGES = re.compile(
    r"\.\s*join\s*\(\s*\)\s*\.\s*(?!unwrap\s*\(|expect\s*\(|ok\s*\(\s*\)\s*;)\w+"
    r"|\b(?:match|let\s+(?:Err|Ok)\s*\(\w*\)\s*=)[^;{]*(?:\.\s*join\s*\(|\bcatch_unwind\b)"
    r"|\blet\s+\w*[a-z]\w*\s*=\s*[^;{]*(?:\.\s*join\s*\(\s*\)\s*;|\bcatch_unwind\b)"
    r"|\bcatch_unwind\b[^;]*\)\s*\.\s*(?:is_err|is_ok|unwrap_err|expect_err|err|map_err)\b"
    r"|\bassert\w*!\s*\([^;]*\bcatch_unwind\b"
)
_THREADS = re.compile(r"\bspawn\b")
_WAITS = re.compile(r"\b(?:join|scope|recv|wait|recv_timeout|park|JoinHandle)\b")
_SAYS = re.compile(r"\be?print(?:ln)?\s*!")
_CAN_FAIL = re.compile(
    r"\b(?:assert\w*|debug_assert\w*|panic|unreachable|todo|unimplemented|matches)\s*!|\?\s*[;)]|\bexit\s*\("
    r"|\.\s*(?:unwrap|expect)\w*\s*\(|\[[^\]\n]+\]\s*[;.)]|\bErr\b"
)


def _refuse_idle(text: str) -> None:
    """Refuse tests that cannot be heard: threads that nobody waits for, and texts that only print what they find."""
    found = scan(text, "rust")
    for match in found.find(r"\bspawn\s*(?=\()"):
        body = found.blank[match.end() : found.closing(match.end())]
        if re.search(r"\bassert\w*\s*!", body) and not _WAITS.search(found.blank):
            why = f"line {found.line(match.start())} starts a thread that nobody waits for, so its checks may never run"
            raise SuiteError("TestChecksNothing", f"{why}; write .join().unwrap()")
    if _SAYS.search(found.blank) and re.search(r"\bif\b", found.blank) and not _CAN_FAIL.search(found.blank):
        raise SuiteError("TestChecksNothing", "the tests cannot fail, they only print: write assert_eq!(f(1), 2)")


class _Tests:
    """A text of tests, read, and changed so that the driver reaches each and asserts are the real ones."""

    def __init__(self, text: str, prefix: str) -> None:
        self._scan = scan(text, "rust")
        self._prefix = prefix
        self._changes: list[tuple[int, int, str]] = []
        self.entries: list[str] = []
        self.ids: list[str] = []
        self.ignored: list[str] = []
        self._modules = [(m.start(), self._scan.closing(m.end()), m["name"]) for m in self._scan.find(_MODULE)]
        for match in self._scan.find(_MODULE):
            self._changes.append((match.start(), match.start() + len(match["vis"] or ""), "pub(crate) "))
        for match in self._scan.find(_TEST):
            self._add(match)
        for match in self._scan.find(r"#\s*\[\s*cfg\s*\(\s*test\s*\)\s*\]"):
            self._changes.append((match.start(), match.end(), ""))
        self.check_lines: set[int] = set()  # of asserts, where no plain panic stands beside them
        self._asserts()
        self.text = edit(text, self._changes)

    def _add(self, match: re.Match[str]) -> None:
        function = _FUNCTION.match(self._scan.blank, match.end())
        if function is None:  # of a macro or async: the compiler drops what is marked so, without a word
            line = self._scan.line(match.start())
            text = f"the test in line {line} of the tests is no plain `fn name()`; write it out, without a macro"
            raise SuiteError("UnsupportedTests", text)
        before = self._attributes_before(match.start())
        attributes = self._scan.text[before : function.start("keyword")]
        path = [name for start, end, name in self._modules if start < match.start() < end]
        test_id = "::".join([*path, function["name"]])
        self._changes.append((match.start(), match.end(), ""))
        keyword = function.start("keyword")
        self._changes.append(
            (keyword, keyword + 2, "fn" if "pub" in function.group()[: keyword - function.start()] else "pub(crate) fn")
        )
        for other in re.finditer(
            r"#\s*\[\s*(?:should_panic|ignore)\b[^\]]*\]", self._scan.blank[before : function.start("keyword")]
        ):
            self._changes.append((before + other.start(), before + other.end(), ""))
        panics = "None"
        if "should_panic" in attributes:
            expected = _EXPECTED.search(attributes)
            panics = f'Some("{expected[1] if expected else ""}")'
        is_ignored = re.search(r"#\s*\[\s*ignore\b", attributes) is not None
        self.ids.append(test_id)
        if is_ignored:
            self.ignored.append(test_id)
        self.entries.append(
            f"        {self._prefix}_checks::Test {{ id: {json.dumps(test_id)}, run: || "
            f"{self._prefix}_checks::Outcome::failure(solution::{self._prefix}_tests::{test_id}()), "
            f"should_panic: {panics}, ignored: {str(is_ignored).lower()} }},\n"
        )

    def _attributes_before(self, position: int) -> int:
        """Return where the attributes before a position begin."""
        while found := re.search(r"#\s*\[[^\]]*\]\s*$", self._scan.blank[:position]):
            if re.match(r"#\s*\[\s*(?:should_panic|ignore)", found.group()) is None:
                break
            position = found.start()
        return position

    def _asserts(self) -> None:
        for match in self._scan.find(rf"(?<![\w:])(?P<name>{_STANDARD})\s*!(?=\s*[(\[{{])"):
            opening = self._scan.skip_space(match.end())
            if match["name"].startswith(("assert", "debug_assert")):
                end = self._scan.closing(opening)
                self.check_lines |= set(range(self._scan.line(match.start()), self._scan.line(end) + 1))
            compared = self._compared(match["name"], opening)
            if compared is None:
                self._changes.append((match.start(), match.end(), f"::core::{match['name']}!"))
                continue
            end = self._scan.closing(opening) + 1
            lines = "\n" * self._scan.text[match.start() : end].count("\n")
            self._changes.append((match.start(), end, self._guarded(*compared) + lines))

        for match in self._scan.find(r"\b(?:panic|unreachable|todo|unimplemented)\s*!"):
            self.check_lines.discard(self._scan.line(match.start()))

    def _guarded(self, macro: str, operator: str, sides: list[str]) -> str:
        """Return an assertion of (in)equality that also refuses sides of unlike origin."""
        shown = f" {operator} ".join(" ".join(side.split()) for side in sides[:2])[:200]
        text = json.dumps(shown, ensure_ascii=False)
        inner = [" ".join(self._inner(side).split("\n")) for side in sides[:2]]
        comparable = f"{self._prefix}_checks::comparable(left, right, {text})"
        if macro == "assert":
            message = sides[2:] or ['"{}"', json.dumps(f"assertion failed: {shown}", ensure_ascii=False)]
            check = f"::core::assert!(*left {operator} *right, {', '.join(message)})"
        else:
            check = f"::core::{macro}!({', '.join(['*left', '*right', *sides[2:]])})"
        return f"match (&({inner[0]}), &({inner[1]})) {{ (left, right) => {{ {comparable}; {check}; }} }}"

    @staticmethod
    def _inner(side: str) -> str:
        return re.sub(r"//[^\n]*", "", side) if "//" in side and '"' not in side else side

    def _compared(self, name: str, opening: int) -> tuple[str, str, list[str]] | None:
        """Return the macro of a comparison of two values, its operator, and both sides with what else is said."""
        operator = {"assert_eq": "==", "assert_ne": "!=", "assert": ""}.get(name)
        if operator is None:
            return None
        edges = [opening, *self._at_top(opening, r","), self._scan.closing(opening)]
        parts = [self._scan.text[first + 1 : second].strip() for first, second in pairwise(edges)]
        if operator:
            return (name, operator, [part for part in parts if part]) if len(edges) > 2 else None  # noqa: PLR2004 - a comma
        end = edges[1]
        found = [position for position in self._at_top(opening, r"[!=]=|&&|\|\|") if position < end]
        if len(found) != 1 or _BLOCK.match(parts[0]):
            return None
        operator = self._scan.text[found[0] : found[0] + 2]
        if operator not in {"==", "!="}:
            return None
        sides = [self._scan.text[opening + 1 : found[0]].strip(), self._scan.text[found[0] + 2 : end].strip()]
        return name, operator, [*sides, *(part for part in parts[1:] if part)]

    def _at_top(self, opening: int, pattern: str) -> list[int]:
        """Return where a pattern begins directly inside a bracket."""
        depth = self._scan.depths[opening] + 1
        inside = re.compile(pattern).finditer(self._scan.blank, opening + 1, self._scan.closing(opening))
        return [match.start() for match in inside if self._scan.depths[match.start()] == depth]


def _qualified(text: str, roots: str = "crate") -> str:
    """Return a text with paths that begin at the program's crate beginning at its module."""
    found = scan(text, "rust")
    return edit(text, [(m.start(), m.end(), "crate::solution::") for m in found.find(rf"(?<![\w:$])(?:{roots})\s*::")])


def plan(sources: Sources) -> SuitePlan:
    """Plan the tests of a Rust program. Raises `SuiteError`."""
    prefix = f"cq_{sources.digest}"
    folder = sources.hidden_folder
    tests = _Tests(_qualified(sources.test_code, "crate|solution"), prefix)
    if not tests.ids:
        raise no_tests(CONVENTION)
    _refuse_idle(sources.test_code)
    code = _qualified(sources.code)
    inner = _INNER.match(scan(code, "rust").blank)
    start = inner.end() if inner else 0
    declared = f'#[path = "{folder}/tests.rs"] pub(crate) mod {prefix}_tests; '
    code = f"{code[:start]} {declared}{code[start:]}"
    root = driver("driver.rs").replace("CQ", prefix).replace("SOLUTION", f"../{sources.source_name}")
    blank = scan(sources.test_code, "rust").blank
    for name, value in (
        ("CHECK_LINES", ", ".join(map(str, sorted(tests.check_lines)))),
        ("JUDGES;", f"{str(_JUDGES.search(blank) is not None).lower()};"),
        ("THREADS;", f"{str(_THREADS.search(blank) is not None).lower()};"),
    ):
        root = root.replace(name, value)
    names = f"mod {prefix}_names {{ {_NAMES} }} use self::{prefix}_names::*;"
    test_text = f"{names} use crate::{prefix}_checks; {tests.text}"
    files = {
        sources.source_name: code,
        **sources.files,
        f"{folder}/driver.rs": root.replace("TESTS    ", "".join(tests.entries) + "    "),
        f"{folder}/tests.rs": test_text,
    }
    argv = ("rustc", *FLAGS, "--cap-lints", "allow", "-o", BINARY, f"{folder}/driver.rs")
    steps = (Step(argv), refuse_replaced(BINARY, "tests.rs"))
    recipe = Recipe(files, steps, (BINARY,), (f"./{BINARY}",), "rustc gcc")
    return SuitePlan(recipe, tuple(tests.ids), may_skip=frozenset(tests.ignored), test_files=("tests.rs", "driver.rs"))
