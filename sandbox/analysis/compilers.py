"""Reads the first error of gcc, g++, the linker, rustc and go: what did not compile, where, and the compiler's advice.

Errors after the first are often its consequences, so they are left alone. Forms:
https://gcc.gnu.org/onlinedocs/gcc/Diagnostic-Message-Formatting-Options.html and https://doc.rust-lang.org/error_codes.
It believes the text; `explain.py` does not.
"""

import re

from sandbox.analysis.cause import Cause
from sandbox.types import FailureType, TracebackFrame

Kinds = tuple[tuple[re.Pattern[str], FailureType], ...]

_GCC = re.compile(r"^([^\s:]+):(\d{1,9}):(?:\d{1,9}:)? (?:fatal )?error: (.*)$")
_GCC_FUNCTION = re.compile(r"^[^\s:]+: In (?:\w+ )?(?:function|constructor|lambda function) '(.+)':?$")
_GCC_MEANT = re.compile(r"did you mean (?:to use )?('[^']+')")
_GCC_HEADER = re.compile(r"note: .*?('[^']+') is defined in header '(<[\w./]+>)'")
_GCC_INCLUDE = re.compile(r"note: include '(<[\w./]+>)'")
_GCC_KINDS: Kinds = (
    (re.compile(r"has no member named|is not a member of '(?!std')|no member named"), "attribute"),
    (re.compile(r"undeclared|was not declared|is not a member of|unknown type name|does not name a type"), "name"),
    (re.compile(r": No such file or directory$"), "import"),
    (re.compile(r"\bexpected\b(?! '\w+ \*+')|\bstray\b|missing terminating|unterminated|extraneous"), "syntax"),
)
_UNDEFINED = re.compile(r"undefined reference to [`'](.+?)'$")
_IN_FUNCTION = re.compile(r"in function [`'](.+?)':$")
_TWICE = re.compile(r"multiple definition of [`'](.+?)'")

_RUSTC = re.compile(r"^error(?:\[(E\d{4})\])?: (.*)$")
_RUSTC_PLACE = re.compile(r"^\s*--> (\S+?):(\d{1,9}):\d{1,9}$")
_RUSTC_ADDED = re.compile(r"^\s*\d+ [+~|] (.+)$")  # the line as it would be
_RUSTC_HELP = re.compile(r"^\s*(?:= )?help: (.*)$")
_RUSTC_SUMMARY = ("aborting due to", "could not compile")
_RUSTC_KINDS: dict[str, FailureType] = {
    "E0412": "name",
    "E0405": "name",
    "E0423": "name",
    "E0425": "name",
    "E0433": "name",
    "E0426": "name",
    "E0432": "import",
    "E0463": "import",
    "E0583": "import",
    "E0559": "attribute",
    "E0560": "attribute",
    "E0599": "attribute",
    "E0609": "attribute",
    "E0610": "attribute",
}

_GO = re.compile(r"^(?:\./)?([^\s:]+\.go):(\d{1,9}):(?:\d{1,9}:)? (.*)$")
_GO_KINDS: Kinds = (
    (re.compile(r"syntax error|^expected |unexpected newline|not terminated"), "syntax"),
    (re.compile(r"undefined \(type|has no field or method"), "attribute"),
    (re.compile(r"^undefined: |declared (?:but|and) not used|^label \S+ (?:not|defined)|redeclared"), "name"),
    (re.compile(r"imported (?:and|but) not used|is not in (?:GOROOT|std)|cannot find (?:package|module)"), "import"),
)


def read_gcc(lines: list[str]) -> Cause | None:
    """Return the first error of gcc or g++, else the linker's, or None."""
    function = ""
    for at, line in enumerate(lines):
        if entered := _GCC_FUNCTION.match(line):
            function = entered[1]
        elif told := _GCC.match(line):
            code = _quoted_line(lines[at + 1] if at + 1 < len(lines) else "")
            frame = TracebackFrame(told[1], int(told[2]), function, code)
            kind = _kind(_GCC_KINDS, told[3])
            return Cause(kind, "CompileError", told[3], (frame,), _gcc_hint(told[3], lines[at + 1 :]), True)  # noqa: FBT003 - fields in order
    return _read_linker(lines)


