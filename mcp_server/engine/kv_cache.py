"""Which slot holds the keys and values of which tokens, and what of it a new prompt can reuse.

A slot is one native sequence id. A finished sequence leaves its tokens in its slot; a new prompt that begins alike
takes them over: from a free slot, from one that is still running (a fork is just that), or from a state saved in host
memory when its slot went to somebody else. A radix tree finds the holder. States are dropped least recently used first.
A memory that cannot be cut at a token (recurrent, hybrid, sliding window) reuses only what matches as a whole.
Knows nothing of llama.cpp: the cells are behind `CellMemory`.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Protocol

from mcp_server.engine.radix import RadixTree, count_common

MIN_COPIED_TOKENS = 16  # tokens; copying from 600 costs as much as computing 1 (0.5B model) to 15 (the embedded one)
MIN_SAVED_TOKENS = 32  # tokens that nobody else holds; saving fewer costs more than computing them with a prompt


class CellMemory(Protocol):
    """The cells of one context."""

    def remove(self, slot: int, start: int) -> bool:
        """Drop the cells of `slot` from position `start` on; False when only all of them can be dropped."""
        ...

    def copy(self, source: int, target: int, n_tokens: int) -> bool:
        """Give `target`, which is empty, the first `n_tokens` cells of `source`; False when it stays empty."""
        ...

    def save(self, slot: int) -> Any:
        """Copy what `slot` holds to host memory, as something with a length in bytes."""
        ...

    def restore(self, slot: int, state: Any) -> bool:
        """Put a saved state into `slot`, which is empty; False when there is no room and it stays empty."""
        ...


@dataclass(frozen=True)
class CacheLimits:
    """What may be kept for reuse."""

    retained_tokens: int | None = 0  # in free slots, all together; None: whatever they hold, 0: nothing
    saved_bytes: int = 0  # of saved states in host memory
    can_cut: bool = True  # False for memories that cannot be cut at a position


@dataclass(frozen=True)
class Place:
    """Where a sequence runs, and how many of its tokens are there already."""

    slot: int
    n_cached: int


@dataclass
class CacheCounts:
    """What happened so far."""

    n_hits: int = 0  # prompts that reused something
    n_evictions: int = 0  # of retained slots and of saved states
    n_saved: int = 0
    n_restored: int = 0


@dataclass(eq=False)
class Slot:
    """One native sequence id."""

    number: int
    tokens: list[int] = field(default_factory=list)  # in its cells, in order
    n_listed: int = 0  # of them, in the tree
    is_free: bool = True
    is_shared: bool = True  # others may reuse what it holds
    last_used: int = 0  # the cache's own clock; larger is later


@dataclass(eq=False)
class SavedState:
    """What a slot held, in host memory."""

    n_tokens: int
    data: Any

    @property
    def n_bytes(self) -> int:
        """The memory it takes."""
        return len(self.data)


Holder = Slot | SavedState


class KVCache:
    """The slots of one context, and the states saved from them."""

    def __init__(self, memory: CellMemory, n_slots: int, limits: CacheLimits | None = None) -> None:
        """Start empty, with `n_slots` sequences that can run at once."""
        self._memory = memory
        self._slots = [Slot(number) for number in range(n_slots)]
        self._limits = limits or CacheLimits()
        self._tree: RadixTree[Holder] = RadixTree()
        self._saved: OrderedDict[SavedState, None] = OrderedDict()  # the one used longest ago first
        self._n_saved_bytes = 0
        self._clock = 0
        self.counts = CacheCounts()

    @property
    def can_cut(self) -> bool:
        """Tell whether any beginning of what a slot holds can be reused, or only all of it."""
        return self._limits.can_cut

    @property
    def n_free(self) -> int:
        """Count the slots that no sequence runs in."""
        return sum(slot.is_free for slot in self._slots)

    @property
    def n_retained_tokens(self) -> int:
        """Count the tokens that finished sequences left for reuse in their slots."""
        return sum(len(slot.tokens) for slot in self._slots if slot.is_free)

    @property
    def n_saved_bytes(self) -> int:
        """Count the host memory of saved states."""
        return self._n_saved_bytes

    def allocate(self, tokens: list[int], *, is_shared: bool = True, donor: int | None = None) -> Place | None:
        """Give a slot for these tokens, with those of them that are computed already; None when all slots run.

        At least the last token is left to compute, because its logits are wanted.

        Args:
            tokens: of the sequence, all.
            is_shared: False neither reads the cache nor lets others read what this sequence computes.
            donor: a running slot that began with the same prompt, to copy from even so.
        """
        if not self.n_free:
            return None
        source, n_shared = self._find(tokens) if is_shared else self._from_donor(tokens, donor)
        target = self._choose_target(source, n_shared)
        n_cached = self._fill(target, source, n_shared)
        target.tokens = tokens[:n_cached]
        target.is_free, target.is_shared = False, is_shared
        self._list(target)
        self._touch(target)
        self.counts.n_hits += n_cached > 0
        return Place(target.number, n_cached)

    def extend(self, slot: int, tokens: list[int]) -> None:
        """Record tokens that were computed into the slot."""
        self._slots[slot].tokens += tokens

    def truncate(self, slot: int, n_tokens: int) -> None:
        """Drop the cells of a running slot after its first `n_tokens`, such as wrong guesses."""
        changed = self._slots[slot]
        self._memory.remove(slot, n_tokens)
        del changed.tokens[n_tokens:]
        if changed.n_listed > n_tokens:
            self._list(changed, anew=True)

    def checkpoint(self, slot: int) -> None:
        """Save what a running slot holds now, for a memory that cannot be cut there later."""
        self._save(self._slots[slot])

    def release(self, slot: int, *, keeps_tokens: bool) -> None:
        """Free a slot, leaving its tokens for reuse or dropping them."""
        released, limit = self._slots[slot], self._limits.retained_tokens
        if keeps_tokens and limit == 0:
            self.swap_out(slot)
            return
        released.is_free = True
        self._touch(released)
        if keeps_tokens and released.is_shared:
            self._list(released)
        else:
            self._clear(released)
        while limit is not None and self.n_retained_tokens > limit:
            self.evict()

    def swap_out(self, slot: int) -> None:
        """Free a slot and its cells, saving what they held if there is memory for it."""
        released = self._slots[slot]
        released.is_free = True
        if released.is_shared:
            self._save_unless_held(released, n_kept=0)
        self._clear(released)

    def evict(self) -> bool:
        """Drop the tokens that were left in a slot longest ago, saved if there is memory; False when none are left."""
        slot = min((s for s in self._slots if s.is_free and s.tokens), key=lambda s: s.last_used, default=None)
        if slot is None:
            return False
        self.counts.n_evictions += 1
        self._save_unless_held(slot, n_kept=0)
        self._clear(slot)
        return True

    def count_shareable(self, tokens: list[int]) -> int:
        """Count the first tokens that could be reused now, at most all but the last."""
        return self._match(tokens)[0]

    def contents(self) -> tuple[int, ...]:
        """Count the tokens in each slot, in the order of the slots; for checks against the native memory."""
        return tuple(len(slot.tokens) for slot in self._slots)

    def _match(self, tokens: list[int]) -> tuple[int, list[Holder]]:
        for slot in self._slots:
            if not slot.is_free and slot.is_shared and slot.n_listed < len(slot.tokens):
                self._list(slot)
        search = self._tree.longest if self.can_cut else self._tree.whole
        return search(tokens, len(tokens) - 1)

    def _find(self, tokens: list[int]) -> tuple[Holder | None, int]:
        """Choose whose tokens to reuse: a free slot that fits, else one to copy from, else a saved state."""
        n_shared, holders = self._match(tokens)
        if not self.can_cut:
            holders = [h for h in holders if isinstance(h, SavedState) or h.is_free]
        slots = [holder for holder in holders if isinstance(holder, Slot)]
        fitting = [slot for slot in slots if slot.is_free and 2 * n_shared >= len(slot.tokens)]
        if fitting:
            return min(fitting, key=lambda slot: (len(slot.tokens), slot.last_used)), n_shared
        if n_shared < MIN_COPIED_TOKENS and self.can_cut:
            return None, 0
        return next(iter(slots or holders), None), n_shared

    def _from_donor(self, tokens: list[int], donor: int | None) -> tuple[Holder | None, int]:
        if donor is None or not self.can_cut:
            return None, 0
        slot = self._slots[donor]
        return slot, count_common(slot.tokens, tokens[:-1])

    def _choose_target(self, source: Holder | None, n_shared: int) -> Slot:
        """Take over the source if it is free and mostly wanted, else the free slot of which the least is lost."""
        if isinstance(source, Slot) and source.is_free and 2 * n_shared >= len(source.tokens):
            return source
        return min((slot for slot in self._slots if slot.is_free), key=_reuse_order)

    def _fill(self, target: Slot, source: Holder | None, n_shared: int) -> int:
        """Bring the shared tokens into the target and nothing else; give how many are there."""
        if source is target:
            self._save_unless_held(target, n_kept=n_shared)
            if n_shared == len(target.tokens) or self._memory.remove(target.number, n_shared):
                return n_shared
            self._clear(target)
            return 0
        if target.tokens:
            self.counts.n_evictions += 1
            self._save_unless_held(target, n_kept=0)
        self._clear(target)
        if isinstance(source, SavedState):
            return self._restore(target, source, n_shared)
        return n_shared if source is not None and self._memory.copy(source.number, target.number, n_shared) else 0

    def _restore(self, target: Slot, source: SavedState, n_shared: int) -> int:
        if source in self._saved:
            self._saved.move_to_end(source)
        if not self._memory.restore(target.number, source.data):
            return 0
        if n_shared < source.n_tokens and not self._memory.remove(target.number, n_shared):
            self._memory.remove(target.number, 0)
            return 0
        self.counts.n_restored += 1
        return n_shared

    def _save_unless_held(self, slot: Slot, *, n_kept: int) -> None:
        """Save what a slot is about to lose, unless most of it is held elsewhere too."""
        if len(slot.tokens) - n_kept < MIN_SAVED_TOKENS or not self._limits.saved_bytes:
            return
        self._tree.remove(slot)
        slot.n_listed = 0
        n_held = self._tree.longest(slot.tokens, len(slot.tokens))[0] if self.can_cut else 0
        if len(slot.tokens) - n_held >= MIN_SAVED_TOKENS:
            self._save(slot)

    def _save(self, slot: Slot) -> None:
        if not self._limits.saved_bytes:
            return
        state = SavedState(len(slot.tokens), self._memory.save(slot.number))
        if self.can_cut:
            self._forget_covered(slot.tokens)
        self._tree.add(state, slot.tokens)
        self._saved[state] = None
        self._n_saved_bytes += state.n_bytes
        self.counts.n_saved += 1
        while self._n_saved_bytes > self._limits.saved_bytes:
            self.counts.n_evictions += 1
            self._forget(next(iter(self._saved)))

    def _forget_covered(self, tokens: list[int]) -> None:
        """Drop the saved state that a new, longer one contains."""
        _, holders = self._tree.whole(tokens, len(tokens))
        for holder in holders:
            if isinstance(holder, SavedState):
                self._forget(holder)

    def _forget(self, state: SavedState) -> None:
        del self._saved[state]
        self._tree.remove(state)
        self._n_saved_bytes -= state.n_bytes

    def _clear(self, slot: Slot) -> None:
        self._memory.remove(slot.number, 0)
        self._tree.remove(slot)
        slot.tokens, slot.n_listed = [], 0

    def _list(self, slot: Slot, *, anew: bool = False) -> None:
        """Let the tree know all that a slot holds."""
        if not slot.is_shared or not slot.tokens:
            self._tree.remove(slot)
            slot.n_listed = 0
            return
        if anew or slot not in self._tree or slot.n_listed > len(slot.tokens):
            self._tree.add(slot, slot.tokens)
        elif slot.n_listed < len(slot.tokens):
            self._tree.extend(slot, slot.tokens[slot.n_listed :])
        slot.n_listed = len(slot.tokens)

    def _touch(self, slot: Slot) -> None:
        self._clock += 1
        slot.last_used = self._clock


def _reuse_order(slot: Slot) -> tuple[bool, int, int]:
    """Order free slots by how little is lost: empty ones first, then those left longest ago; low numbers first."""
    return bool(slot.tokens), slot.last_used if slot.tokens else 0, slot.number
