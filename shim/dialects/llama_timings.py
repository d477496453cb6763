"""The `timings` object of llama.cpp's server, which it adds to the answers of every API."""

import time
from collections.abc import Callable

from pydantic import BaseModel

from mcp_server.contract import GenerationResult

MS_PER_S = 1000.0


class LlamaTimings(BaseModel):
    """Where the time of a request went; the two counts of drafts are there when a draft model guessed."""

    cache_n: int  # prompt tokens reused
    prompt_n: int  # prompt tokens computed
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    draft_n: int | None = None
    draft_n_accepted: int | None = None


class PartialTimings(BaseModel):
    """What is known of them while tokens still come."""

    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class Pace:
    """Times the tokens of streamed completions as they arrive here, from the first of each on."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._progress: dict[int, tuple[float, int]] = {}  # of each completion: time of its first token (s), tokens

    def note(self, index: int, n_tokens: int) -> PartialTimings:
        """Count new tokens of completion number *index*; return what is known of it now."""
        now_s = self._clock()
        started_s, n_before = self._progress.get(index, (now_s, 0))
        self._progress[index] = (started_s, n_before + n_tokens)
        return predicted(n_before + n_tokens, (now_s - started_s) * MS_PER_S)


def timings(result: GenerationResult) -> LlamaTimings:
    """Return the timings of *result*, all its completions together."""
    usage, spent = result.usage, result.timings
    n_computed = usage.prompt_tokens - usage.cached_tokens
    return LlamaTimings(
        cache_n=usage.cached_tokens,
        prompt_n=n_computed,
        prompt_ms=spent.prefill_ms,
        prompt_per_token_ms=_over(spent.prefill_ms, n_computed),
        prompt_per_second=_over(n_computed * MS_PER_S, spent.prefill_ms),
        **predicted(usage.completion_tokens, spent.decode_ms).model_dump(),
        draft_n=usage.drafted_tokens or None,
        draft_n_accepted=usage.accepted_tokens if usage.drafted_tokens else None,
    )


def predicted(n_tokens: int, duration_ms: float) -> PartialTimings:
    """Return the part about generated tokens."""
    return PartialTimings(
        predicted_n=n_tokens,
        predicted_ms=duration_ms,
        predicted_per_token_ms=_over(duration_ms, n_tokens),
        predicted_per_second=_over(n_tokens * MS_PER_S, duration_ms),
    )


def _over(amount: float, by: float) -> float:
    """Divide; 0 where nothing was done, as infinity has no JSON."""
    return amount / by if by else 0.0
