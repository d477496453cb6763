"""One completion on its way: its tokens, how far they are computed, and the text that may be shown.

A sequence is prompt and output in one list; what is not computed yet is the work left, whether that is a prompt, one
sampled token, or everything again after a preemption. Knows nothing of slots' contents, batches or native code.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from mcp_server.engine.chat.detokenizer import Detokenizer, Released
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
    shown_tokens: frozenset[int] = frozenset()  # control tokens whose letters the detokenizer reads
    forks: list["Sequence"] = field(default_factory=list)  # wait until this one's prompt is computed
    state: SequenceState = SequenceState.WAITING
    slot: int | None = None  # while running
    n_computed: int = 0  # tokens in the KV cache
    n_cached: int = 0  # of the prompt, found in the cache when it was first admitted
    n_preempted: int = 0
    n_drafted: int = 0  # tokens guessed for it
    n_accepted: int = 0  # of them, right
    finish_reason: FinishReason | None = None
    n_unreported: int = 0  # tokens sampled since the last delta
    priority: int = 0  # higher ones run first and are preempted last
    uses_cache: bool = True  # its prompt may be reused and may reuse others
    leader: "Sequence | None" = None  # the completion of the same prompt that computes it
    returns_token_ids: bool = False
    echo_text: str = ""  # the prompt, shown before what is generated
    prompt_logprobs: list[TokenLogprob] | None = None  # filled as the prompt is computed, if asked for
    max_decode_s: float | None = None
    decode_started_at: float | None = None  # when its first token was sampled
    has_spoken: bool = False  # its first delta is out

    @property
    def wants_prompt_rows(self) -> bool:
        """Tell whether logits of prompt tokens are still wanted."""
        return self.prompt_logprobs is not None and len(self.prompt_logprobs) < self.n_prompt

    def note_time(self, now: float) -> None:
        """End the sequence if it has decoded for long enough; called after each of its tokens."""
        if self.decode_started_at is None:
            self.decode_started_at = now
        elif self.max_decode_s is not None and now - self.decode_started_at >= self.max_decode_s:
            self.max_tokens = self.n_output + 1

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
        released = self.detokenizer.feed(piece, logprob)
        if self.detokenizer.is_stopped:
            self.finish_reason = "stop"
        elif self.n_output >= self.max_tokens:
            self.finish_reason = "length"
            released = released.then(self.detokenizer.flush())
        return self._delta(released)

    def end(self, reason: FinishReason) -> Delta | None:
        """Finish for `reason`; give what was held back."""
        self.finish_reason = reason
        return self._delta(self.detokenizer.flush())

    def completion(self) -> Completion:
        """Give the finished completion."""
        assert self.finish_reason is not None, "a sequence is complete only when it has ended"  # noqa: S101  # invariant
        output = self.detokenizer
        return Completion(
            index=self.index,
            text=self.echo_text + output.text,
            finish_reason=self.finish_reason,
            logprobs=None if self.n_logprobs is None else tuple(output.logprobs),
            reasoning=output.reasoning,
            tool_calls=tuple(output.tool_calls),
            token_ids=tuple(self.tokens[self.n_prompt :]) if self.returns_token_ids else None,
            stop_text=output.stop_text,
        )

    def _delta(self, released: Released) -> Delta | None:
        has_ids = self.returns_token_ids and self.n_unreported > 0
        has_echo = bool(self.echo_text) and not self.has_spoken
        if not released.has_any and not (self.finish_reason and (has_ids or has_echo)):
            return None
        text = released.text
        if self.echo_text and not self.has_spoken:
            text, self.has_spoken = self.echo_text + text, True
        n_tokens, self.n_unreported = self.n_unreported, 0
        return Delta(
            index=self.index,
            text=text,
            logprobs=released.logprobs,
            n_tokens=n_tokens,
            reasoning=released.reasoning,
            tool_calls=released.tool_calls,
            token_ids=tuple(self.tokens[len(self.tokens) - n_tokens :]) if self.returns_token_ids else (),
        )
