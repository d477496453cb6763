"""One completion on its way: its tokens, how far they are computed, and the text that may be shown.

A sequence is prompt and output in one list; what is not computed yet is the work left, whether that is a prompt, one
sampled token, or everything again after a preemption. Knows nothing of slots' contents, batches or native code.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from mcp_server.engine.detokenizer import Detokenizer, Released
from mcp_server.engine.types import Completion, Delta, FinishReason, TokenLogprob


class Sampler(Protocol):
    """What chooses tokens for one sequence; holds native memory until closed."""

    def sample(self, candidates: Any, logits: Any) -> int | None:
        """Choose the next token; None when none is possible."""
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
            text=output.text,
            finish_reason=self.finish_reason,
            logprobs=None if self.n_logprobs is None else tuple(output.logprobs),
            reasoning=output.reasoning,
            tool_calls=tuple(output.tool_calls),
            stop_text=output.stop_text,
        )

    def _delta(self, released: Released) -> Delta | None:
        if not released.has_any:
            return None
        n_tokens, self.n_unreported = self.n_unreported, 0
        return Delta(
            self.index, released.text, released.logprobs, n_tokens, released.reasoning, released.tool_calls
        )