def _quoted_line(line: str) -> str | None:
    number, bar, text = line.partition(" | ")
    return text.strip() if bar and number.strip().isdigit() else None


def _gcc_hint(message: str, after: list[str]) -> str | None:
    """Return gcc's own advice: in the message, or in the notes before the next error."""
    if meant := _GCC_MEANT.search(message):
        return f"did you mean {_plain(meant[1])}?"
    for line in after[:12]:
        if _GCC.match(line):
            return None
        if header := _GCC_HEADER.search(line):
            return f"{_plain(header[1])} needs `#include {header[2]}`"
        if include := _GCC_INCLUDE.search(line):
            return f"add `#include {include[1]}`"
    return None


def _plain(quoted: str) -> str:
    return f"`{quoted[1:-1]}`"


def _read_linker(lines: list[str]) -> Cause | None:
    function = ""
    for line in lines:
        if entered := _IN_FUNCTION.search(line):
            function = entered[1]
        if missing := _UNDEFINED.search(line):
            frames = (TracebackFrame("", 0, function, None),) if function else ()
            return Cause("name", "LinkError", f"undefined reference to `{missing[1]}`", frames, is_compile_error=True)
        if twice := _TWICE.search(line):
            return Cause("name", "LinkError", f"multiple definition of `{twice[1]}`", is_compile_error=True)
    return None


def read_rustc(lines: list[str]) -> Cause | None:
    """Return the first error of rustc, or None."""
    for at, line in enumerate(lines):
        told = _RUSTC.match(line)
        if told is None or told[2].startswith(_RUSTC_SUMMARY):
            continue
        if told[2].startswith("linking with"):
            return _read_linker(lines) or Cause("name", "LinkError", told[2], is_compile_error=True)
        block = _until_blank(lines[at + 1 :])
        place = next((match for later in block if (match := _RUSTC_PLACE.match(later))), None)
        frames = () if place is None else (TracebackFrame(place[1], int(place[2]), "", None),)
        kind: FailureType = _RUSTC_KINDS.get(told[1], "type") if told[1] else _rust_kind(told[2])
        error_class = told[1] or "CompileError"
        return Cause(kind, error_class, told[2], frames, _rustc_hint(block), is_compile_error=True)
    return None


def _rust_kind(message: str) -> FailureType:
    return "name" if message.startswith("cannot find") else "syntax"


def _until_blank(lines: list[str]) -> list[str]:
    end = lines.index("") if "" in lines else len(lines)
    return lines[:end]


def _rustc_hint(block: list[str]) -> str | None:
    """Return rustc's first advice, with the line that it would write where it shows one."""
    for at, line in enumerate(block):
        if told := _RUSTC_HELP.match(line):
            written = next((match for later in block[at + 1 : at + 5] if (match := _RUSTC_ADDED.match(later))), None)
            return told[1] if written is None else f"{told[1]}: `{written[1].strip()}`"
    return None


def read_go_build(lines: list[str]) -> Cause | None:
    """Return the first error of the go compiler, or None. An unused import or variable counts only when alone."""
    found: list[Cause] = []
    for line in lines:
        if told := _GO.match(line):
            frame = TracebackFrame(told[1], int(told[2]), "", None)
            kind = _kind(_GO_KINDS, told[3])
            found.append(Cause(kind, "CompileError", told[3], (frame,), is_compile_error=True))
    telling = [cause for cause in found if "not used" not in cause.message]
    return next(iter(telling or found), None)


def _kind(kinds: Kinds, message: str) -> FailureType:
    return next((kind for pattern, kind in kinds if pattern.search(message)), "type")
