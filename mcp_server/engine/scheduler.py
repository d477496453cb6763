"""What goes into the next batch: one token of every decoding sequence, then a bounded chunk of prompts.

So a long prompt never stalls running streams for more than one chunk; while nothing decodes the chunk is larger. A free
slot goes to the highest priority, among equals to the request that holds the fewest slots, then to the first that came.
A prompt that begins like one being computed waits for it and then shares its cells. When the cells run out, retained
prefixes go first, then the youngest running sequence of the lowest priority is preempted: it loses its cells, not its
tokens, and goes on later. Knows nothing of logits or native code.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from mcp_server.engine.kv_cache import KVCache
from mcp_server.engine.radix import RadixTree
from mcp_server.engine.sequence import Sequence, SequenceState

MIN_AWAITED_TOKENS = 32  # shared with a prompt that is being computed; for fewer no sequence waits


@dataclass(slots=True)
class Chunk:
    """Consecutive tokens of one sequence in one batch."""

    sequence: Sequence
    slot: int
    start: int  # position of the first token
    tokens: list[int]
    n_outputs: int  # of the last tokens, how many get logits; 0: a prompt goes on in the next batch


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may be."""

    prefill_tokens: int  # of prompts, beside sequences that decode
    idle_prefill_tokens: int = 0  # of prompts while nothing decodes; 0: the same
    n_outputs: int = 1 << 30  # rows of logits


