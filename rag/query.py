"""What kind of query this is, and what it names: words, identifiers, files and frames of a stack trace.

Simple rules over the text, no model: a name, a report (stack trace or an issue's text), a description (a sentence that
says what code does) or else a question. `ranking` weighs each kind differently. Knows nothing of chunks.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from rag.sparse import STOP_WORDS, split_words

QueryKind = Literal["name", "description", "question", "report"]

# From this many words on, or with more lines than one and this many, a query is a report, not something one asks.
REPORT_WORDS: Final = 60
REPORT_WORDS_OF_LINES: Final = 12

# Names taken from one query: a report repeats itself, and what matters comes early or in its last frames.
MAX_NAMES: Final = 40

# A name alone: `flush`, `Flask.run`, `std::vector`, `_private`, `$scope`, `Widget#draw()`.
_NAME: Final = re.compile(r"[A-Za-z_$~][\w$]*(?:(?:\.|::|->|#|\\|/)~?[A-Za-z_$][\w$]*)*[!?]?(?:\(\))?")
# A name among words: dotted, with an underscore inside, camelCase, PascalCase, HTTPServer, or called: `f()`.
_NAMED: Final = re.compile(
    r"(?<![\w.])(?:[A-Za-z_]\w*(?:(?:\.|::|->|#)[A-Za-z_]\w*)+|_*[A-Za-z]\w*_\w+|[a-z]+[A-Z]\w*"
    r"|[A-Z]+[a-z0-9]+[A-Z]\w*|[A-Z]{2,}[a-z]{2,}\w*|[A-Za-z_]\w*(?=\(\)))"
)
_QUOTED: Final = re.compile(r"`([^`\s]{2,80})`")
_SEPARATOR: Final = re.compile(r"\.|::|->|#|\\|/")

# A path with a suffix of letters: `src/app.py`, `File "/usr/lib/x.py", line 3`, `main.go:12`. Each pattern starts where
# a run of its characters starts and repeats 300 of them at most, so that a hostile query costs only its length.
_FILE: Final = re.compile(r"(?<![\w.\-/\\])[\w.\-/\\]{0,300}[\w\-]\.[A-Za-z][A-Za-z0-9+]{0,9}(?![\w.])")
_PYTHON_FRAME: Final = re.compile(r'File "([^"\n]{1,300})", line (\d{1,9})(?:, in (\S{1,300}))?')
_FRAME: Final = re.compile(r"(?<![\w.\-/\\@])([\w.\-/\\@]{0,300}[\w\-]\.[A-Za-z][A-Za-z0-9+]{0,9}):(\d{1,9})")
_TRACE: Final = re.compile(
    r'^Traceback \(most recent|^[ \t]+File "[^"\n]{1,300}", line \d|^[ \t]+at \S{1,300} ?\(.{0,300}:\d'
    r"|^[ \t]+at \S{1,300}\(|^goroutine \d|^panicked at|^thread '[^'\n]{0,100}' panicked|^Caused by:|^[ \t]*#\d+ +0x",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Query:
    """One query, read once."""

    text: str

    @cached_property
    def kind(self) -> QueryKind:
        """Which kind the rules give.

        One token that can be a name is one. A stack trace, a long text and several lines of prose are a report. A
        sentence closed by a full stop is a description, as in a docstring. Anything else is a question.
        """
        stripped = self.text.strip()
        if _NAME.fullmatch(stripped):
            return "name"
        n_words = len(stripped.split())
        if _TRACE.search(self.text) or n_words >= REPORT_WORDS:
            return "report"
        if "\n" in stripped and n_words >= REPORT_WORDS_OF_LINES:
            return "report"
        return "description" if stripped.endswith(".") else "question"

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words that say something, lower case, split as the index splits them."""
        return frozenset(word for word in split_words(self.text) if word not in STOP_WORDS and len(word) > 1)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The identifiers it names, in order, lower case, separators as `.`; the whole query when it is a name."""
        if self.kind == "name":
            found = [self.text.strip()]
        else:
            quoted = [text for text in _QUOTED.findall(self.text) if _NAME.fullmatch(text)]
            frames = [name for _, _, name in _PYTHON_FRAME.findall(self.text) if name]
            found = [*quoted, *frames, *_NAMED.findall(self.text)]
        tidy = (_SEPARATOR.sub(".", name.removesuffix("()")).strip("._").lower() for name in found)
        return tuple(dict.fromkeys(name for name in tidy if name))[:MAX_NAMES]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """The files it names, in order, lower case with `/`."""
        found = [path.replace("\\", "/").lower() for path in _FILE.findall(self.text)]
        return tuple(dict.fromkeys(path.removeprefix("./") for path in found))[:MAX_NAMES]

    @cached_property
    def frames(self) -> tuple[tuple[str, int], ...]:
        """Files with a line number, as stack traces have them, in order."""
        found = [(path, line) for path, line, _ in _PYTHON_FRAME.findall(self.text)] + _FRAME.findall(self.text)
        tidy = ((path.replace("\\", "/").lower(), int(line)) for path, line in found)
        return tuple(dict.fromkeys(tidy))[:MAX_NAMES]
