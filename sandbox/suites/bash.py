"""Tests of bash programs: functions `test_*`, or bare commands each of which must succeed.

Every test is a bash of its own. Functions of the program that tests call run in yet another one, so that all a test
sees of them is output and status; only tests that look at variables of the program read it into their own shell.
Not covered: a program in the same job that attacks the tests' process from its own.
"""

import re
import shlex

from sandbox.recipes import Recipe
from sandbox.suites import bash_effects
from sandbox.suites.plans import FOLDER, Sources, SuiteError, SuitePlan, driver, no_tests
from sandbox.suites.scan import numbered

CONVENTION = 'functions test_*, or commands that must succeed, as [ "$(add 1 2)" = 3 ] or assert_eq'
_FUNCTION = re.compile(
    r"^[ \t]*(?:function\s+(?P<one>[\w:.-]+)\s*(?:\(\s*\))?|(?P<two>[\w:.-]+)\s*\(\s*\))\s*(?=[{(\n])",
    re.MULTILINE,
)
_VARIABLE = re.compile(
    r"(?:^|[;&|({]|\b(?:declare|export|readonly|typeset)\b(?:\s+-\w+)*)\s*([A-Za-z_]\w*)\+?=", re.MULTILINE
)
_READ = re.compile(r"\$\{?[#!]?([A-Za-z_]\w*)")
_ARITHMETIC = re.compile(r"\(\(([^()]*)\)\)")
_SOURCES = re.compile(
    r"^[ \t]*(?:source|\.)[ \t]+\S*(?:solution|main|script)(?:\.sh)?['\"]?[ \t]*;?[ \t]*$", re.MULTILINE
)
_CHECK = re.compile(
    r"^\s*(?:!\s*)?(?:\[\[?\s|\(\(|test\s|assert\w*\b|diff\s|grep\s|cmp\s|fail\b)|[|&]\s*(?:grep|diff|cmp)\s"
)
_PREPARES = re.compile(r"\s*(?:\w+\+?=|declare|local|export|readonly|shopt|echo|printf|mkdir|cd|touch|cat|source|\.)")
_BLOCKS = re.compile(r"\b(?:if|for|while|until|case|select)\b(?=\s)|\bfi\b|\bdone\b|\besac\b|[{}()]")
_VALUE = r"""(?P<value>-?\d+|"[^"$`\\]*"|'[^']*'|[\w.:,/-]+)"""
_RESULT = r"""(?:"[^"]*\$[^"]*(?:"[^"]*"[^"]*)*"|\$\(.*\)|`[^`]*`|\$\{?\w+\}?)"""
# Checks that hold for one result only, so that they must fail when they expect another.
_EXPECTS = (
    re.compile(rf"\s*(?:\[\[?|test)\s+{_RESULT}\s+(?:==?|-eq)\s+{_VALUE}\s*\]?\]?\s*;?\s*"),
    re.compile(rf"\s*(?:\[\[?|test)\s+{_VALUE}\s+(?:==?|-eq)\s+{_RESULT}\s*\]?\]?\s*;?\s*"),
    re.compile(rf"\s*assert(?:_eq|_equals?|Equals)\s+{_RESULT}\s+{_VALUE}\s*;?\s*"),
    re.compile(rf"\s*assert(?:_eq|_equals?|Equals)\s+{_VALUE}\s+{_RESULT}\s*;?\s*"),
)
MAX_TWINS = 32  # of one suite; each is a process of some 4 ms
_OTHER = 104729  # what a twin adds to a number
_LEAVES = re.compile(r"\b(?:return|exit|break|continue|exec)\b")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_BATS = re.compile(r"^[ \t]*@test[ \t]+(['\"].*?['\"])[ \t]*\{", re.MULTILINE)
RESERVED = frozenset(
    ("test", "[", "exit", "return", "echo", "printf", "read", "set", "trap", "unset", "builtin", "command", "eval")
)

# A single check whose status goes nowhere: to a pipe, or to the background. Bash says nothing of it, even to a trap.
_UNHEARD = re.compile(
    r"(?:^|[;&|({]|\b(?:then|else|do)\b)[ \t]*(?:\[\[?\s[^|&;\n]*\]|test\s[^|&;\n]*)[ \t]*(?:\|(?!\|)|&(?![&>]))",
    re.MULTILINE,
)
# An exit in a loop behind a pipe ends the loop alone, and what follows hides that.
_LEFT_LOOP = re.compile(
    r"\|\s*while\b(?:(?!\bdone\b).)*\b(?:exit|return)\s+[1-9](?:(?!\bdone\b).)*\bdone\b(?!\s*(?:;?\s*\}|\|\||&&|$))",
    re.DOTALL,
)
_LOOKS_AT_SUBSHELLS = re.compile(r"\$\?|!\s*\(")  # so that one that fails may be what is wanted
JUDGES = frozenset(("grep", "egrep", "fgrep", "diff", "cmp", "true", "false", "bash", *RESERVED))