class Scheduler:
    """The queues of one context."""

    def __init__(self, kv_cache: KVCache, limits: BatchLimits) -> None:
        self._kv_cache = kv_cache
        self._limits = limits
        self._is_short_of_cells = False  # since a preemption, until a sequence ends: admitting more would preempt again
        self._coming: RadixTree[Sequence] = RadixTree()  # prompts of running sequences that are not computed yet
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.n_preempted = 0

    @property
    def is_idle(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.running and not self.waiting

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; its forks follow it when its prompt is computed."""
        self.waiting.append(sequence)

    def schedule(self) -> list[Chunk]:
        """Admit what fits and give the next batch: at most one token a slot and one chunk of prompts."""
        chunks = [_chunk(sequence, 1, 1) for sequence in self.running if sequence.n_uncomputed == 1]
        limits = self._limits
        budget = limits.prefill_tokens if chunks else max(limits.idle_prefill_tokens, limits.prefill_tokens)
        n_outputs = limits.n_outputs - len(chunks)
        for sequence in self.running:
            if sequence.n_uncomputed > 1:
                n_outputs, budget = self._add_prefill(chunks, sequence, n_outputs, budget)
        if self.waiting and not self._is_short_of_cells:
            self._admit(chunks, n_outputs, budget)
        return chunks

    def commit(self, chunks: Iterable[Chunk]) -> None:
        """Record that these chunks were computed."""
        for chunk in chunks:
            sequence = chunk.sequence
            sequence.n_computed += len(chunk.tokens)
            self._kv_cache.extend(chunk.slot, chunk.tokens)
            if sequence in self._coming or sequence.forks or not self._kv_cache.can_cut:
                self._note_prompt(sequence)

    def finish(self, sequence: Sequence, *, keeps_tokens: bool) -> None:
        """Take a sequence out, wherever it is, and free its slot."""
        if sequence.state is SequenceState.RUNNING:
            self._kv_cache.release(self._leave(sequence), keeps_tokens=keeps_tokens)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        sequence.state = SequenceState.FINISHED
        self._is_short_of_cells = False

    def make_room(self) -> bool:
        """Give up cells after a batch did not fit: a retained prefix, else a running sequence but the last one."""
        if self._kv_cache.evict():
            return True
        if len(self.running) <= 1:
            return False
        youngest_first = reversed(self.running)
        sequence = min(youngest_first, key=lambda running: running.priority)
        self._kv_cache.swap_out(self._leave(sequence))
        sequence.state, sequence.n_computed = SequenceState.WAITING, 0
        sequence.n_preempted += 1
        self.n_preempted += 1
        self.waiting.appendleft(sequence)
        self._is_short_of_cells = True
        return True

    def _admit(self, chunks: list[Chunk], n_outputs: int, budget: int) -> None:
        """Give free slots to who waits, as long as the batch has room for their tokens."""
        passed: set[Sequence] = set()  # they wait for a prompt like theirs
        while budget and n_outputs and self._kv_cache.n_free:
            sequence = self._next_waiting(passed)
            if sequence is None:
                return
            if self._should_wait(sequence):
                passed.add(sequence)
                continue
            self._start(sequence)
            n_outputs, budget = self._add_prefill(chunks, sequence, n_outputs, budget)

    def _start(self, sequence: Sequence) -> None:
        leader = sequence.leader
        donor = leader.slot if leader is not None and leader.n_computed >= sequence.n_prompt else None
        is_shared = sequence.uses_cache and not sequence.wants_prompt_rows
        place = self._kv_cache.allocate(sequence.tokens, is_shared=is_shared, donor=donor)
        assert place is not None, "a free slot was just counted"  # noqa: S101  # an invariant of ours
        self.waiting.remove(sequence)
        sequence.slot, sequence.n_computed = place.slot, place.n_cached
        if not sequence.n_preempted:
            sequence.n_cached = min(place.n_cached, sequence.n_prompt)
        sequence.state = SequenceState.RUNNING
        self.running.append(sequence)
        if is_shared and self._kv_cache.can_cut and sequence.n_uncomputed >= MIN_AWAITED_TOKENS:
            self._coming.add(sequence, sequence.tokens)

    def _should_wait(self, sequence: Sequence) -> bool:
        """Tell whether a prompt being computed will soon save much of this one's work."""
        if not len(self._coming) or not sequence.uses_cache or sequence.wants_prompt_rows:
            return False
        n_coming, _ = self._coming.longest(sequence.tokens, len(sequence.tokens) - 1)
        if n_coming < MIN_AWAITED_TOKENS:
            return False
        return n_coming - self._kv_cache.count_shareable(sequence.tokens) >= MIN_AWAITED_TOKENS

    def _next_waiting(self, passed: set[Sequence]) -> Sequence | None:
        """Choose who is admitted next: by priority, then who was preempted, then whose request has the fewest slots."""
        n_slots = Counter(sequence.request_id for sequence in self.running)
        return min(
            (sequence for sequence in self.waiting if sequence not in passed),
            key=lambda waiting: (-waiting.priority, not waiting.n_preempted, n_slots[waiting.request_id]),
            default=None,
        )

    def _add_prefill(self, chunks: list[Chunk], sequence: Sequence, n_outputs: int, budget: int) -> tuple[int, int]:
        """Add what fits of a prompt; give the rows and tokens that are still free."""
        n_tokens = min(budget, sequence.n_uncomputed)
        if sequence.wants_prompt_rows:
            n_tokens = min(n_tokens, n_outputs)
        stop = (
            sequence.n_prompt - 1
        )  # where a memory that cannot be cut must be saved, so that a prompt can be repeated
        if not self._kv_cache.can_cut and sequence.n_computed < stop:
            n_tokens = min(n_tokens, stop - sequence.n_computed)
        is_last = n_tokens == sequence.n_uncomputed
        n_rows = n_tokens if sequence.wants_prompt_rows else int(is_last)
        if n_tokens == 0 or n_rows > n_outputs:
            return n_outputs, budget
        chunks.append(_chunk(sequence, n_tokens, n_rows))
        return n_outputs - n_rows, budget - n_tokens

    def _note_prompt(self, sequence: Sequence) -> None:
        """Do what waits for a prompt to be computed."""
        if not self._kv_cache.can_cut and sequence.uses_cache and sequence.n_computed == sequence.n_prompt - 1:
            assert sequence.slot is not None, "a running sequence has a slot"  # noqa: S101  # an invariant of ours
            self._kv_cache.checkpoint(sequence.slot)
        if not sequence.n_uncomputed:
            self._coming.remove(sequence)
            self.waiting += sequence.forks
            sequence.forks = []

    def _leave(self, sequence: Sequence) -> int:
        assert sequence.slot is not None, "a running sequence has a slot"  # noqa: S101  # an invariant of ours
        slot, sequence.slot = sequence.slot, None
        self.running.remove(sequence)
        self._coming.remove(sequence)
        return slot


def _chunk(sequence: Sequence, n_tokens: int, n_outputs: int) -> Chunk:
    assert sequence.slot is not None, "a running sequence has a slot"  # noqa: S101  # an invariant of ours
    start = sequence.n_computed
    return Chunk(sequence, sequence.slot, start, sequence.tokens[start : start + n_tokens], n_outputs)
