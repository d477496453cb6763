"""Which tokens are reused, from where, and what is dropped: on a memory that remembers every token it was told."""

import random
from typing import Any

import pytest

from mcp_server.engine.kv_cache import MIN_COPIED_TOKENS, CacheLimits, KVCache, Place

STATE_BYTES_A_TOKEN = 10


class State(bytes):
    """What a slot held."""

    tokens: list[int]


class RememberingMemory:
    """Cells that remember their tokens, so that a test sees whether a slot really holds what the cache says."""

    def __init__(self, n_slots: int, *, can_cut: bool = True) -> None:
        self.slots: list[list[int]] = [[] for _ in range(n_slots)]
        self.can_cut = can_cut
        self.calls: list[str] = []

    def remove(self, slot: int, start: int) -> bool:
        if start and not self.can_cut and start < len(self.slots[slot]):
            return False
        del self.slots[slot][start:]
        return True

    def copy(self, source: int, target: int, n_tokens: int) -> bool:
        self.calls.append("copy")
        assert not self.slots[target]
        self.slots[target] = self.slots[source][:n_tokens]
        return True

    def save(self, slot: int) -> Any:
        self.calls.append("save")
        state = State(STATE_BYTES_A_TOKEN * len(self.slots[slot]))
        state.tokens = list(self.slots[slot])
        return state

    def restore(self, slot: int, state: Any) -> bool:
        self.calls.append("restore")
        assert not self.slots[slot]
        self.slots[slot] = list(state.tokens)
        return True


class Cache:
    """A cache and its memory, driven as a scheduler does."""

    def __init__(self, n_slots: int, *, can_cut: bool = True, **limits: Any) -> None:
        self.memory = RememberingMemory(n_slots, can_cut=can_cut)
        self.cache = KVCache(self.memory, n_slots, CacheLimits(**({"retained_tokens": None} | limits), can_cut=can_cut))

    def start(self, tokens: list[int], **how: Any) -> Place:
        place = self.cache.allocate(tokens, **how)
        assert place is not None
        assert self.memory.slots[place.slot] == tokens[: place.n_cached], "what is called cached is there"
        self.compute(place.slot, tokens[place.n_cached :])
        return place

    def compute(self, slot: int, tokens: list[int]) -> None:
        self.memory.slots[slot] += tokens
        self.cache.extend(slot, tokens)

    def run(self, tokens: list[int], **how: Any) -> Place:
        place = self.start(tokens, **how)
        self.cache.release(place.slot, keeps_tokens=True)
        return place


def conversation(number: int, n_tokens: int = 50) -> list[int]:
    return [number * 1000 + i for i in range(n_tokens)]