def functions(text: str) -> list[str]:
    """Return the names of the functions that a text defines, each once."""
    return list(dict.fromkeys(match["one"] or match["two"] for match in _FUNCTION.finditer(text)))


def statements(text: str) -> list[tuple[int, str]]:
    """Split a text into its top-level statements, each with the line it begins in."""
    found: list[tuple[int, str]] = []
    kept: list[str] = []
    first, depth, heredoc = 1, 0, ""
    in_case = n_brackets = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not kept:
            first = number
        kept.append(line)
        if heredoc:
            heredoc = "" if line.strip() == heredoc else heredoc
            continue
        plain = re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|(?:^|\s)#.*", " ", line)
        opened = _HEREDOC.search(line)
        heredoc = opened[2] if opened and "<<<" not in line else ""
        words = _BLOCKS.findall(re.sub(r"\$\{[^}]*\}", "", plain))
        for word in words:
            if word in {"(", ")"}:  # the patterns of a case have one alone
                n_brackets = max(0, n_brackets + (0 if in_case else 1 if word == "(" else -1))
                continue
            in_case += (word == "case") - (word == "esac")
            depth += -1 if word in {"fi", "done", "esac", "}"} else 1
        whole = "\n".join(kept)
        continues = line.endswith("\\") or re.search(r"(?:&&|\|\||\|)\s*$", plain) or whole.count('"') % 2
        if depth <= 0 and not n_brackets and not heredoc and not continues:
            found.append((first, whole))
            kept, depth, in_case = [], 0, 0
    if kept:
        found.append((first, "\n".join(kept)))
    return [
        (line, statement) for line, statement in found if statement.strip() and not statement.lstrip().startswith("#")
    ]


def _prelude(sources: Sources, names: list[str], test_text: str) -> str:
    """Return how a test gets at the program: through processes, or by reading it where variables are looked at."""
    assigned = set(_VARIABLE.findall(sources.code))
    read = set(_READ.findall(test_text))
    read |= {name for sum_ in _ARITHMETIC.findall(test_text) for name in re.findall(r"[A-Za-z_]\w*", sum_)}
    name = shlex.quote(sources.source_name)
    if assigned & read - set(_VARIABLE.findall(test_text)):
        return f"builtin source ./{name} 4<&- 5>&- >/dev/null\n__cq_guard\n"
    stubs = "".join(
        f'{one}() {{ bash --noprofile --norc -c \'source "$0" >/dev/null; "$@"\' ./{name} {one} "$@" 5>&-; }}\n'
        for one in names
        if one not in RESERVED
    )
    # The guard takes away functions that stand before a command with which tests judge, such as `sort`.
    is_tested = len(names) == 1 and names[0] not in JUDGES and "solution" not in test_text
    return f"__cq_guard\n{stubs}" if is_tested else f"{stubs}__cq_guard\n"


def _checks(text: str) -> bool:
    return _CHECK.search(text) is not None


def _refuse_unheard(text: str) -> None:
    """Refuse a check in a pipe or in the background, where nobody hears of its status."""
    for line, statement in statements(text):
        plain = bash_effects.plain(statement)
        shown = f"{statement.strip().splitlines()[0][:100]} (line {line})"
        if _UNHEARD.search(plain):
            why = f"{shown}: the status of a check before | or & is lost; let the check stand alone"
            raise SuiteError("TestChecksNothing", why)
        if _LEFT_LOOP.search(plain):
            why = f"{shown}: exit in a loop behind a pipe ends only the loop; write done < <(...)"
            raise SuiteError("TestChecksNothing", why)


def _with_bats(text: str) -> str:
    """Return the text with tests of bats as functions. Raises `SuiteError` if it needs more of bats than that."""
    n_tests = 0

    def function(match: re.Match[str]) -> str:
        nonlocal n_tests
        n_tests += 1
        words = re.sub(r"\W+", "_", match[1]).strip("_")
        return f"test_{n_tests}_{words}() {{"

    text = _BATS.sub(function, text)
    needed = re.search(r"^[ \t]*(?:(setup|teardown)\w*\s*\(\)|load\s)", text, re.MULTILINE)
    if n_tests and needed:
        line = f"{needed[0].strip()} of bats is not supported: write what it does into each test"
        raise SuiteError("UnsupportedTests", line)
    return text


