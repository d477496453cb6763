"""Reads what Python says of an error: tracebacks, chains of them, syntax errors, and pytest's short form.

Of a chain the last error counts: it is the one that ended the program. See
https://docs.python.org/3/library/traceback.html for the form. It believes the text; `explain.py` does not.
"""

import re
from dataclasses import replace

from sandbox.analysis.cause import Cause, kind_of, last_frames
from sandbox.types import TracebackFrame

_START = "Traceback (most recent call last):"
_GROUP = re.compile(r"^ {0,40}(?:\| |\+-\+?-* ?)")  # the margin that an exception group draws
_FRAME = re.compile(r'^ {2}File "([^"]+)", line (\d{1,9})(?:, in (.+))?$')
_CARETS = re.compile(r"^\s*[\^~]+\s*$")
_REPEATED = re.compile(r"^ {2}\[Previous line repeated \d+ more times?\]$")
_ERROR = re.compile(r"^([A-Za-z_][\w.]*)(?:: ?(.*))?$")
_JUDGED = re.compile(r"^FAILED (.+?): ([A-Za-z_][\w.]*): (.*)$")  # the sandbox's own line of a failed test
_BRIEF = re.compile(r"^(?:\.\./)*([\w./-]+\.py):(\d{1,9}): in (\S+)$")
_EXCEPTION = re.compile(r"^E {3}([A-Za-z_][\w.]*)(?:: ?(.*))?$")
_CHAIN = ("The above exception was", "During handling of the above")


def read_python(lines: list[str]) -> Cause | None:
    """Return the error that ended the program by its standard error, or None."""
    found: Cause | None = None
    frames: list[TracebackFrame] = []
    is_open = False  # inside a traceback whose error line has not come
    for line in (_GROUP.sub("", raw) for raw in lines):
        if line == _START:
            frames, is_open = [], True
        elif frame := _FRAME.match(line):
            frames, is_open = ([*frames, _frame(frame)] if is_open else [_frame(frame)]), True
        elif is_open and line.startswith(" "):
            frames = _with_code(frames, line)
        elif is_open and (error := _ERROR.match(line)):
            found, is_open = _cause(error, frames), False
            frames = []
        elif found is not None and line.strip() and not line.startswith(_CHAIN):
            found = replace(found, is_last=False)
    return found or _judged(lines)


def read_pytest(lines: list[str]) -> Cause | None:
    """Return the first failure of a run of pytest by its standard output, or None."""
    frames: list[TracebackFrame] = []
    for line in lines:
        if line.startswith("____"):
            frames = []
        elif brief := _BRIEF.match(line):
            frames.append(TracebackFrame(brief[1], int(brief[2]), brief[3], None))
        elif error := _EXCEPTION.match(line):
            return _cause(error, frames)
        elif frames and line.startswith("    "):
            frames = _with_code(frames, line)
    return None


def _frame(match: re.Match[str]) -> TracebackFrame:
    return TracebackFrame(match[1], int(match[2]), match[3] or "<module>", None)


def _with_code(frames: list[TracebackFrame], line: str) -> list[TracebackFrame]:
    """Give the last frame its text, unless it has one or the line only points at it."""
    if not frames or frames[-1].code is not None or _CARETS.match(line) or _REPEATED.match(line):
        return frames
    return [*frames[:-1], replace(frames[-1], code=line.strip())]


def _cause(error: re.Match[str], frames: list[TracebackFrame]) -> Cause:
    kind = kind_of(error[1])
    is_syntax = kind == "syntax" and bool(frames)
    return Cause(kind, error[1], error[2] or "", last_frames(frames), is_compile_error=is_syntax)


def _judged(lines: list[str]) -> Cause | None:
    for line in lines:
        if judged := _JUDGED.match(line):
            return Cause(kind_of(judged[2]), judged[2], f"{judged[1]}: {judged[3]}")
    return None