@pytest.mark.parametrize("can_cut", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_slot_holds_what_the_cache_says(seed: int, *, can_cut: bool) -> None:
    draw = random.Random(seed)  # noqa: S311  # a repeatable test
    cache = Cache(4, can_cut=can_cut, retained_tokens=draw.choice([None, 0, 150]), saved_bytes=3000)
    running: dict[int, list[int]] = {}
    for _ in range(400):
        if cache.cache.n_free and draw.random() < 0.6:
            tokens = [draw.randint(0, 1) * 7] * draw.randint(1, 40) + [draw.randint(0, 3) for _ in range(40)]
            place = cache.start(tokens, is_shared=draw.random() < 0.8)
            assert place.n_cached < len(tokens)
            running[place.slot] = tokens
        elif running and draw.random() < 0.5:
            slot = draw.choice(list(running))
            more = [draw.randint(0, 3) for _ in range(5)]
            running[slot] = running[slot] + more
            cache.compute(slot, more)
        elif running:
            slot = draw.choice(list(running))
            assert cache.memory.slots[slot] == running.pop(slot)
            if draw.random() < 0.2:
                cache.cache.swap_out(slot)
            else:
                cache.cache.release(slot, keeps_tokens=draw.random() < 0.8)
        assert cache.cache.contents() == tuple(map(len, cache.memory.slots))
        assert cache.cache.n_saved_bytes <= 3000


def test_a_running_sequence_lends_all_that_it_has_computed_so_far() -> None:
    cache = Cache(2)
    first = cache.start(conversation(1))
    cache.compute(first.slot, [1, 2, 3])
    assert cache.start([*conversation(1), 1, 2, 3, 4]).n_cached == 53


def test_a_few_shared_tokens_are_computed_again_instead_of_copied() -> None:
    for n_shared in (MIN_COPIED_TOKENS - 1, MIN_COPIED_TOKENS):
        cache = Cache(2)
        cache.start(conversation(1))
        place = cache.start(conversation(1)[:n_shared] + conversation(2))
        assert (place.n_cached > 0) == (n_shared >= MIN_COPIED_TOKENS)


def test_a_conversation_goes_on_in_its_own_slot_without_a_copy() -> None:
    cache = Cache(3)
    first = cache.run(conversation(1))
    assert cache.run([*conversation(1), 5, 6]) == Place(first.slot, 50)
    assert cache.memory.calls == []


def test_a_conversation_that_lost_its_slot_comes_back_from_a_saved_state() -> None:
    cache = Cache(1, saved_bytes=10_000)
    cache.run(conversation(1))
    cache.run(conversation(2))
    assert cache.run([*conversation(1), 5]).n_cached == 50
    assert cache.cache.counts.n_restored == 1
    assert cache.cache.counts.n_evictions == 2, "the slot was taken from conversation 1, then from conversation 2"


def test_the_saved_state_used_longest_ago_is_dropped_first() -> None:
    cache = Cache(1, saved_bytes=2 * 50 * STATE_BYTES_A_TOKEN)
    for number in (1, 2, 3):
        cache.run(conversation(number))  # 1 and 2 are saved, 3 is in the slot
    assert cache.run([*conversation(1), 9]).n_cached == 50  # now 2 is the oldest, and goes when 3 is saved
    assert cache.run([*conversation(3), 9]).n_cached == 50
    assert cache.run([*conversation(2), 9]).n_cached == 0


def test_a_saved_state_that_another_contains_is_dropped() -> None:
    cache = Cache(1, saved_bytes=10_000)
    cache.run(conversation(1))
    cache.run(conversation(2))
    cache.run(conversation(1, n_tokens=100))
    cache.run(conversation(3))
    assert cache.cache.n_saved_bytes == (50 + 100) * STATE_BYTES_A_TOKEN, "conversation 2, and 1 as it is now"


def test_what_others_hold_as_well_is_not_saved() -> None:
    cache = Cache(2, saved_bytes=10_000)
    slot = cache.start(conversation(1)).slot
    cache.run([*conversation(1), 5])
    cache.run(conversation(2))
    assert "save" not in cache.memory.calls
    assert cache.memory.slots[slot] == conversation(1)


def test_a_request_that_does_not_share_neither_reads_nor_writes() -> None:
    cache = Cache(3, saved_bytes=10_000)
    cache.run(conversation(1))
    private = cache.start([*conversation(1), 5], is_shared=False)
    assert private.n_cached == 0
    cache.compute(private.slot, conversation(7))
    assert cache.start([*conversation(1), 5, *conversation(7)]).n_cached == 50
    cache.cache.release(private.slot, keeps_tokens=True)
    assert cache.cache.contents()[private.slot] == 0
    assert cache.cache.n_saved_bytes == 0


def test_the_forks_of_a_request_that_does_not_share_copy_from_their_leader() -> None:
    cache = Cache(2)
    leader = cache.start(conversation(1), is_shared=False)
    assert cache.start(conversation(1), is_shared=False, donor=leader.slot).n_cached == 49


def test_a_fork_that_went_on_otherwise_before_it_was_preempted_copies_the_prompt_alone() -> None:
    cache = Cache(2)
    leader = cache.start([*conversation(1), 7, 8, 9], is_shared=False)
    assert cache.start([*conversation(1), 7, 4, 5, 6], is_shared=False, donor=leader.slot).n_cached == 51


def test_a_memory_that_cannot_be_cut_reuses_whole_states_only() -> None:
    cache = Cache(2, can_cut=False, saved_bytes=10_000)
    place = cache.cache.allocate(conversation(1))
    assert place is not None
    cache.compute(place.slot, conversation(1)[:-1])
    cache.cache.checkpoint(place.slot)
    cache.compute(place.slot, conversation(1)[-1:])
    assert cache.start(conversation(1)).n_cached == 49, "the prompt's checkpoint"
    cache.cache.release(place.slot, keeps_tokens=True)
    assert cache.run(conversation(1)[:30]).n_cached == 0, "a part of a state cannot be had"


def test_a_memory_that_cannot_be_cut_goes_on_where_a_sequence_ended() -> None:
    cache = Cache(1, can_cut=False)
    cache.run(conversation(1))
    assert cache.run([*conversation(1), 5]).n_cached == 50


def test_dropped_guesses_are_no_longer_lent() -> None:
    cache = Cache(2)
    slot = cache.start([*conversation(1), 7, 8]).slot
    cache.start([*conversation(1), 7, 8, 9])
    cache.cache.truncate(slot, 50)
    assert cache.memory.slots[slot] == conversation(1)
    assert cache.cache.contents()[slot] == 50


def test_swapped_out_cells_are_free_and_come_back() -> None:
    cache = Cache(1, saved_bytes=10_000)
    slot = cache.start(conversation(1)).slot
    cache.cache.swap_out(slot)
    assert cache.cache.contents() == (0,)
    assert cache.start(conversation(1)).n_cached == 49
