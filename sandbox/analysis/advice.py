"""One specific piece of advice for each kind of failure: `advise`.

Dispatches to the advisers of names and values, and holds those of everything else: grammar, time, memory, crashes,
output. They suggest; they never say that a change is enough.
"""

import re
from collections.abc import Callable

from sandbox.analysis.advice_names import advise_on_attribute, advise_on_import, advise_on_key, advise_on_name
from sandbox.analysis.advice_values import (
    advise_on_assertion,
    advise_on_index,
    advise_on_type,
    advise_on_value,
    describe_texts,
)
from sandbox.analysis.cause import short_name
from sandbox.analysis.situation import Situation
from sandbox.analysis.text import clean, clip
from sandbox.types import FailureType

SCANNED_LINES = 2000  # of a program, for what may take its time or memory
QUOTED_CHARS = 120  # of one line of output

_ENDLESS = re.compile(
    r"^\s*(?:while\s*\(?\s*(?:True|true|1|:)\s*\)?\s*[:{;]?|for\s*\(\s*;;\s*\)|loop\s*\{|for\s*\{|while\s+:|while true)"
)
_LOOP = re.compile(r"^\s*(?:for|while|until|loop)\b")
_WAITS = re.compile(r"\binput\(|\bscanf\(|\bread_line\(|\bcin\s*>>|\bread\b\s+\w|time\.sleep\(|setInterval\(|\bsleep\b")
_LARGE = re.compile(r"\b\d{7,}\b|\*\*\s*\d|\b10\s*\*\*|\b1e\d|<<\s*\d\d|\.repeat\(|new Array\(")
_DIVISOR = re.compile(r"(?:/|%|//|\bdivmod\([^,]+,)\s*([A-Za-z_][\w.]*(?:\([^()]{0,40}\))?|\([^)]{1,40}\)|0\b)")
_FILE = re.compile(r"['`\"]([^'`\"]+)['`\"]|^(?:[\w.-]+: )*([\w./-]+): No such file")

_UNENDED = re.compile(r"expected .*';' before|^expected one of .*`;`.*found ")

_TESTS_AT_FAULT = {
    "NoTestsFound": "The tests hold nothing that could be run: write `def test_*` functions or top-level asserts.",
    "NoTestsRun": "Every test was skipped, so nothing was checked: let the tests run.",
}
_SIGNALS = {
    "SIGSEGV": "reads or writes memory that is not its own: an index beyond an array, a null or freed pointer, or a "
    "recursion without end",
    "SIGABRT": "aborts: a failed assertion, an exception that nobody catches, or a damaged heap",
    "SIGFPE": "divides an integer by zero",
    "SIGBUS": "reads or writes memory beyond the end of a mapping",
    "SIGILL": "runs an instruction that does not exist, as undefined behaviour leads to",
    "SIGSYS": "makes a system call that the sandbox does not allow",
    "SIGKILL": "was killed, by itself or for its use of memory",
    "SIGPIPE": "writes to a pipe that nobody reads",
}


def advise(s: Situation) -> str:
    """Return one sentence or two that say what to change."""
    if s.cause.error_class in _TESTS_AT_FAULT:
        return _TESTS_AT_FAULT[s.cause.error_class]
    if s.cause.error_class == "TestSyntaxError":
        return f"The tests, not the program, do not parse: {s.cause.message}."
    return _ADVISERS[s.cause.kind](s)


def _on_syntax(s: Situation) -> str:
    message = s.cause.message.removesuffix(".")
    hint = f" {s.cause.hint}" if s.cause.hint else ""
    text = s.text.rstrip()
    if s.language == "python" and re.search(r"expected ':'", message):
        return f"Add the missing `:` at the end of line {s.line}."
    if s.line is not None and message.startswith("expected `;`, found"):
        return f"Add the missing `;` at the end of line {s.line}."
    if s.line is not None and _UNENDED.search(message) and not s.line_at(s.line - 1).rstrip().endswith((";", "{", "}")):
        return f"Add the missing `;` at the end of line {s.line - 1}, before line {s.line}."
    if "never closed" in message or "unexpected EOF" in message or "unexpected end" in message.lower():
        return f"Something that was opened is not closed{s.where} ({message}): add the missing bracket, quote or end."
    if "indent" in message or s.cause.error_class in {"IndentationError", "TabError"}:
        return f"Correct the indentation{s.where} ({message}): four spaces a level, no tabs."
    shown = f" `{clip(text.strip(), QUOTED_CHARS)}`" if text.strip() else ""
    return f"Correct the grammar{s.where}{shown}: {message}.{hint}"


def _on_runtime(s: Situation) -> str:
    name, message = short_name(s.cause.error_class), s.cause.message
    if name in _SIGNALS:
        said = f" ({clip(message, QUOTED_CHARS)})" if message else ""
        return f"The program {_SIGNALS[name]}{said}: check bounds, pointers and the depth of calls."
    lowered = f"{name} {message}".lower()
    for words, adviser in _RUNTIME:
        if any(word in lowered for word in words):
            return adviser(s)
    hint = f" {s.cause.hint}" if s.cause.hint else ""
    return f"The program fails{s.where} with {name or 'an error'}: {message or 'no message'}.{hint}"


