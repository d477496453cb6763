"""Untrusted text made fit to read: bounded, without terminal codes, in lines.

What a program wrote may be huge, without a newline, or full of control characters. Everything that the analysis reads
or quotes passes through here first, so that its patterns meet short lines and plain quotes only. It knows no language.
"""

import re

MAX_LINES = 1000  # from each end of a text
MAX_LINE_CHARS = 400  # a longer line is cut: patterns stay cheap, quotations short
KEPT_CHARS = 128 * 1024  # from each end, before anything else looks at the text

_TERMINAL = re.compile(r"\x1b(?:\[[0-9;?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)?|[@-Z\\-_])")
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'"})  # gcc's, where the locale has them
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # bidirectional marks hide text


def clean_lines(text: str) -> list[str]:
    """Return the lines of *text* without terminal codes and control characters; of a huge text both ends."""
    lines = _ends(text).split("\n")
    kept = lines if len(lines) <= 2 * MAX_LINES else [*lines[:MAX_LINES], *lines[-MAX_LINES:]]
    return [_clean(line[: 2 * MAX_LINE_CHARS])[:MAX_LINE_CHARS] for line in kept]


def clean(text: str) -> str:
    """Return *text* as `clean_lines` does, in one piece without blank ends."""
    return "\n".join(clean_lines(text)).strip()


def clip(text: str, n_chars: int) -> str:
    """Return *text* cut to *n_chars*, its middle replaced by a note of how much is missing."""
    if len(text) <= n_chars:
        return text
    half = n_chars // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _clean(line: str) -> str:
    return _CONTROLS.sub("", _TERMINAL.sub("", line)).translate(_QUOTES).rstrip()


def _ends(text: str) -> str:
    return text if len(text) <= 2 * KEPT_CHARS else f"{text[:KEPT_CHARS]}\n{text[-KEPT_CHARS:]}"
