"""`analyze`: weighs what a run's texts say against what was observed, and says what failed, where, and what to do.

The order of trust: the verdict, then the class of error that the sandbox judged, then the texts. A program can print
any traceback it likes, so frames of a text that contradicts the facts are dropped, and a line counts as the program's
own only when it exists there and, where the text quotes it, reads the same.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from sandbox.analysis.advice import advise
from sandbox.analysis.cause import Cause, kind_of, short_name
from sandbox.analysis.compilers import read_gcc, read_go_build, read_rustc
from sandbox.analysis.crashes import read_bash, read_c_crash, read_go_panic, read_rust_panic
from sandbox.analysis.javascript_traces import read_javascript
from sandbox.analysis.prompt import build_prompt
from sandbox.analysis.python_traces import read_pytest, read_python
from sandbox.analysis.situation import Situation
from sandbox.analysis.text import clean, clean_lines
from sandbox.failures import OTHER, classify, named
from sandbox.languages import find_language
from sandbox.types import FailureAnalysis, FailureReport, FailureType, Severity, TracebackFrame, Verdict

HOPELESS_BELOW = 0.1  # of the lens' probability: such code is not mended at one place
SOUND_ABOVE = 0.6  # of the same: its structure is probably right, so a high severity is lowered
QUOTE_CHARS = 60  # of a quoted line that must be in the program; long ones arrive cut
MESSAGE_CHARS = 500  # as documented of `error_message`
CODE_CHARS = 512 * 1024  # of a program that are looked at; bounds the time of hostile ones
STDOUT_CHARS = 4000  # as documented of `stdout`: a longer output arrives as its end
STDERR_CHARS = 2000  # the same of `stderr`

Reader = Callable[[list[str]], Cause | None]

_COMPILERS: dict[str, Reader] = {
    "python": read_python,
    "javascript": read_javascript,
    "typescript": read_javascript,
    "c": read_gcc,
    "cpp": read_gcc,
    "rust": read_rustc,
    "go": read_go_build,
    "bash": read_bash,
}
_RUNTIMES: dict[str, Reader] = {
    **_COMPILERS,
    "c": read_c_crash,
    "cpp": read_c_crash,
    "rust": read_rust_panic,
    "go": read_go_panic,
}

_SEVERITIES: dict[FailureType, Severity] = {
    "syntax": "low",
    "import": "low",
    "name": "low",
    "none": "low",
    "type": "medium",
    "index": "medium",
    "key": "medium",
    "attribute": "medium",
    "value": "medium",
    "assertion": "medium",
    "output_mismatch": "medium",
    "runtime": "high",
    "timeout": "high",
    "unknown": "high",
    "memory": "critical",
}
_STRUCTURAL: frozenset[FailureType] = frozenset({"timeout", "memory", "unknown"})
_NOT_THE_PROGRAMS = {"NoTestsFound", "NoTestsRun", "TestSyntaxError", "SandboxError"}
_GENERIC = {"", "RuntimeError", "CompileError", "SyntaxError", "SIGABRT", "Error"}  # a text may know it more exactly

_LIBRARY = re.compile(
    r"site-packages|dist-packages|node_modules|/lib/python|^/usr/|^/rustc/|^node:|^internal/|^<|/go/src/|/library/std/"
)
_OF_TESTS = re.compile(r"(?:^|/)(?:tests?/|test_[^/]*$|[^/]*_test\.\w+$|[^/]*\.test\.\w+$)")
_JUDGED_LINE = re.compile(r"^Line (\d{1,9}): |\(line (\d{1,9})\)$")
_STATED = re.compile(r"^Line (\d{1,9}): (.*?)(?: (\[E\d{4}\]))?$")
_FORMS = {
    "c": "solution.c:{line}: error: {text}",
    "cpp": "solution.cpp:{line}: error: {text}",
    "go": "solution.go:{line}: {text}",
    "rust": "error{code}: {text}\n --> solution.rs:{line}:1",
}
_BARE = re.compile(r"^(?:Uncaught )?((?:\w+\.)*\w*(?:Error|Exception))(?:: (.*))?$")  # an error without a traceback
_TIMED_OUT = re.compile(r"^Execution timed out after [\d.]+ ?s")


def analyze(report: FailureReport) -> FailureAnalysis:
    """Explain one run.

    Costs some milliseconds, and at most some 0.5 s for hostile texts of any size.

    Raises:
        UnknownLanguageError: the language is not known.
    """
    language = find_language(report.language).name
    if report.passed and report.verdict in (None, Verdict.OK):
        return FailureAnalysis(
            passed=True,
            failure_type="none",
            failure_line=None,
            failure_message="",
            is_recoverable=True,
            severity="low",
            traceback_frames=(),
            suggestion=None,
            repair_prompt="",
            error_class=None,
        )
    lines = report.code[:CODE_CHARS].removesuffix("\n").split("\n")
    cause = _believed(report, language, lines)
    frames = _completed(cause.frames, lines)
    cause = replace(cause, frames=frames, message=clean(cause.message)[:MESSAGE_CHARS])
    situation = Situation(report, language, cause, _failing_line(report, cause, lines), lines)
    suggestion = advise(situation)
    return FailureAnalysis(
        passed=False,
        failure_type=cause.kind,
        failure_line=situation.line,
        failure_message=cause.message,
        is_recoverable=_is_recoverable(situation),
        severity=_severity(cause.kind, report.gx_score),
        traceback_frames=frames,
        suggestion=suggestion,
        repair_prompt=build_prompt(situation, suggestion),
        error_class=cause.error_class,
    )


def _believed(report: FailureReport, language: str, lines: list[str]) -> Cause:
    """Return the cause that facts and texts together give."""
    fact = _observed(report)
    if fact is not None:
        return fact
    if report.verdict is Verdict.OK or (report.verdict is Verdict.WRONG_ANSWER and not report.error_type):
        return _wrong_output(report) or Cause(
            "unknown", None, "the program ended without an error, and was judged wrong"
        )
    told = _told(report, language)
    if report.error_type:
        return _judged(report, told, language, lines)
    if _is_wrong_output(report) and (told is None or not told.is_last):
        return _wrong_output(report) or Cause("unknown", None, "")
    return told or _unread(report)


def _unread(report: FailureReport) -> Cause:
    """Return the cause of texts that no reader understands: their last line, and the class it may name."""
    words = report.error_message or clean(report.stderr).split("\n")[-1]
    bare = _BARE.match(words)
    if bare is not None:
        return Cause(kind_of(bare[1]), bare[1], bare[2] or "")
    found = classify(clean(report.stderr)) if report.verdict is None else None
    if found is not None and found != OTHER:
        return Cause(kind_of(found), found, words)
    return Cause("runtime" if words else "unknown", None, words)


def _observed(report: FailureReport) -> Cause | None:
    """Return the cause of a run that a limit or a signal ended, whatever its texts say."""
    message, name = report.error_message or "", report.error_type
    verdict = report.verdict
    if verdict is Verdict.TIME_LIMIT or (verdict is None and _is_timeout(report)):
        return Cause("timeout", "Timeout", message or "the program did not end within its time limit")
    if verdict is Verdict.MEMORY_LIMIT or (verdict is None and name == "MemoryLimit"):
        return Cause("memory", "MemoryLimit", message or "the program used more memory than its limit")
    if verdict is Verdict.OUTPUT_LIMIT:
        return Cause("runtime", "OutputLimit", message or "the program wrote more than its limit")
    if verdict is Verdict.SANDBOX_ERROR:
        return Cause("unknown", "SandboxError", message or "the sandbox itself failed; the program was not judged")
    if verdict is Verdict.SIGNALED and name not in {None, "SIGABRT"}:
        return Cause("runtime", name, message or f"the program was ended by {name}")
    return None


def _is_timeout(report: FailureReport) -> bool:
    if report.error_type is not None:
        return report.error_type == "Timeout"
    return _TIMED_OUT.match(clean(report.stderr).split("\n")[-1]) is not None


def _told(report: FailureReport, language: str) -> Cause | None:
    """Return what the texts say, of the kind that the verdict allows."""
    errors = clean_lines(report.stderr)
    readers = [_COMPILERS[language], _RUNTIMES[language]]
    if report.verdict is Verdict.COMPILE_ERROR:
        readers = readers[:1]
    elif report.verdict is not None:
        readers = readers[1:]
    for reader in readers:
        if (cause := reader(errors)) is not None:
            return cause
    return read_pytest(clean_lines(report.stdout)) if language == "python" else None


def _judged(report: FailureReport, told: Cause | None, language: str, lines: list[str]) -> Cause:
    """Return the cause of a run whose class of error the sandbox judged; a text may only make it more exact."""
    name, message = report.error_type or "", report.error_message or ""
    fact = Cause(kind_of(name), name, message)
    if report.verdict is Verdict.COMPILE_ERROR and (told is None or len(report.stderr) >= STDERR_CHARS):
        return _compilers_first(message, language) or fact  # the first error is no longer in the text
    if told is None:
        return fact
    is_generic = name in _GENERIC or (language != "python" and fact.kind == "runtime")
    own_name = short_name(told.error_class)
    is_same = named(own_name, told.message) == named(short_name(name), message)
    is_about_program = not told.frames or any(_is_own(frame, lines) for frame in told.frames)
    if is_generic and is_about_program:
        return replace(told, error_class=told.error_class or name, message=told.message or message)
    if is_same:
        return replace(told, kind=fact.kind, error_class=own_name, message=told.message or message)
    return fact


def _compilers_first(message: str, language: str) -> Cause | None:
    """Read the sandbox's own message of a compiler's first error, "Line 3: ...", as that compiler would have put it."""
    stated, form = _STATED.match(message), _FORMS.get(language)
    if stated is None or form is None:
        return None
    text = form.format(line=stated[1], text=stated[2], code=stated[3] or "")
    return _COMPILERS[language](clean_lines(text))


def _is_wrong_output(report: FailureReport) -> bool:
    if report.expected_output is None:
        return False
    got, expected = clean(report.stdout), clean(report.expected_output)
    is_cut = len(report.stdout) >= STDOUT_CHARS and bool(got) and expected.endswith(got)
    return got != expected and not is_cut


def _wrong_output(report: FailureReport) -> Cause | None:
    return Cause("output_mismatch", None, "the output is not the expected one") if _is_wrong_output(report) else None


def _is_own(frame: TracebackFrame, lines: list[str]) -> bool:
    """Tell whether a frame is in the program: no library, no tests, a line that exists and reads as quoted."""
    if _LIBRARY.search(frame.file) or _OF_TESTS.search(frame.file) or not 1 <= frame.line <= len(lines) + 1:
        return False
    if frame.code is None or frame.line > len(lines):
        return True
    return "".join(frame.code.split())[:QUOTE_CHARS] in "".join(lines[frame.line - 1].split())


def _completed(frames: tuple[TracebackFrame, ...], lines: list[str]) -> tuple[TracebackFrame, ...]:
    """Give the program's own frames the text of their lines, and drop places that a linker could not name."""
    named = [frame for frame in frames if frame.line > 0]
    return tuple(
        replace(frame, code=lines[frame.line - 1].strip()[:MESSAGE_CHARS])
        if frame.code is None and frame.line <= len(lines) and _is_own(frame, lines)
        else frame
        for frame in named
    )


def _failing_line(report: FailureReport, cause: Cause, lines: list[str]) -> int | None:
    own = [frame.line for frame in cause.frames if _is_own(frame, lines)]
    if own:
        return min(own[-1], len(lines))  # "unexpected end of file" is told of the line after the last
    if cause.kind in _STRUCTURAL or cause.kind == "output_mismatch" or cause.error_class == "TestSyntaxError":
        return None
    stated = _JUDGED_LINE.search(report.error_message or "")
    line = int(stated[1] or stated[2]) if stated else 0
    return line if 1 <= line <= len(lines) else None


def _is_recoverable(s: Situation) -> bool:
    gx = s.report.gx_score
    if (gx is not None and gx < HOPELESS_BELOW) or s.cause.error_class in _NOT_THE_PROGRAMS:
        return False
    if s.cause.kind == "runtime":
        return s.line is not None  # a place to mend is known
    return s.cause.kind not in _STRUCTURAL


def _severity(kind: FailureType, gx_score: float | None) -> Severity:
    severity = _SEVERITIES[kind]
    return "medium" if severity == "high" and gx_score is not None and gx_score > SOUND_ABOVE else severity