class _Tests:
    """A text of tests: what prepares them, and each test's own commands."""

    def __init__(self, text: str) -> None:
        text = _with_bats(_SOURCES.sub("", text).replace("\r\n", "\n"))
        _refuse_unheard(text)
        self.hears_subshells = _LOOKS_AT_SUBSHELLS.search(text) is None
        self.functions = [name for name in functions(text) if name.startswith("test")]
        self.shared: list[tuple[int, str]] = []
        self.bodies: list[tuple[str, list[tuple[int, str]]]] = []
        self.script: str | None = None  # the test that is the whole text, where its statements need each other
        self._bare: list[tuple[int, list[tuple[int, str]]]] = []
        self._defined: dict[str, str] = {}
        self._sequence: list[tuple[int, str]] = []  # all that the top of the text does
        for line, statement in statements(text):
            self._add(line, statement)
        idle = [name for name in self.functions if not bash_effects.can_fail(self._defined.get(name, "false"))]
        if self._bare and self._is_stateful():
            self.functions = [name for name in self.functions if name not in idle]
            self.script = f"line {self._bare[0][0]}"
            self.bodies = [(self.script, self._sequence)]
        elif idle:
            text = f"{idle[0]} cannot fail, whatever the program does: let it return a status, or use [ ] alone"
            raise SuiteError("TestChecksNothing", text)
        else:
            ids = numbered([f"line {line}" for line, _ in self._bare])
            self.bodies = [(name, body) for name, (_, body) in zip(ids, self._bare, strict=True)]
        self.bodies += [(name, self.shared) for name in self.functions]

    def _add(self, line: int, statement: str) -> None:
        word = statement.strip()
        if statement.startswith("#!") or re.fullmatch(r"set\s+[-+].*|exit\s*\d*", word):
            return
        if word in self.functions:  # it runs by itself, unless the whole text has to
            self._sequence.append((line, statement))
            return
        if re.fullmatch(r"exit\s.*", word):  # with a status that was counted
            statement = f"( {word.rstrip(';')} )"
        defines = _FUNCTION.match(statement)
        if defines:
            self._defined[defines["one"] or defines["two"]] = statement[defines.end() :]
        self._sequence.append((line, statement))
        is_check = not defines and (_checks(statement) or not _PREPARES.match(statement))
        if is_check and (bash_effects.can_fail(statement) or bash_effects.assigned(statement, self._defined)):
            self._bare.append((line, [*self.shared, (line, statement)]))
        else:
            self.shared.append((line, statement))

    def _is_stateful(self) -> bool:
        """Tell whether a check may see what an earlier one did: a variable that counts failures, a file."""
        checks = {line for line, _ in self._bare}
        changed: set[str] = set()
        has_written = False
        for line, statement in self._sequence:
            if _FUNCTION.match(statement):
                continue
            is_affected = bash_effects.reads(statement, changed)
            if line in checks and (is_affected or has_written):
                return True
            has_written = has_written or (line in checks and bash_effects.writes(statement))
            if is_affected or line in checks or statement.strip() in self.functions:
                changed |= bash_effects.assigned(statement, self._defined)
        return False


def _placed(body: list[tuple[int, str]]) -> str:
    """Return statements as a text in which each stands in its own line of the tests."""
    lines: list[str] = []
    for line, statement in body:
        lines += [""] * max(0, line - 1 - len(lines))
        lines += statement.split("\n")
    return "\n".join(lines) + "\n"


def _in_sequence(body: list[tuple[int, str]]) -> str:
    """Return statements one after the other, where those that check something must hold."""
    commands = []
    for line, statement in body:
        shown = shlex.quote(f"{statement.strip()[:200]} (line {line})")
        ended = "__cq_ended $?\n" if not _FUNCTION.match(statement) and not _PREPARES.match(statement) else ""
        commands.append(f"__cq_shown={shown}\n{statement}\n{ended}")
    return "".join(commands)


def _scripts(number: int, prelude: str, test: tuple[str, list[tuple[int, str]]], tests: _Tests) -> dict[str, str]:
    """Return the scripts of one test: what it is, and what it builds on.

    All of a test is one compound command: an error that makes bash give up a command, as a division by zero in an
    expansion does, gives up the word with which it says that it passed, too.
    """
    test_id, body = test
    is_function = test_id in tests.functions
    if is_function:
        steps, call, shown = body, test_id, ""
    elif test_id == tests.script:
        steps, call, shown = [], _in_sequence(body), ""
    else:
        steps, (line, last) = body[:-1], body[-1]
        call, shown = last.strip().rstrip(";"), f"{last.strip()[:200]} (line {line})"
    watch = (
        f"__cq_in={test_id if is_function else ''} __cq_shown={shlex.quote(shown)} "
        f"__cq_deep={tests.hears_subshells:d}\n"
        'builtin trap \'[[ ${FUNCNAME[0]} == "$__cq_in" && ( $BASH_SUBSHELL == 0 || $__cq_deep == 1 ) ]] && '
        '__cq_err "$BASH_COMMAND" "$LINENO"\' ERR\nbuiltin set -E\nbuiltin trap __cq_leave EXIT\n'
    )
    script = (
        f"{prelude}{{\nbuiltin source /dev/fd/8\nexec 8<&- 9<&-\n{watch}{{ {call}\n}}\n__cq_ended $?\n__cq_done\n}}\n"
    )
    return {f"{FOLDER}/test_{number}.sh": script, f"{FOLDER}/steps_{number}.sh": _placed(steps)}


