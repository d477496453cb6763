"""Why a program ended badly, in the words of its own runtime.

That it failed is known from its exit status or signal. Only then is the end of its standard error looked at, for the
form in which the runtime of its language reports an uncaught exception or a panic; text alone makes nothing fail, and
a program that imitates such a report can only describe its own failure wrongly.
"""

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

TAIL_CHARS = 32_000  # of standard error; a report stands at its end, and one of Go's on a full stack is long
OUT_OF_MEMORY = "MemoryError"
LINE_CHARS = 300

_NODE_END = re.compile(r"\n\nNode\.js v\d[^\n]*\s*\Z")
_NODE = re.compile(
    r"^(?P<type>[A-Z][\w$]*)(?: \[[\w]+\])?(?:: (?P<text>.*))?\n(?:(?! {4}at ).*\n){0,40}? {4}at ", re.MULTILINE
)
_NODE_LINE = re.compile(r"solution\.(?:m?js|ts):(\d+)")
_NODE_MEMORY = re.compile(r"^(FATAL ERROR: |# Fatal ).*(out of memory|Allocation failed|OOM)", re.MULTILINE)
_GO = re.compile(r"^(?P<type>panic|fatal error): (?P<text>.*)$", re.MULTILINE)
_GO_LINE = re.compile(r"/solution\.go:(\d+)")
_GO_MEMORY = re.compile(
    r"^(fatal error: (runtime: )?(out of memory|cannot allocate memory)|runtime: out of memory)", re.MULTILINE
)
_RUST = re.compile(
    r"^thread '[^']*'(?: \(\d+\))? panicked at "
    r"(?:'(?P<old>.*)', )?(?P<file>[^:\n]+):(?P<line>\d+):\d+:?(?:\n(?P<text>.*))?",
    re.MULTILINE,
)
_RUST_RETURNED = re.compile(r"^Error: (?P<text>.*)", re.MULTILINE)
_RUST_MEMORY = re.compile(r"^memory allocation of \d+ bytes failed", re.MULTILINE)
_CPP = re.compile(
    r"^terminate called after throwing an instance of '(?P<type>[^'\n]+)'(?:\n +what\(\): +(?P<text>.*))?", re.MULTILINE
)
GO_STATUS, RUST_PANIC_STATUS, NODE_STATUS = 2, 101, 1


@dataclass(frozen=True)
class Ending:
    """How a program ended: one of the two is not None."""

    exit_code: int | None
    signal: int | None
    stderr: str  # its end


@dataclass(frozen=True)
class Crash:
    """What the runtime said. `type` is OUT_OF_MEMORY where the runtime gave up for want of memory."""

    type: str
    message: str
    line: int | None = None


Explainer = Callable[[Ending], Crash | None]


def last_line(text: str) -> str:
    """Return the last line that says something, cut; empty when there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:LINE_CHARS] if lines else ""


def nothing(ending: Ending) -> Crash | None:
    """Explain nothing: the exit status or signal says all there is."""
    del ending
    return None


def node(ending: Ending) -> Crash | None:
    """Explain an uncaught exception of Node.js, or a heap at its limit."""
    if ending.signal in {signal.SIGABRT, signal.SIGTRAP, signal.SIGILL} and _NODE_MEMORY.search(ending.stderr):
        return Crash(OUT_OF_MEMORY, "the JavaScript heap is full")
    if ending.exit_code != NODE_STATUS or not _NODE_END.search(ending.stderr):
        return None
    found = list(_NODE.finditer(ending.stderr))
    if not found:
        thrown = [
            line for line in ending.stderr.splitlines() if line.strip() and not line.startswith(("(Use", "Node.js"))
        ]
        return Crash("Error", f"uncaught {last_line(chr(10).join(thrown))}")
    match = found[-1]
    line = _NODE_LINE.search(ending.stderr, match.end())
    return Crash(match["type"], match["text"] or match["type"], None if line is None else int(line[1]))


def go(ending: Ending) -> Crash | None:
    """Explain a panic or a fatal error of Go's runtime, which exits with status 2."""
    if ending.exit_code != GO_STATUS:
        return None
    if _GO_MEMORY.search(ending.stderr):
        return Crash(OUT_OF_MEMORY, "Go's runtime got no more memory")
    match = _GO.search(ending.stderr)
    if match is None or "\ngoroutine " not in ending.stderr[match.end() :]:
        return None
    line = _GO_LINE.search(ending.stderr, match.end())
    kind = "Panic" if match["type"] == "panic" else "FatalError"
    return Crash(kind, match["text"], None if line is None else int(line[1]))


def rust(ending: Ending) -> Crash | None:
    """Explain a panic, which exits with status 101, or an `Err` that main returned."""
    memory = _RUST_MEMORY.search(ending.stderr) if ending.signal == signal.SIGABRT else None
    if memory is not None:
        return Crash(OUT_OF_MEMORY, memory[0])
    if ending.exit_code == RUST_PANIC_STATUS:
        for match in _RUST.finditer(ending.stderr):
            is_ours = match["file"].endswith("solution.rs")
            text = match["old"] or match["text"] or "panicked"
            return Crash("Panic", text, int(match["line"]) if is_ours else None)
    returned = _RUST_RETURNED.search(ending.stderr) if ending.exit_code == 1 else None
    return None if returned is None else Crash("Error", returned["text"])


def cpp(ending: Ending) -> Crash | None:
    """Explain an exception that nothing caught, which ends in SIGABRT."""
    match = _CPP.search(ending.stderr) if ending.signal == signal.SIGABRT else None
    if match is None:
        return None
    if match["type"] == "std::bad_alloc":
        return Crash(OUT_OF_MEMORY, "std::bad_alloc")
    return Crash(match["type"], match["text"] or match["type"])
