"""Which documented class of error a text of standard error stands for: `classify`.

The sandbox API of ATLAS (`POST /execute`, `error_type`) names these classes and scans for them in one fixed order. What
was observed outweighs what was written: a verdict of a limit decides alone, and a compiler's text is searched for
compile-time classes only. It knows nothing of how programs run. What is *not* covered: a program that ran may write
any of these names itself, so the class explains a failure and never decides whether there was one.
"""

import re

from sandbox.types import Verdict

SCANNED_CHARS = 64 * 1024  # from each end: a compiler's first error and a program's last words; bounds the time

_OF_LIMITS = {
    Verdict.TIME_LIMIT: "Timeout",
    Verdict.MEMORY_LIMIT: "MemoryLimit",
    Verdict.OUTPUT_LIMIT: "OutputLimit",
}


def _raised(*names: str) -> str:
    """Match a name where an error stands: first on its line, qualified or `Uncaught`, and before a colon or the end."""
    return rf"^(?:Uncaught )?(?:[\w.]{{0,100}}\.)?(?:{'|'.join(names)})(?: \[\w+\])?(?::|$)"


_SYNTAX = (_raised("SyntaxError", "IndentationError", "TabError"), r"\bsyntax error\b", r"unexpected EOF while looking")
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
    ("NameError", (_raised("NameError", "UnboundLocalError"),)),
    ("TypeError", (_raised("TypeError"),)),
    ("ValueError", (_raised("ValueError"),)),
    ("ImportError", (_raised("ImportError", "ModuleNotFoundError"), r"^Error: Cannot find (?:module|package) ")),
    ("IndexError", (_raised("IndexError"),)),
    ("KeyError", (_raised("KeyError"),)),
    ("AttributeError", (_raised("AttributeError"),)),
    ("ZeroDivisionError", (_raised("ZeroDivisionError"),)),
    ("FileNotFoundError", (_raised("FileNotFoundError"),)),
    ("ReferenceError", (_raised("ReferenceError"),)),
    ("CompileError", _COMPILE),
    ("LinkError", _LINK),
    ("NotFoundError", (r": command not found$", r": No such file or directory$", r"\bENOENT\b")),
    ("Timeout", (r"\btimed out\b",)),
)
"""The documented classes, first match first, each with what it is recognised by."""

_WHILE_COMPILING = ("SyntaxError", "CompileError", "LinkError")
_PATTERNS = {name: re.compile("|".join(patterns), re.MULTILINE) for name, patterns in CLASSES}


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
    return next((name for name, pattern in _PATTERNS.items() if pattern.search(text)), "RuntimeError")


def _ends(text: str) -> str:
    if len(text) <= 2 * SCANNED_CHARS:
        return text
    return f"{text[:SCANNED_CHARS]}\n{text[-SCANNED_CHARS:]}"
