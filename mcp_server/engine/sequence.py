"""One completion on its way: its tokens, how far they are computed, and the text that may be shown.

A sequence is prompt and output in one list; what is not computed yet is the work left, whether that is a prompt, one
sampled token, or everything again after a preemption. Knows nothing of slots' contents, batches or native code.
"""

import codecs
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from mcp_server.engine.types import Completion, Delta, FinishReason, TokenLogprob


class Sampler(Protocol):
    """What chooses tokens for one sequence; holds native memory until closed."""

    def sample(self, context: Any, row: int) -> int | None:
        """Choose the next token from a row of the last batch; None when none is possible."""
        ...

    def report(self, context: Any, row: int, token: int) -> TokenLogprob | None:
        """Give the log-probabilities of the token just sampled, if they are asked for."""
        ...

    def close(self) -> None:
        """Free it; idempotent."""
        ...


class SequenceState(Enum):
    """Where a sequence is."""

    WAITING = "waiting"  # without a slot: new, or preempted
    RUNNING = "running"  # in the batch
    FINISHED = "finished"


class Detokenizer:
    """Bytes of tokens in, text that is safe to show out.

    Held back are the bytes of an unfinished character and any text that could still become a stop string.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self._pending: list[tuple[int, TokenLogprob]] = []  # (first character's offset, what to report with it)
        self._n_decoded_chars = 0
        self.text = ""  # released so far
        self.logprobs: list[TokenLogprob] = []  # of the tokens that began in `text`
        self.is_stopped = False

    def feed(self, piece: bytes, logprob: TokenLogprob | None = None) -> tuple[str, tuple[TokenLogprob, ...]]:
        """Add one token; give the text and logprobs released by it."""
        if logprob is not None:
            self._pending.append((self._n_decoded_chars, logprob))
        return self._release(self._decoder.decode(piece), is_last=False)

    def flush(self) -> tuple[str, tuple[TokenLogprob, ...]]:
        """End the text: give what was held; bytes that never became a character are U+FFFD."""
        if self.is_stopped:
            return "", ()
        return self._release(self._decoder.decode(b"", final=True), is_last=True)

    def _release(self, text: str, *, is_last: bool) -> tuple[str, tuple[TokenLogprob, ...]]:
        self._n_decoded_chars += len(text)
        self._held += text
        if (at := find_stop(self._held, self._stop)) is not None:
            self.is_stopped = True
            released, self._held = self._held[:at], ""
        else:
            n_held = 0 if is_last else count_possible_stop(self._held, self._stop)
            n_free = len(self._held) - n_held
            released, self._held = self._held[:n_free], self._held[n_free:]
        self.text += released
        return released, self._take_logprobs(takes_all=is_last)

    def _take_logprobs(self, *, takes_all: bool) -> tuple[TokenLogprob, ...]:
        n = len(self._pending) if takes_all else sum(at < len(self.text) for at, _ in self._pending)
        taken = [logprob for _, logprob in self._pending[:n]]
        del self._pending[:n]
        self.logprobs += taken
        return tuple(taken)


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


@dataclass(eq=False)
class Sequence:
    """One completion. Compared by identity; lives from submission to its end."""

    request_id: int
    index: int  # which of the request's n completions
    tokens: list[int]  # prompt, then output
    n_prompt: int
    max_tokens: int  # already capped to what fits the context
    sampler: Sampler
    detokenizer: Detokenizer
    n_logprobs: int | None = None
    forks: list["Sequence"] = field(default_factory=list)  # wait until this one's prompt is computed
    state: SequenceState = SequenceState.WAITING
    slot: int | None = None  # while running
    n_computed: int = 0  # tokens in the KV cache
    n_cached: int = 0  # of the prompt, found in the cache when it was first admitted
    n_preempted: int = 0
    finish_reason: FinishReason | None = None
    n_unreported: int = 0  # tokens sampled since the last delta

    @property
    def n_uncomputed(self) -> int:
        """Count the tokens still to compute; 1 is a decode step."""
        return len(self.tokens) - self.n_computed

    @property
    def n_output(self) -> int:
        """Count the tokens generated."""
        return len(self.tokens) - self.n_prompt

    def append(self, token: int, piece: bytes, logprob: TokenLogprob | None) -> Delta | None:
        """Add a sampled token; give the delta it releases, if any, and end the sequence where it must end."""
        self.tokens.append(token)
        self.n_unreported += 1
        text, logprobs = self.detokenizer.feed(piece, logprob)
        if self.detokenizer.is_stopped:
            self.finish_reason = "stop"
        elif self.n_output >= self.max_tokens:
            self.finish_reason = "length"
            tail, tail_logprobs = self.detokenizer.flush()
            text, logprobs = text + tail, logprobs + tail_logprobs
        return self._delta(text, logprobs)

    def end(self, reason: FinishReason) -> Delta | None:
        """Finish for `reason`; give what was held back."""
        self.finish_reason = reason
        return self._delta(*self.detokenizer.flush())

    def completion(self) -> Completion:
        """Give the finished completion."""
        assert self.finish_reason is not None, "a sequence is complete only when it has ended"  # noqa: S101  # invariant
        logprobs = None if self.n_logprobs is None else tuple(self.detokenizer.logprobs)
        return Completion(self.index, self.detokenizer.text, self.finish_reason, logprobs)

    def _delta(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Delta | None:
        if not text and not logprobs:
            return None
        n_tokens, self.n_unreported = self.n_unreported, 0
        return Delta(self.index, text, logprobs, n_tokens)
