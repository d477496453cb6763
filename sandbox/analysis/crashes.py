"""Reads how a running program of Go, Rust, C, C++ or bash says that it failed: panics, aborts, the shell's messages.

Panics tell a message and calls; a C program that is killed by a signal tells nothing at all, and then only the observed
signal is left, which `explain.py` knows. It believes the text; `explain.py` does not.
"""

import re

from sandbox.analysis.cause import Cause, kind_of, last_frames
from sandbox.types import FailureType, TracebackFrame

Kinds = tuple[tuple[str, FailureType], ...]

_GO_PANIC = re.compile(r"^(panic|fatal error): (.*)$")
_GO_CALL = re.compile(r"^(?:created by )?([\w./*()-]+?)\(.*\)$|^created by (\S+)")
_GO_PLACE = re.compile(r"^\t(\S+\.go):(\d{1,9})(?: \+0x[0-9a-f]+)?$")
_GO_KINDS: Kinds = (
    ("index out of range", "index"),
    ("slice bounds out of range", "index"),
    ("interface conversion", "type"),
    ("out of memory", "memory"),
)

_RUST_PANIC = re.compile(r"^thread '(.*)'(?: \(\d+\))? panicked at (\S+?):(\d{1,9}):\d{1,9}:$")
_RUST_OLD_PANIC = re.compile(r"^thread '(.*)' panicked at '(.*)', (\S+?):(\d{1,9}):\d{1,9}$")  # before 1.73
_RUST_SIDE = re.compile(r"^ {1,2}(left|right): (.*)$")
_RUST_OVERFLOW = re.compile(r"^thread '(.*)'(?: \(\d+\))? has overflowed its stack$")
_RUST_KINDS: Kinds = (
    ("index out of bounds", "index"),
    ("out of range for slice", "index"),
    ("out of range", "index"),
    ("is not a char boundary", "index"),
    ("no entry found for key", "key"),
    ("assertion", "assertion"),
    ("called `Option::unwrap()` on a `None` value", "value"),
    ("called `Result::unwrap()` on an `Err` value", "value"),
    ("memory allocation of", "memory"),
)

_ASSERTED = re.compile(r"^\S+: ([^\s:]+):(\d{1,9}): (.*): Assertion `(.*)' failed\.$")
_TERMINATED = re.compile(r"^terminate called after throwing an instance of '(.+)'$")
_WHAT = re.compile(r"^ {2}what\(\): {2}(.*)$")
_GLIBC = re.compile(
    r"^(?:\*\*\* (?:stack smashing detected|buffer overflow detected) \*\*\*.*|double free or corruption.*"
    r"|free\(\): .*|malloc\(\): .*|munmap_chunk\(\): .*|realloc\(\): .*|corrupted size vs\. prev_size.*)$"
)

_BASH = re.compile(r"^(\S*?): line (\d{1,9}): (.*)$")
_BASH_KINDS: Kinds = (
    ("syntax error", "syntax"),
    ("unexpected EOF", "syntax"),
    ("unbound variable", "name"),
    ("command not found", "name"),
    ("bad substitution", "syntax"),
    ("bad array subscript", "index"),
)


def read_go_panic(lines: list[str]) -> Cause | None:
    """Return the panic that ended a Go program, or None."""
    at = _last(lines, _GO_PANIC)
    if at is None:
        return None
    told = _GO_PANIC.match(lines[at])
    message = told[2] if told else ""
    frames: list[TracebackFrame] = []
    function = ""
    for line in lines[at + 1 :]:
        if place := _GO_PLACE.match(line):
            frames.append(TracebackFrame(place[1], int(place[2]), function, None))
        elif call := _GO_CALL.match(line):
            function = (call[1] or call[2]).removeprefix("main.")
        elif not line and frames:
            break  # the next goroutine
    error_class = "panic" if told and told[1] == "panic" else "fatal error"
    return Cause(_kind(_GO_KINDS, message), error_class, message, last_frames(frames[::-1]))


def read_rust_panic(lines: list[str]) -> Cause | None:
    """Return the panic that ended a Rust program, or None."""
    for at in range(len(lines) - 1, -1, -1):
        if old := _RUST_OLD_PANIC.match(lines[at]):
            frame = TracebackFrame(old[3], int(old[4]), "", None)
            return Cause(_kind(_RUST_KINDS, old[2]), "panic", old[2], (frame,))
        if told := _RUST_PANIC.match(lines[at]):
            frame = TracebackFrame(told[2], int(told[3]), "", None)
            message = _rust_message(lines[at + 1 : at + 6])
            return Cause(_kind(_RUST_KINDS, message), "panic", message, (frame,))
        if _RUST_OVERFLOW.match(lines[at]):
            return Cause("runtime", "stack overflow", lines[at])
    return None


def _rust_message(after: list[str]) -> str:
    """Return a panic's message; an assertion's goes on with what was compared."""
    sides = [f"{side[1]}: {side[2]}" for line in after[1:3] if (side := _RUST_SIDE.match(line))]
    return ", ".join([after[0] if after else "", *sides])


def read_c_crash(lines: list[str]) -> Cause | None:
    """Return the assertion, the exception or the heap error that aborted a C or C++ program, or None."""
    for at in range(len(lines) - 1, -1, -1):
        line = lines[at]
        if failed := _ASSERTED.match(line):
            frame = TracebackFrame(failed[1], int(failed[2]), failed[3], None)
            return Cause("assertion", "AssertionError", f"assertion `{failed[4]}` failed", (frame,))
        if thrown := _TERMINATED.match(line):
            what = _WHAT.match(lines[at + 1]) if at + 1 < len(lines) else None
            message = what[1] if what else f"an exception of type {thrown[1]} was not caught"
            kind: FailureType = "key" if message.endswith("map::at") else kind_of(thrown[1])
            return Cause(kind, thrown[1], message)
        if _GLIBC.match(line):
            return Cause("runtime", "SIGABRT", line.strip("* "))
    return None


def read_bash(lines: list[str]) -> Cause | None:
    """Return what bash says of its script: the first syntax error, else the last message; or None."""
    told = [match for line in lines if (match := _BASH.match(line))]
    causes = [_bash_cause(match) for match in told]
    grammar = next((cause for cause in causes if cause.kind == "syntax"), None)
    return grammar or (causes[-1] if causes else None)


def _bash_cause(told: re.Match[str]) -> Cause:
    kind = _kind(_BASH_KINDS, told[3])
    frame = TracebackFrame(told[1], int(told[2]), "", None)
    error_class = "SyntaxError" if kind == "syntax" else None
    return Cause(kind, error_class, told[3], (frame,), is_compile_error=kind == "syntax")


def _last(lines: list[str], pattern: re.Pattern[str]) -> int | None:
    return next((at for at in range(len(lines) - 1, -1, -1) if pattern.match(lines[at])), None)


def _kind(kinds: Kinds, message: str) -> FailureType:
    return next((kind for words, kind in kinds if words in message), "runtime")