def _expecting_another(statement: str) -> str | None:
    """Return a check that expects another result, None if that is not simple."""
    for pattern in _EXPECTS:
        match = pattern.fullmatch(statement)
        if match is not None:
            value = match["value"]
            is_quoted = value[0] in "\"'"
            plain = value.strip("\"'")
            other = str(int(plain) + _OTHER) if re.fullmatch(r"-?[0-9]{1,15}", plain) else f"{plain}~"
            other = f"{value[0]}{other}{value[0]}" if is_quoted else other
            return statement[: match.start("value")] + other + statement[match.end("value") :]
    return None


def _twins(test: tuple[str, list[tuple[int, str]]], tests: _Tests) -> list[list[tuple[int, str]]]:
    """Return the test once for each of its checks that can expect another result; each of them has to fail."""
    test_id, body = test
    function = test_id if test_id in tests.functions else None
    if test_id == tests.script:
        others = [(index, line, _expecting_another(statement)) for index, (line, statement) in enumerate(body)]
        return [
            [*body[:index], (line, changed), *body[index + 1 :]]
            for index, line, changed in others
            if changed is not None
        ]
    if function is None:
        line, last = body[-1]
        changed = _expecting_another(last)
        return [] if changed is None else [[*body[:-1], (line, changed)]]
    made = []
    for index, (line, statement) in enumerate(body):
        defines = _FUNCTION.match(statement)
        opening = statement.find("{")
        if not defines or function not in {defines["one"], defines["two"]} or opening < 0:
            continue
        inner = statement[opening + 1 : statement.rfind("}")]
        for first, inside in _parts(inner):
            if _LEAVES.search(inside) or inside.count("(") != inside.count(")"):
                break  # what follows may not be reached, or not be heard of because it runs in a subshell
            changed = _expecting_another(inside)
            if changed is not None:
                end = first + len(inside)
                text = (
                    statement[: opening + 1] + inner[:first] + changed + inner[end:] + statement[statement.rfind("}") :]
                )
                made.append([*body[:index], (line, text), *body[index + 1 :]])
    return made


def _parts(inner: str) -> list[tuple[int, str]]:
    """Return the statements of a function's body, each with where it begins."""
    found, position = [], 0
    for _, statement in statements(inner):
        position = inner.index(statement, position)
        found.append((position, statement))
        position += len(statement)
    return found


def plan(sources: Sources) -> SuitePlan:
    """Plan the tests of a bash program. Raises `SuiteError`."""
    tests = _Tests(sources.test_code)
    if not tests.bodies:
        raise no_tests(CONVENTION)
    names = [
        name
        for name in functions(sources.code)
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", sources.test_code)
    ]
    prelude = _prelude(sources, names, sources.test_code)
    scripts: dict[str, str] = {}
    for number, test in enumerate(tests.bodies):
        scripts |= _scripts(number, prelude, test, tests)
    ids = [name for name, _ in tests.bodies]
    twins: list[int] = []
    for index, test in enumerate(tests.bodies):
        for twin in _twins(test, tests)[: MAX_TWINS - len(twins)]:
            scripts |= _scripts(len(ids) + len(twins), prelude, (test[0], twin), tests)
            twins.append(index)
    files = {
        sources.source_name: sources.code,
        **sources.files,
        **scripts,
        f"{FOLDER}/driver.sh": driver("driver.sh"),
        f"{FOLDER}/one.sh": driver("one.sh"),
        f"{FOLDER}/ids": "".join(f"{name}\n" for name in ids),
        f"{FOLDER}/twins": "".join(f"{index}\n" for index in twins),
    }
    recipe = Recipe(files, (), (), ("bash", "--noprofile", "--norc", f"{FOLDER}/driver.sh"), "bash")
    return SuitePlan(recipe, tuple(ids), needs_sources=True, is_parsed_late=True, test_files=tuple(scripts))
