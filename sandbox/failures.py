"""Which documented class of error a failure is: `named` for one that a runtime names, `classify` for a text.

The sandbox API of ATLAS (`POST /execute`, `error_type`) names these classes and scans standard error for them in one
fixed order. What was observed outweighs what was written: a limit decides alone, a compiler's text is searched for
compile-time classes only, and what a program wrote that ran never for those. A class that the language has and the API
does not name, such as `RecursionError`, is kept. It knows nothing of how programs run. What is *not* covered: a program
that ran may write any of these names itself, so the class explains a failure and never decides whether there was one.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from sandbox.types import Verdict

OTHER = "RuntimeError"  # the documented class of what has no other

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "ModuleNotFoundError": "ImportError",
        "UnboundLocalError": "NameError",
        "IndentationError": "SyntaxError",
        "TabError": "SyntaxError",
    }
)
"""Classes of a language that a documented one covers."""

_CATCH_ALLS = {"Error", "Exception", "Panic", "panic", "FatalError", "fatal error"}  # names that say no more than OTHER

SCANNED_CHARS = 64 * 1024  # from each end: a compiler's first error and a program's last words; bounds the time

_OF_LIMITS = {
    Verdict.TIME_LIMIT: "Timeout",
    Verdict.MEMORY_LIMIT: "MemoryLimit",
    Verdict.OUTPUT_LIMIT: "OutputLimit",
}


def _covered_by(name: str) -> tuple[str, ...]:
    """Return a documented class and the classes of languages that it covers."""
    return (name, *(own for own, family in FAMILIES.items() if family == name))


def _raised(*names: str) -> str:
    """Match a name where an error stands: first on its line, qualified or `Uncaught`, and before a colon or the end."""
    covered = [own for name in names for own in _covered_by(name)]
    return rf"^(?:Uncaught )?(?:[\w.]{{0,100}}\.)?(?:{'|'.join(covered)})(?: \[\w+\])?(?::|$)"


_SYNTAX = (_raised("SyntaxError"), r"\bsyntax error\b", r"unexpected EOF while looking")
_COMPILE = (
    r"^error\[E\d{4}\]",  # rustc
    r"(?:^|:\d{1,9}: )(?:fatal )?error: (?!linking with)",  # of a compiler; "panic: runtime error: " is none
    r"\berror TS\d+: ",  # tsc
    r"\[ERROR\] ",  # esbuild
)
_LINK = (
    r"undefined reference to ",
    r"multiple definition of ",
    r"\bld returned \d+ exit status",
    r"error: linking with",
)

CLASSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("SyntaxError", _SYNTAX),
    ("NameError", (_raised("NameError"),)),
    ("TypeError", (_raised("TypeError"),)),
    ("ValueError", (_raised("ValueError"),)),
    ("ImportError", (_raised("ImportError"), r"^Error(?: \[\w+\])?: Cannot find (?:module|package) ")),
    ("IndexError", (_raised("IndexError"),)),
    ("KeyError", (_raised("KeyError"),)),
    ("AttributeError", (_raised("AttributeError"),)),
    ("ZeroDivisionError", (_raised("ZeroDivisionError"),)),
    ("FileNotFoundError", (_raised("FileNotFoundError"),)),
    ("ReferenceError", (_raised("ReferenceError"),)),
    ("CompileError", _COMPILE),
    ("LinkError", _LINK),
    ("NotFoundError", (r": command not found$", r"\b[Nn]o such file or directory\b", r"\bENOENT\b")),
    ("Timeout", (r"\btimed out\b",)),
)
"""The documented classes, first match first, each with what it is recognised by."""

_WHILE_COMPILING = ("SyntaxError", "CompileError", "LinkError")
_NEVER_OF_A_RUN = {"CompileError", "LinkError", "Timeout"}  # it compiled, and it was not the time limit
_PATTERNS = {name: re.compile("|".join(patterns), re.MULTILINE) for name, patterns in CLASSES}


def named(name: str, message: str = "") -> str:
    """Return the documented class of an error by the name that its runtime gave it, else that name.

    A name that says nothing, such as JavaScript's `Error` or a panic, is looked for in the message.
    """
    if name in _CATCH_ALLS:
        return classify(f"{name}: {message}", Verdict.RUNTIME_ERROR) or OTHER
    return FAMILIES.get(name, name)


def classify(stderr: str, verdict: Verdict | None = None) -> str | None:
    """Return the documented class of a failure by what the program or its compiler wrote.

    Args:
        stderr: Standard error of the run, or of the compiler when *verdict* is `COMPILE_ERROR`.
        verdict: What was observed, where it is known; a limit decides whatever the text says.

    Returns:
        A class of `CLASSES`; `RuntimeError` for text without any of them (`CompileError` when it did not compile); None
        for an empty text, unless the verdict is one of a limit.
    """
    if verdict in _OF_LIMITS:
        return _OF_LIMITS[verdict]
    text = _ends(stderr)
    if verdict is Verdict.COMPILE_ERROR:
        return next((name for name in _WHILE_COMPILING if _PATTERNS[name].search(text)), "CompileError")
    if not text.strip():
        return None
    impossible = set() if verdict is None else _NEVER_OF_A_RUN
    return next((name for name in _PATTERNS if name not in impossible and _PATTERNS[name].search(text)), OTHER)


def _ends(text: str) -> str:
    if len(text) <= 2 * SCANNED_CHARS:
        return text
    return f"{text[:SCANNED_CHARS]}\n{text[-SCANNED_CHARS:]}"
