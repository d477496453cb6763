"""What a model writes, sorted while it arrives: text, reasoning, tool calls, and markup that nobody wants to read.

Letters are looked at one by one and only letters so far decide, so however tokens cut the output the result is the
same, and every letter ends up in exactly one segment. Held back is only what could still become a mark, white space
before one, and a call until it is whole. What looked like a call and is none (not JSON, a function that was not
offered) becomes text again. Knows nothing of tokens, bytes or stop strings.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from mcp_server.engine.chat.reasoning import ReasoningTags
from mcp_server.engine.chat.tool_formats.format import ToolFormat
from mcp_server.engine.chat.tool_formats.scanning import Scanner, Status, WrittenCall

CALL_ID_BYTES = 12  # 24 hexadecimal digits, as OpenAI's


class Kind(Enum):
    """What a segment of the output is."""

    TEXT = "text"
    REASONING = "reasoning"
    CALL = "call"
    MARKUP = "markup"


class Segment(NamedTuple):
    """A stretch of the output."""

    kind: Kind
    raw: str  # the letters as written
    calls: tuple[WrittenCall, ...] = ()


@dataclass(frozen=True)
class OutputLayout:
    """What to look for in one completion."""

    tags: ReasoningTags | None = None
    starts_inside: bool = False  # the prompt opened the reasoning block
    keeps_reasoning: bool = False  # leave it in the text, tags and all
    formats: tuple[ToolFormat, ...] = ()
    schemas: Mapping[str, dict[str, Any]] = field(default_factory=dict)  # of the functions that may be called
    max_calls: int | None = None  # the completion ends behind so many

    @property
    def marks(self) -> tuple[str, ...]:
        """All texts that mean something, for the control tokens among them to be shown."""
        tags = (self.tags.open, self.tags.close, *self.tags.drops) if self.tags else ()
        written = (
            text
            for one in self.formats
            for text in (
                *one.marks,
                *one.ends,
                *((one.writing.name_end, one.writing.call_open, one.writing.call_close) if one.writing else ()),
            )
        )
        return (*tags, *written)


PLAIN_TEXT = OutputLayout()


class OutputParser:
    """Sorts one completion."""

    def __init__(self, layout: OutputLayout = PLAIN_TEXT) -> None:
        self._layout = layout
        self._at_start = _Marks(layout, is_start=True)
        self._in_text = _Marks(layout, is_start=False)
        self._is_start = True  # nothing but markup, reasoning and calls so far, or since the last call
        self._is_after_block = layout.starts_inside  # white space next to a tag is markup
        self._step: Callable[[str], None] = self._step_text
        if layout.tags and layout.starts_inside:
            self._step = self._step_reasoning
        self._tag_kind = Kind.TEXT if layout.keeps_reasoning else Kind.MARKUP
        self._thought_kind = Kind.TEXT if layout.keeps_reasoning else Kind.REASONING
        self._held = ""
        self._scanners: list[tuple[ToolFormat, Scanner]] = []
        self._ends: tuple[str, ...] = ()
        self._again = ""  # letters of a rejected call, to be looked at once more
        self._segments: list[Segment] = []
        self.n_calls = 0

    @property
    def is_complete(self) -> bool:
        """Tell whether as many calls were made as one completion may make."""
        return self._layout.max_calls is not None and self.n_calls >= self._layout.max_calls

    def feed(self, text: str) -> list[Segment]:
        """Add text; give the segments that are certain now."""
        self._feed(text)
        return self._take()

    def finish(self) -> list[Segment]:
        """End the output; give what was held."""
        while self._step == self._step_call and not self.is_complete:
            self._reject()
            self._feed("")
        if self._held:
            is_between = self._step == self._step_after_call and not self._held.strip()
            kind = self._thought_kind if self._step == self._step_reasoning else Kind.TEXT
            self._release(Kind.MARKUP if is_between else kind)
        return self._take()

    def _feed(self, text: str) -> None:
        text, self._again = self._again + text, ""
        at = 0
        while at < len(text) and not self.is_complete:
            at = self._skip(text, at)
            if at == len(text):
                return
            self._step(text[at])
            at += 1
            if self._again:
                text, self._again, at = self._again + text[at:], "", 0

    def _take(self) -> list[Segment]:
        taken, self._segments = self._segments, []
        return taken

    def _marks(self) -> "_Marks":
        return self._at_start if self._is_start else self._in_text

    def _skip(self, text: str, at: int) -> int:
        """Emit at once what cannot be part of a mark."""
        if self._held:
            return at
        if self._step == self._step_text and not self._is_after_block:
            found = self._marks().wake.search(text, at)
        elif self._step == self._step_reasoning and not self._is_after_block:
            found = self._at_start.closing.search(text, at)
        else:
            return at
        end = found.start() if found else len(text)
        if end > at:
            is_text = self._step == self._step_text
            self._emit(Kind.TEXT if is_text else self._thought_kind, text[at:end])
            self._is_start = self._is_start and not is_text
        return end

    def _step_text(self, char: str) -> None:
        self._held += char
        while self._held:
            core = self._held.lstrip()
            if not core:
                if self._is_after_block:
                    self._release(self._tag_kind)
                return
            marks = self._marks()
            if core in marks.all:
                self._meet(core)
                return
            if marks.may_begin(core):
                return
            self._is_after_block = False
            n = next(
                n
                for n in range(1, len(self._held) + 1)
                if not (rest := self._held[n:].lstrip()) or rest in marks.all or marks.may_begin(rest)
            )
            self._release(Kind.TEXT, n)
            self._is_start = False

    def _meet(self, mark: str) -> None:
        tags = self._layout.tags
        if tags and mark == tags.open:
            self._release(self._tag_kind)
            self._step, self._is_after_block = self._step_reasoning, True
        elif tags and mark in tags.drops:
            self._release(self._tag_kind)
        else:
            formats = (one for one in self._layout.formats if mark in one.marks)
            self._scanners = [(one, one.make_scanner(mark, self._layout.schemas)) for one in formats]
            self._step = self._step_call

    def _step_reasoning(self, char: str) -> None:
        assert self._layout.tags is not None, "reasoning has tags"  # noqa: S101  # an invariant of ours
        close = self._layout.tags.close
        self._held += char
        core = self._held.lstrip()
        if core == close:
            self._release(self._tag_kind)
            self._step, self._is_after_block = self._step_text, True
        elif not core and self._is_after_block:
            self._release(self._tag_kind)
        elif core and not close.startswith(core):
            self._is_after_block = False
            n = next(n for n in range(1, len(self._held) + 1) if close.startswith(self._held[n:].lstrip()))
            self._release(self._thought_kind, n)

    def _step_call(self, char: str) -> None:
        self._held += char
        alive = []
        for one, scanner in self._scanners:
            status = scanner.feed(char)
            if status is Status.DONE and all(call.name in self._layout.schemas for call in scanner.calls):
                self._accept(one, scanner)
                return
            alive += [(one, scanner)] if status is Status.MORE else []
        self._scanners = alive
        if not alive:
            self._reject()

    def _accept(self, one: ToolFormat, scanner: Scanner) -> None:
        limit = self._layout.max_calls
        calls = tuple(scanner.calls if limit is None else scanner.calls[: limit - self.n_calls])
        self.n_calls += len(calls)
        self._emit(Kind.CALL, self._held, calls)
        self._held, self._scanners, self._ends = "", [], one.ends
        self._step, self._is_start, self._is_after_block = self._step_after_call, True, False

    def _reject(self) -> None:
        """Make text of the first letter of what looked like a call, and look at the others again."""
        n = len(self._held) - len(self._held.lstrip()) + 1
        self._emit(Kind.TEXT, self._held[:n])
        self._again, self._held, self._scanners = self._held[n:], "", []
        self._step, self._is_start = self._step_text, False

    def _step_after_call(self, char: str) -> None:
        self._held += char
        core = self._held.lstrip()
        if core in self._ends:
            self._release(Kind.MARKUP)
        elif core and not any(end.startswith(core) for end in self._ends):
            self._step = self._step_text
            self._again, self._held = self._held, ""

    def _release(self, kind: Kind, n_chars: int | None = None) -> None:
        """Emit what is held, or its first letters."""
        n_chars = len(self._held) if n_chars is None else n_chars
        self._emit(kind, self._held[:n_chars])
        self._held = self._held[n_chars:]

    def _emit(self, kind: Kind, raw: str, calls: tuple[WrittenCall, ...] = ()) -> None:
        last = self._segments[-1] if self._segments else None
        if last is not None and last.kind is kind and kind is not Kind.CALL:
            self._segments[-1] = Segment(kind, last.raw + raw)
        else:
            self._segments.append(Segment(kind, raw, calls))


class _Marks:
    """The marks that mean something at one place."""

    def __init__(self, layout: OutputLayout, *, is_start: bool) -> None:
        tags = layout.tags
        marks = {mark for one in layout.formats if is_start or not one.only_at_start for mark in one.marks}
        if tags:
            marks |= {*tags.drops, *((tags.open,) if is_start else ())}
        self.all = frozenset(marks)
        firsts = "".join(re.escape(mark[0]) for mark in sorted(marks))
        self.wake = re.compile(rf"[\s{firsts}]" if marks else r"(?!)")
        self.closing = re.compile(rf"[\s{re.escape(tags.close[0])}]" if tags else r"(?!)")

    def may_begin(self, text: str) -> bool:
        """Tell whether a mark begins with the text and goes on."""
        return any(mark.startswith(text) and mark != text for mark in self.all)


def new_call_id() -> str:
    """Draw an id for a call."""
    return f"call_{secrets.token_hex(CALL_ID_BYTES)}"
