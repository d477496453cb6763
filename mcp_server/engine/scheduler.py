"""What goes into the next batch: one token of every decoding sequence, then a bounded chunk of prompts.

So a long prompt never stalls running streams for more than one chunk. A free slot goes to the waiting request that
holds the fewest, among equals to the first that came: many completions of one prompt do not keep others out. When the
cells run out, retained prefixes go first, then the youngest running sequence is preempted: it loses its cells, not its
tokens, and is computed again later. Knows nothing of logits or native code.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from mcp_server.engine.kv_cache import KVCache
from mcp_server.engine.sequence import Sequence, SequenceState


@dataclass(frozen=True)
class Chunk:
    """Consecutive tokens of one sequence in one batch."""

    sequence: Sequence
    slot: int
    start: int  # position of the first token
    tokens: list[int]
    wants_logits: bool  # the chunk ends where the next token is to be sampled


class Scheduler:
    """The queues of one context."""

    def __init__(self, kv_cache: KVCache, *, prefill_chunk_tokens: int) -> None:
        self._kv_cache = kv_cache
        self._prefill_chunk_tokens = prefill_chunk_tokens
        self._is_short_of_cells = False  # since a preemption, until a sequence ends: admitting more would preempt again
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def is_idle(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.running and not self.waiting

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; its forks follow it when its prompt is computed."""
        self.waiting.append(sequence)

    def schedule(self) -> list[Chunk]:
        """Admit what fits and give the next batch: at most one token a slot and one chunk of prompts."""
        self._admit()
        chunks = [_chunk(sequence, 1) for sequence in self.running if sequence.n_uncomputed == 1]
        budget = self._prefill_chunk_tokens
        for sequence in self.running:
            if sequence.n_uncomputed > 1 and budget:
                chunk = _chunk(sequence, min(budget, sequence.n_uncomputed))
                budget -= len(chunk.tokens)
                chunks.append(chunk)
        return chunks

    def commit(self, chunks: Iterable[Chunk]) -> None:
        """Record that these chunks were computed."""
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.n_computed += len(chunk.tokens)
            self._kv_cache.extend(chunk.slot, chunk.tokens)
            if chunk.wants_logits and sequence.forks:
                self.waiting += sequence.forks
                sequence.forks = []

    def finish(self, sequence: Sequence, *, keeps_tokens: bool) -> None:
        """Take a sequence out, wherever it is, and free its slot."""
        if sequence.state is SequenceState.RUNNING:
            self._leave(sequence, keeps_tokens=keeps_tokens)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        sequence.state = SequenceState.FINISHED
        self._is_short_of_cells = False

    def make_room(self) -> bool:
        """Give up cells after a batch did not fit: a retained prefix, else the youngest sequence but the last one."""
        if self._kv_cache.evict():
            return True
        if len(self.running) <= 1:
            return False
        sequence = self.running[-1]
        self._leave(sequence, keeps_tokens=False)
        sequence.state, sequence.n_computed = SequenceState.WAITING, 0
        sequence.n_preempted += 1
        self.waiting.appendleft(sequence)
        self._is_short_of_cells = True
        return True

    def _admit(self) -> None:
        while self.waiting and self._kv_cache.n_free and not self._is_short_of_cells:
            sequence = self._next_waiting()
            place = self._kv_cache.allocate(sequence.tokens)
            assert place is not None, "a free slot was just counted"  # noqa: S101  # an invariant of ours
            self.waiting.remove(sequence)
            sequence.slot, sequence.n_computed = place
            if not sequence.n_preempted:
                sequence.n_cached = sequence.n_computed
            sequence.state = SequenceState.RUNNING
            self.running.append(sequence)

    def _next_waiting(self) -> Sequence:
        """Choose who is admitted next: one that was preempted, else the first of the request with the fewest slots."""
        n_slots = Counter(sequence.request_id for sequence in self.running)
        return min(self.waiting, key=lambda sequence: (not sequence.n_preempted, n_slots[sequence.request_id]))

    def _leave(self, sequence: Sequence, *, keeps_tokens: bool) -> None:
        assert sequence.slot is not None, "a running sequence has a slot"  # noqa: S101  # an invariant of ours
        self.running.remove(sequence)
        self._kv_cache.release(sequence.slot, keeps_tokens=keeps_tokens)
        sequence.slot = None


def _chunk(sequence: Sequence, n_tokens: int) -> Chunk:
    assert sequence.slot is not None, "a running sequence has a slot"  # noqa: S101  # an invariant of ours
    start = sequence.n_computed
    tokens = sequence.tokens[start : start + n_tokens]
    return Chunk(sequence, sequence.slot, start, tokens, wants_logits=start + n_tokens == len(sequence.tokens))
