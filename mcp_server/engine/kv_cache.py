"""Which slot holds the keys and values of which tokens, and what of it a new prompt can reuse.

A slot is one native sequence id. A finished sequence may leave its tokens in its slot; a new prompt that begins alike
takes them over, from a free slot or from one that is still running (a fork is just that). Under unified KV a copy
between slots is metadata. Retained tokens are bounded, because attention on a CPU walks over every cell in use.
Knows nothing of llama.cpp: the cells are behind `CellMemory`.
"""

from dataclasses import dataclass, field
from typing import Protocol


class CellMemory(Protocol):
    """The cells of one context."""

    def remove(self, slot: int, start: int) -> bool:
        """Drop the cells of `slot` from position `start` on; False when only all of them can be dropped."""
        ...

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        """Let `target`, which is empty, share the first `n_tokens` cells of `source`."""
        ...


@dataclass(eq=False)
class Slot:
    """One native sequence id."""

    number: int
    tokens: list[int] = field(default_factory=list)  # in its cells, in order
    is_free: bool = True
    last_used: int = 0  # the cache's own clock; larger is later


class KVCache:
    """The slots of one context."""

    def __init__(self, memory: CellMemory, n_slots: int, *, retained_tokens: int = 0, can_share: bool = True) -> None:
        """Start empty.

        Args:
            memory: the cells.
            n_slots: sequences that can run at once.
            retained_tokens: tokens of finished sequences that may stay for reuse, all slots together.
            can_share: False for memories that cannot be cut at a position (recurrent, hybrid, sliding window).
        """
        self._memory = memory
        self._slots = [Slot(number) for number in range(n_slots)]
        self._retained_tokens = retained_tokens if can_share else 0
        self._can_share = can_share
        self._clock = 0

    @property
    def n_free(self) -> int:
        """Count the slots that no sequence runs in."""
        return sum(slot.is_free for slot in self._slots)

    @property
    def n_retained_tokens(self) -> int:
        """Count the tokens that finished sequences left for reuse."""
        return sum(len(slot.tokens) for slot in self._slots if slot.is_free)

    def allocate(self, tokens: list[int]) -> tuple[int, int] | None:
        """Give a slot for these tokens and how many of them it already holds, or None when all slots run.

        At least the last token is left to compute, because its logits are wanted.
        """
        target = min((slot for slot in self._slots if slot.is_free), key=_reuse_order, default=None)
        if target is None:
            return None
        source, n_shared = self._longest_prefix(tokens)
        if source is target and self._memory.remove(target.number, n_shared):
            del target.tokens[n_shared:]
        else:
            self._clear(target)
            if source is target:
                n_shared = 0
            elif n_shared:
                self._memory.copy(source.number, target.number, n_shared)
            target.tokens = tokens[:n_shared]
        target.is_free = False
        self._touch(target)
        return target.number, n_shared

    def extend(self, slot: int, tokens: list[int]) -> None:
        """Record tokens that were computed into the slot."""
        self._slots[slot].tokens += tokens

    def release(self, slot: int, *, keeps_tokens: bool) -> None:
        """Free a slot, leaving its tokens for reuse or dropping them."""
        released = self._slots[slot]
        released.is_free = True
        self._touch(released)
        if not keeps_tokens or not self._retained_tokens:
            self._clear(released)
        while self.n_retained_tokens > self._retained_tokens:
            self.evict()

    def evict(self) -> bool:
        """Drop the tokens that were left longest ago; False when none are left."""
        slot = min((s for s in self._slots if s.is_free and s.tokens), key=lambda s: s.last_used, default=None)
        if slot is None:
            return False
        self._clear(slot)
        return True

    def contents(self) -> tuple[int, ...]:
        """Count the tokens in each slot, in the order of the slots; for checks against the native memory."""
        return tuple(len(slot.tokens) for slot in self._slots)

    def _longest_prefix(self, tokens: list[int]) -> tuple[Slot, int]:
        if not self._can_share:
            return self._slots[0], 0
        return max(((slot, _count_common(slot.tokens, tokens)) for slot in self._slots), key=lambda match: match[1])

    def _clear(self, slot: Slot) -> None:
        self._memory.remove(slot.number, 0)
        slot.tokens = []

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.last_used = self._clock


def _reuse_order(slot: Slot) -> tuple[bool, int]:
    """Order free slots by how little is lost: empty ones first, then those left longest ago."""
    return bool(slot.tokens), slot.last_used


def _count_common(held: list[int], tokens: list[int]) -> int:
    limit = min(len(held), len(tokens) - 1)
    return next((i for i in range(limit) if held[i] != tokens[i]), max(limit, 0))
