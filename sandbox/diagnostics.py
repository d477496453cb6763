"""What compilers and parsers complain about, read from what they print: kind, message and line of each error.

One reader for each family of tools. A reader that finds nothing leaves the caller with the last line that was printed:
the fact that the tool failed is known from its exit status, never from text. Knows nothing of jobs.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPILE_ERROR, LINK_ERROR, SYNTAX_ERROR = "CompileError", "LinkError", "SyntaxError"
MAX_ERRORS = 20  # in a report; one mistake easily causes a hundred
NOTHING_SAID = "the compiler failed and said nothing"

_GCC = re.compile(r"^[^:\n]+:(?P<line>\d+):(?:\d+:)? (?:fatal |internal compiler )?error: (?P<text>.*)$", re.MULTILINE)
_LINKER = re.compile(
    r"(?P<text>undefined (?:reference to|symbol:) .*|multiple definition of [^;\n]*|duplicate symbol: .*|"
    r"cannot find -l.*|function main is undeclared in the main package)"
)
_RUSTC = re.compile(
    r"^error(?P<code>\[E\d+\])?: (?P<text>(?!aborting due to|could not compile).*)$"
    r"(?:\n(?! *--> )(?!error)(?!warning).*){0,2}(?:\n *--> [^:\n]+:(?P<line>\d+):\d+)?",
    re.MULTILINE,
)
_GO = re.compile(r"^(?:\./)?[^:\s]+\.go:(?P<line>\d+):(?:\d+:)? (?P<text>(?!too many errors).*)$", re.MULTILINE)
_NODE = re.compile(r"^[^\s:][^:\n]*:(?P<line>\d+)\n(?:.*\n){0,40}?SyntaxError: (?P<text>.*)$", re.MULTILINE)
_BASH = re.compile(r"^[^:\n]+: line (?P<line>\d+): (?P<text>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Diagnostic:
    """One error. `line` counts from 1, None where the tool does not say."""

    kind: str
    message: str
    line: int | None = None


Reader = Callable[[str], tuple[Diagnostic, ...]]


def _found(pattern: re.Pattern[str], text: str, kind: str) -> Iterator[Diagnostic]:
    for number, match in enumerate(pattern.finditer(text)):
        if number == MAX_ERRORS:
            return
        groups = match.groupdict()
        line = groups.get("line")
        code = groups.get("code")
        message = f"{match['text']} {code}" if code else match["text"]
        yield Diagnostic(kind, message.strip(), None if line is None else int(line))


def _or_last_line(found: tuple[Diagnostic, ...], text: str, kind: str) -> tuple[Diagnostic, ...]:
    if found:
        return found
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (Diagnostic(kind, lines[-1] if lines else NOTHING_SAID),)


def _compiled(pattern: re.Pattern[str], text: str) -> tuple[Diagnostic, ...]:
    """Return the compiler's errors, else the linker's, which speaks only when the compiler had none."""
    found = tuple(_found(pattern, text, COMPILE_ERROR)) or tuple(_found(_LINKER, text, LINK_ERROR))
    return _or_last_line(found, text, COMPILE_ERROR)


def gcc(text: str) -> tuple[Diagnostic, ...]:
    """Read what gcc, g++ and the linker behind them print."""
    return _compiled(_GCC, text)


def rustc(text: str) -> tuple[Diagnostic, ...]:
    """Read what rustc prints; a failed linker is one of its errors, with the linker's own words in a note."""
    if "error: linking with" in text:
        found = tuple(_found(_LINKER, text, LINK_ERROR)) or tuple(_found(_RUSTC, text, LINK_ERROR))
        return _or_last_line(found, text, LINK_ERROR)
    return _compiled(_RUSTC, text)


def go(text: str) -> tuple[Diagnostic, ...]:
    """Read what go build and gofmt print."""
    return _compiled(_GO, text)


def node(text: str) -> tuple[Diagnostic, ...]:
    """Read what `node --check` prints."""
    return _or_last_line(tuple(_found(_NODE, text, SYNTAX_ERROR)), text, SYNTAX_ERROR)


def bash(text: str) -> tuple[Diagnostic, ...]:
    """Read what `bash -n` prints; of its two lines for one error the first says what is wrong."""
    found = tuple(error for error in _found(_BASH, text, SYNTAX_ERROR) if not error.message.startswith("`"))
    return _or_last_line(found, text, SYNTAX_ERROR)
