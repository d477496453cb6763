"""Bytes of tokens to what may be shown: text, reasoning and tool calls, with the log-probabilities of their tokens.

Held back are the bytes of an unfinished character, what `output_parser` still waits for, and text that could become a
stop string. Stop strings look at text alone: not at reasoning, not at calls. Every token's log-probability is released
with the letters in which it begins, whatever they are, up to a stop string.
"""

import codecs
import json
from collections.abc import Sequence as Items
from typing import NamedTuple

from mcp_server.engine.chat.output_parser import PLAIN_TEXT, Kind, OutputLayout, OutputParser, Segment, new_call_id
from mcp_server.engine.chat.tool_formats.scanning import WrittenCall
from mcp_server.engine.types import TokenLogprob, ToolCall, ToolCallDelta


class Released(NamedTuple):
    """What one token, or the end, made certain."""

    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()

    @property
    def has_any(self) -> bool:
        """Tell whether there is something to show."""
        return bool(self.text or self.logprobs or self.reasoning or self.tool_calls)

    def then(self, later: "Released") -> "Released":
        """Join what was released one after the other."""
        return Released(
            self.text + later.text,
            self.logprobs + later.logprobs,
            self.reasoning + later.reasoning,
            self.tool_calls + later.tool_calls,
        )


class Detokenizer:
    """One completion's output, from its first token to its end."""

    def __init__(self, stop: tuple[str, ...] = (), layout: OutputLayout = PLAIN_TEXT) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parser = OutputParser(layout)
        self._stop = tuple(text for text in stop if text)
        self._held = ""  # text that could become a stop string
        self._pending: list[tuple[int, TokenLogprob]] = []  # (first letter's offset, what to report with it)
        self._n_decoded_chars = 0
        self._n_released_chars = 0  # shown or swallowed
        self.text = ""  # released so far, as the next three
        self.reasoning = ""
        self.tool_calls: list[ToolCall] = []
        self.logprobs: list[TokenLogprob] = []  # of the tokens that began in what was released
        self.stop_text: str | None = None  # the stop string that was found

    @property
    def is_stopped(self) -> bool:
        """Tell whether the completion is over by what it says: a stop string, or as many calls as may be."""
        return self.stop_text is not None or self._parser.is_complete

    def feed(self, piece: bytes, logprob: TokenLogprob | None = None) -> Released:
        """Add one token; give what it releases."""
        if logprob is not None:
            self._pending.append((self._n_decoded_chars, logprob))
        text = self._decoder.decode(piece)
        self._n_decoded_chars += len(text)
        return self._release(self._parser.feed(text), is_last=self._parser.is_complete)

    def flush(self) -> Released:
        """End the output: give what was held; bytes that never became a character are U+FFFD."""
        if self.is_stopped:
            return Released()
        text = self._decoder.decode(b"", final=True)
        self._n_decoded_chars += len(text)
        return self._release([*self._parser.feed(text), *self._parser.finish()], is_last=True)

    def _release(self, segments: list[Segment], *, is_last: bool) -> Released:
        released = Released()
        for segment in segments:
            released = released.then(self._release_segment(segment))
            if self.stop_text is not None:
                break
        if is_last and self.stop_text is None:
            released = released.then(self._release_held())
        self.text += released.text
        self.reasoning += released.reasoning
        return released._replace(logprobs=self._take_logprobs(takes_all=is_last and self.stop_text is None))

    def _release_segment(self, segment: Segment) -> Released:
        if segment.kind is Kind.TEXT:
            return self._release_text(segment.raw)
        held = self._release_held()  # no stop string runs on behind a block
        self._n_released_chars += len(segment.raw)
        if segment.kind is Kind.REASONING:
            return held.then(Released(reasoning=segment.raw))
        return held.then(Released(tool_calls=tuple(self._call(call) for call in segment.calls)))

    def _release_text(self, text: str) -> Released:
        self._held += text
        at = find_stop(self._held, self._stop)
        if at is not None:
            self.stop_text = next(stop for stop in self._stop if self._held.startswith(stop, at))
            released, self._held = self._held[:at], ""
        else:
            n_free = len(self._held) - count_possible_stop(self._held, self._stop)
            released, self._held = self._held[:n_free], self._held[n_free:]
        self._n_released_chars += len(released)
        return Released(released)

    def _release_held(self) -> Released:
        released, self._held = self._held, ""
        self._n_released_chars += len(released)
        return Released(released)

    def _call(self, written: WrittenCall) -> ToolCallDelta:
        call = ToolCall(new_call_id(), written.name, json.dumps(written.arguments, ensure_ascii=False))
        self.tool_calls.append(call)
        return ToolCallDelta(len(self.tool_calls) - 1, call.call_id, call.name, call.arguments)

    def _take_logprobs(self, *, takes_all: bool) -> tuple[TokenLogprob, ...]:
        n = len(self._pending) if takes_all else sum(at < self._n_released_chars for at, _ in self._pending)
        taken = tuple(logprob for _, logprob in self._pending[:n])
        del self._pending[:n]
        self.logprobs += taken
        return taken


def find_stop(text: str, stop: Items[str]) -> int | None:
    """Find where the first stop string in `text` begins."""
    return min((at for at in map(text.find, stop) if at >= 0), default=None)


def count_possible_stop(text: str, stop: Items[str]) -> int:
    """Count the characters at the end of `text` that could be the beginning of a stop string."""
    longest = min(max(map(len, stop), default=1) - 1, len(text))
    for n in range(longest, 0, -1):
        if any(item.startswith(text[-n:]) for item in stop):
            return n
    return 0