def _on_division(s: Situation) -> str:
    divisor = _DIVISOR.search(s.text)
    named = f"`{divisor[1]}`" if divisor else "The divisor"
    return f"{named} is zero{s.where}: test it before dividing, and decide what the result is then."


def _on_recursion(s: Situation) -> str:
    frames = s.cause.frames
    function = f"`{frames[-1].function}`" if frames and frames[-1].function.isidentifier() else "A function"
    return f"{function} calls itself without end{s.where}: add or correct its base case, or make it a loop."


def _on_missing_file(s: Situation) -> str:
    told = _FILE.search(s.cause.message)
    name = f"`{told[1] or told[2]}`" if told else "A file"
    return f"{name} does not exist{s.where}: the workspace holds only the program and `files`; write it first."


def _on_input(s: Situation) -> str:
    return f"The program reads more input than it is given{s.where}: stop at its end, or pass it in `stdin`."


def _on_exit(s: Situation) -> str:
    return f"The program ends itself with a status that is not zero ({s.cause.message}): end it with 0 on success."


def _on_incomplete(s: Situation) -> str:
    return f"The program ended before its tests did ({s.cause.message}): it must not exit, crash or replace the runner."


def _on_output(s: Situation) -> str:
    return f"The program writes without end ({s.cause.message}): bound the loop that prints, or print less."


def _on_null(s: Situation) -> str:
    return f"A nil pointer or map is used{s.where} ({s.cause.message}): make it first, or test it for nil."


def _on_deadlock(s: Situation) -> str:
    return f"Every goroutine waits{s.where}: let another one send, close the channel, or give it a buffer."


_RUNTIME: tuple[tuple[tuple[str, ...], Callable[[Situation], str]], ...] = (
    (("zerodivision", "divide by zero", "division by 0", "division by zero"), _on_division),
    (("recursionerror", "call stack size", "stack overflow", "overflowed its stack"), _on_recursion),
    (("filenotfound", "no such file", "enoent"), _on_missing_file),
    (("eoferror", "eof when reading"), _on_input),
    (("systemexit", "exited with status"), _on_exit),
    (("testsincomplete",), _on_incomplete),
    (("outputlimit",), _on_output),
    (("nil pointer", "nil map"), _on_null),
    (("deadlock",), _on_deadlock),
)


def _on_timeout(s: Situation) -> str:
    start = "The program did not end in time"
    for pattern, advice in (
        (_ENDLESS, "loops without end; give it a condition or a `break` that is reached"),
        (_WAITS, "waits; do not wait for input or time that does not come"),
        (_LOOP, "loops; make sure that it ends, or use a faster algorithm"),
    ):
        number = next((at for at, line in enumerate(s.lines[:SCANNED_LINES], 1) if pattern.search(line)), None)
        if number is not None:
            return f"{start}: line {number} (`{clip(s.line_at(number).strip(), QUOTED_CHARS)}`) {advice}."
    return f"{start}: look for a recursion without a base case, or use a faster algorithm."


def _on_memory(s: Situation) -> str:
    number = s.line or next((at for at, line in enumerate(s.lines[:SCANNED_LINES], 1) if _LARGE.search(line)), None)
    if number is None:
        return "The program needs too much memory: do not keep everything; use a generator or smaller structures."
    shown = clip(s.line_at(number).strip(), QUOTED_CHARS)
    return f"The program needs too much memory: line {number} (`{shown}`) makes something large; build it in parts."


def _on_mismatch(s: Situation) -> str:
    got, expected = clean(s.report.stdout).split("\n"), clean(s.report.expected_output or "").split("\n")
    if got == [""]:
        return "Nothing was printed: print the result."
    if " ".join(got).split() == " ".join(expected).split():
        return "Only white space differs: print exactly the expected spaces and line ends."
    pairs = enumerate(zip(got, expected, strict=False), 1)
    first = next(((n, a, b) for n, (a, b) in pairs if a.rstrip() != b.rstrip()), None)
    if first is None:
        return f"{len(got)} lines were printed where {len(expected)} are expected; those there are agree."
    number, left, right = first
    shown = f"`{clip(left, QUOTED_CHARS)}` where `{clip(right, QUOTED_CHARS)}` is expected"
    return f"Line {number} of the output is {shown}: {describe_texts(left, right)}."


def _on_unknown(s: Situation) -> str:
    if s.cause.message:
        return f"The program failed, and nothing says where: {clip(s.cause.message, 300)}."
    return "The program failed and says nothing: run it with tests, or print what it computes."


_ADVISERS: dict[FailureType, Callable[[Situation], str]] = {
    "syntax": _on_syntax,
    "runtime": _on_runtime,
    "type": advise_on_type,
    "name": advise_on_name,
    "index": advise_on_index,
    "key": advise_on_key,
    "value": advise_on_value,
    "attribute": advise_on_attribute,
    "import": advise_on_import,
    "assertion": advise_on_assertion,
    "timeout": _on_timeout,
    "output_mismatch": _on_mismatch,
    "memory": _on_memory,
    "unknown": _on_unknown,
    "none": _on_unknown,
}
