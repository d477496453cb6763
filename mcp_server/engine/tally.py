"""What all models did, and what one loaded model did and does now, counted by the engine that steps it.

Sums only grow; what runs now is read when the statistics are made. Knows nothing of native code.
"""

from dataclasses import dataclass

from mcp_server.engine.active_request import ActiveRequest
from mcp_server.engine.kv_cache import KVCache
from mcp_server.engine.scheduler import Chunk, Scheduler
from mcp_server.engine.sequence import Sequence
from mcp_server.engine.types import ModelStatistics, SamplingParams, SlotState, SlotStatistics


@dataclass
class Counters:
    """What was done since the worker started, over all models; only the worker writes."""

    n_requests: int = 0
    n_aborted: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    n_steps: int = 0


@dataclass
class Tally:
    """The sums since the model was loaded."""

    n_requests: int = 0
    n_prompt_tokens: int = 0
    n_cached_tokens: int = 0
    n_completion_tokens: int = 0
    n_steps: int = 0
    n_batched_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    first_token_s: float = 0.0
    n_first_tokens: int = 0
    n_prefix_hits: int = 0
    n_drafted_tokens: int = 0
    n_accepted_tokens: int = 0
    n_drafts: int = 0
    n_tokens_max: int = 0

    def note_start(self, leader: Sequence) -> None:
        """Count a request that left the queue."""
        self.n_prompt_tokens += leader.n_prompt
        self.n_cached_tokens += leader.n_cached
        self.n_prefix_hits += leader.n_cached > 0

    def note_first_token(self, request: ActiveRequest, now: float) -> None:
        """Count how long a request waited for its first token."""
        request.first_token_at = now
        self.first_token_s += now - request.job.submitted_at
        self.n_first_tokens += 1

    def note_guesses(self, n_drafted: int, n_accepted: int) -> None:
        """Count what a drafter guessed and how much of it was right."""
        self.n_drafts += 1
        self.n_drafted_tokens += n_drafted
        self.n_accepted_tokens += n_accepted

    def note_step(self, chunks: list[Chunk], n_sampled: int, elapsed_s: float) -> None:
        """Count one batch and what was sampled from it."""
        n_tokens = sum(len(chunk.tokens) for chunk in chunks)
        n_guesses = sum(len(chunk.guesses) for chunk in chunks)
        longest = max((chunk.start + len(chunk.tokens) - len(chunk.guesses) for chunk in chunks), default=0)
        self.n_tokens_max = max(self.n_tokens_max, longest)
        self.n_steps += bool(chunks)
        self.n_batched_tokens += n_tokens
        self.n_completion_tokens += n_sampled
        if n_tokens - n_guesses > len(chunks):
            self.prefill_s += elapsed_s
        else:
            self.decode_s += elapsed_s

    def statistics(
        self,
        model_id: str,
        scheduler: Scheduler,
        kv_cache: KVCache,
        requests: dict[int, ActiveRequest],
        n_cells: int,
    ) -> ModelStatistics:
        """Give the sums and what runs now."""
        contents = kv_cache.contents()
        running = {sequence.slot: sequence for sequence in scheduler.running}
        return ModelStatistics(
            model_id=model_id,
            **vars(self),
            n_running=len(running),
            n_waiting=sum(request.started_at is None for request in requests.values()),
            n_preempted=scheduler.n_preempted,
            n_prefix_evictions=kv_cache.counts.n_evictions,
            n_cells=n_cells,
            n_cells_used=min(sum(contents), n_cells),
            n_retained_tokens=kv_cache.n_retained_tokens,
            slots=tuple(
                _busy(slot, running[slot], requests[running[slot].request_id].request.sampling)
                if slot in running
                else SlotStatistics(slot, n_retained_tokens=n_tokens)
                for slot, n_tokens in enumerate(contents)
            ),
        )


def _busy(slot: int, sequence: Sequence, sampling: SamplingParams) -> SlotStatistics:
    state: SlotState = "decode" if sequence.n_output else "prefill"
    return SlotStatistics(
        slot_id=slot,
        state=state,
        request_id=sequence.request_id,
        n_prompt_tokens=sequence.n_prompt,
        n_computed_tokens=sequence.n_computed,
        n_output_tokens=sequence.n_output,
        n_cached_tokens=sequence.n_cached,
        sampling=sampling,
    )
