"""Reads what node, esbuild and the TypeScript compiler say of an error.

Node names the place first, then the error, then the calls, innermost first; frames are turned round here, so that the
call that failed is the last as in every other language. It believes the text; `explain.py` does not.
"""

import re
from collections.abc import Sequence

from sandbox.analysis.cause import Cause, kind_of, last_frames
from sandbox.types import FailureType, TracebackFrame

_PLACE = re.compile(r"^(?:file://)?(/?[^\s:()]+):(\d{1,9})$")  # node's first line
_ERROR = re.compile(r"^(?:Uncaught )?([A-Za-z_$][\w$.]*)(?: \[\w+\])?(?:: (.*))?$")
_CALL = re.compile(r"^\s+at (?:async )?(?:(.+?) \()?(?:file://)?([^\s()]+?):(\d{1,9}):\d{1,9}\)?$")
_THROWN = "(Use `node --trace-uncaught"
_LOOK_AHEAD = 12  # lines between an error and its calls: a message of several lines
_NODE_KINDS: tuple[tuple[str, FailureType], ...] = (
    ("Cannot find module ", "import"),
    ("Cannot find package ", "import"),
    ("Cannot use import statement outside a module", "import"),
    ("Maximum call stack size exceeded", "runtime"),
    ("Invalid string length", "memory"),
    ("Array buffer allocation failed", "memory"),
)
_HEAP = re.compile(r"^FATAL ERROR: .*(?:heap out of memory|Allocation failed)")

_ESBUILD = re.compile(r"^\S? ?\[ERROR\] (.*)$")
_ESBUILD_PLACE = re.compile(r"^ {4}(\S+?):(\d{1,9}):\d{1,9}:$")
_TSC = re.compile(r"^(\S+?)(?:\((\d{1,9}),\d{1,9}\): |:(\d{1,9}):\d{1,9} - )error TS(\d{3,6}): (.*)$")
_TSC_KINDS: dict[str, FailureType] = {
    "2304": "name",
    "2552": "name",
    "2503": "name",
    "2580": "name",
    "2584": "name",
    "2339": "attribute",
    "2551": "attribute",
    "2307": "import",
    "2305": "import",
    "2614": "import",
    "2792": "import",
}
_MEANT = re.compile(r"Did you mean(?: to use)? '([^']+)'")


def read_javascript(lines: list[str]) -> Cause | None:
    """Return the error that ended a program of node, or that esbuild or tsc refused it for, or None."""
    return read_typescript(lines) or _read_node(lines)


def read_typescript(lines: Sequence[str]) -> Cause | None:
    """Return the first error of esbuild or of the TypeScript compiler, or None."""
    for at, line in enumerate(lines):
        if told := _TSC.match(line):
            return _tsc_cause(told)
        if told := _ESBUILD.match(line):
            place = next((m for later in lines[at + 1 : at + 4] if (m := _ESBUILD_PLACE.match(later))), None)
            frames = () if place is None else (TracebackFrame(place[1], int(place[2]), "", None),)
            kind: FailureType = "import" if told[1].startswith("Could not resolve") else "syntax"
            return Cause(kind, "CompileError", told[1], frames, is_compile_error=True)
    return None


def _tsc_cause(told: re.Match[str]) -> Cause:
    line, number, message = told[2] or told[3], told[4], told[5]
    is_grammar = number.startswith("1") and len(number) == len("1005")
    kind: FailureType = "syntax" if is_grammar else _TSC_KINDS.get(number, "type")
    meant = _MEANT.search(message)
    return Cause(
        kind,
        f"TS{number}",
        message,
        (TracebackFrame(told[1], int(line), "", None),),
        hint=f"did you mean `{meant[1]}`?" if meant else None,
        is_compile_error=True,
    )


def _read_node(lines: list[str]) -> Cause | None:
    heap = next((line for line in lines if _HEAP.match(line)), None)
    if heap is not None:
        return Cause("memory", "RangeError", heap.removeprefix("FATAL ERROR: "))
    at = _last_error(lines)
    if at is None:
        return _thrown_value(lines)
    error = _ERROR.match(lines[at])
    assert error is not None  # noqa: S101 - `_last_error` matched it
    name, message = error[1], _whole_message(lines, at, error[2] or "")
    frames = _calls(lines[at + 1 :])
    place = _place_before(lines, at)
    if not any(_is_own(frame) for frame in frames) and place is not None:
        frames = (*frames, place)
    is_grammar = name == "SyntaxError" and not any(_is_own(frame) for frame in _calls(lines[at + 1 :]))
    if name == "SyntaxError" and not is_grammar:  # raised by the running program: JSON.parse, new Function
        return Cause("value", name, message, frames)
    return Cause(_node_kind(name, message), name, message, frames, is_compile_error=is_grammar)


def _last_error(lines: list[str]) -> int | None:
    """Return where the last line stands that names an error and has calls, or node's place before it."""
    for at in range(len(lines) - 1, -1, -1):
        error = _ERROR.match(lines[at])
        if error is None or not error[1].endswith(("Error", "Exception")):
            continue
        if any(_CALL.match(later) for later in lines[at + 1 : at + 1 + _LOOK_AHEAD]) or _place_before(lines, at):
            return at
    return None


def _whole_message(lines: list[str], at: int, first: str) -> str:
    """Return a message with what follows it up to the calls, as assertions have it."""
    rest: list[str] = []
    for line in lines[at + 1 : at + 1 + _LOOK_AHEAD]:
        if line.startswith(("    at ", "Node.js v", "Require stack:")):
            break
        rest.append(line)
    return " ".join(" ".join([first, *rest]).split())


def _calls(lines: list[str]) -> tuple[TracebackFrame, ...]:
    frames: list[TracebackFrame] = []
    for line in lines:
        call = _CALL.match(line)
        if call is not None:
            function = call[1] or ""
            is_top = function.startswith("Object.<anonymous>") or not function
            frames.append(TracebackFrame(call[2], int(call[3]), "<module>" if is_top else function, None))
        elif frames:
            break
    return last_frames(frames[::-1])


def _place_before(lines: list[str], at: int) -> TracebackFrame | None:
    """Return the place that node names a few lines above the error, with the text below it."""
    for above in range(at - 1, max(-1, at - 7), -1):
        place = _PLACE.match(lines[above])
        if place is not None:
            code = lines[above + 1].strip() if above + 1 < at else None
            return TracebackFrame(place[1], int(place[2]), "", code or None)
    return None


def _is_own(frame: TracebackFrame) -> bool:
    return not frame.file.startswith(("node:", "internal/"))


def _thrown_value(lines: list[str]) -> Cause | None:
    """Return the cause of `throw "text"`: node shows the value, and no class."""
    for at, line in enumerate(lines):
        if line.startswith(_THROWN) and at > 0:
            place = _place_before(lines, at)
            return Cause("runtime", None, f"Uncaught {lines[at - 1]}", () if place is None else (place,))
    return None


def _node_kind(name: str, message: str) -> FailureType:
    for start, kind in _NODE_KINDS:
        if message.startswith(start):
            return kind
    return "runtime" if name == "Error" else kind_of(name)
