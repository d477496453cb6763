"""Batches, slots and preemption, on a memory that only remembers what it was told."""

from typing import Any

from mcp_server.engine.chat.detokenizer import Detokenizer
from mcp_server.engine.kv_cache import CacheLimits, KVCache, Place
from mcp_server.engine.scheduler import BatchLimits, Scheduler
from mcp_server.engine.sequence import Sequence, SequenceState


class RecordedMemory:
    """Cells as plain counts: shows which slot holds how much, and refuses partial cuts when told to."""

    def __init__(self, *, can_cut: bool = True) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._can_cut = can_cut

    def remove(self, slot: int, start: int) -> bool:
        self.calls.append(("remove", slot, start))
        return self._can_cut or start == 0

    def copy(self, source: int, target: int, n_tokens: int) -> bool:
        self.calls.append(("copy", source, target, n_tokens))
        return True

    def save(self, slot: int) -> bytes:
        self.calls.append(("save", slot))
        return bytes(100)

    def restore(self, slot: int, state: bytes) -> bool:
        self.calls.append(("restore", slot, len(state)))
        return True


class NoSampler:
    """Never asked: scheduling samples nothing."""

    def sample(self, context: Any, row: int) -> int | None:  # noqa: ARG002  # the protocol's signature
        return None

    def report(self, context: Any, row: int, token: int) -> None:
        pass

    def close(self) -> None:
        pass


def sequence(*tokens: int, request_id: int = 0, **changes: Any) -> Sequence:
    return Sequence(request_id, 0, list(tokens), len(tokens), 10, NoSampler(), Detokenizer(), **changes)


def scheduler_of(n_slots: int, **limits: int) -> Scheduler:
    return Scheduler(KVCache(RecordedMemory(), n_slots), BatchLimits(**({"prefill_tokens": 8} | limits)))


def sizes(scheduler: Scheduler) -> list[tuple[int, int, bool]]:
    chunks = scheduler.schedule()
    scheduler.commit(chunks)
    return [(chunk.start, len(chunk.tokens), bool(chunk.n_outputs)) for chunk in chunks]


def test_a_long_prompt_is_computed_in_bounded_chunks_beside_decoding_sequences() -> None:
    scheduler = Scheduler(KVCache(RecordedMemory(), 2), BatchLimits(prefill_tokens=4))
    short = sequence(1, 2)
    scheduler.add(short)
    assert sizes(scheduler) == [(0, 2, True)]
    short.tokens.append(9)
    scheduler.add(sequence(*range(10, 20)))
    assert sizes(scheduler) == [(2, 1, True), (0, 4, False)]
    short.tokens.append(9)
    assert sizes(scheduler) == [(3, 1, True), (4, 4, False)]
    assert sizes(scheduler) == [(8, 2, True)]


def test_sequences_beyond_the_slots_wait_in_order() -> None:
    scheduler = Scheduler(KVCache(RecordedMemory(), 1), BatchLimits(prefill_tokens=8))
    first, second, third = (sequence(1, 2, i) for i in range(3))
    for item in (first, second, third):
        scheduler.add(item)
    scheduler.schedule()
    assert (scheduler.running, list(scheduler.waiting)) == ([first], [second, third])
    scheduler.finish(second, keeps_tokens=False)
    scheduler.finish(first, keeps_tokens=False)
    scheduler.schedule()
    assert scheduler.running == [third]


def test_forks_start_when_the_prompt_is_computed_and_share_its_cells() -> None:
    memory = RecordedMemory()
    scheduler = Scheduler(KVCache(memory, 3), BatchLimits(prefill_tokens=16))
    leader = sequence(*range(20))
    leader.forks = [sequence(*range(20)), sequence(*range(20))]
    scheduler.add(leader)
    assert sizes(scheduler) == [(0, 16, False)]
    assert sizes(scheduler) == [(16, 4, True)]
    assert sizes(scheduler) == [(19, 1, True), (19, 1, True)]
    assert [call[2:] for call in memory.calls if call[0] == "copy"] == [(1, 19), (2, 19)]


def test_forks_share_the_slots_with_requests_that_came_later() -> None:
    scheduler = Scheduler(KVCache(RecordedMemory(), 2), BatchLimits(prefill_tokens=8))
    big, fork, last_fork, small = (sequence(1, 2, request_id=i) for i in (1, 1, 1, 2))
    big.forks = [fork, last_fork]
    scheduler.add(big)
    sizes(scheduler)
    scheduler.schedule()
    scheduler.add(small)
    assert (scheduler.running, list(scheduler.waiting)) == ([big, fork], [last_fork, small])
    scheduler.finish(big, keeps_tokens=False)
    scheduler.schedule()
    assert scheduler.running == [fork, small]
    scheduler.finish(small, keeps_tokens=False)
    scheduler.schedule()
    assert scheduler.running == [fork, last_fork]


def test_small_requests_that_keep_coming_do_not_starve_a_big_one() -> None:
    scheduler = Scheduler(KVCache(RecordedMemory(), 1), BatchLimits(prefill_tokens=8))
    big, fork = (sequence(1, 2, request_id=1) for _ in range(2))
    big.forks = [fork]
    scheduler.add(big)
    sizes(scheduler)
    for request_id in (2, 3):
        scheduler.add(sequence(1, 2, request_id=request_id))
    scheduler.finish(big, keeps_tokens=False)
    scheduler.schedule()
    assert scheduler.running == [fork]


def test_a_retained_prefix_is_reused_and_cut_where_prompts_differ() -> None:
    memory = RecordedMemory()
    cache = KVCache(memory, 1, CacheLimits(retained_tokens=100))
    assert cache.allocate([1, 2, 3]) == Place(0, 0)
    cache.extend(0, [1, 2, 3])
    cache.release(0, keeps_tokens=True)
    assert cache.n_retained_tokens == 3
    assert cache.allocate([1, 2, 7, 8]) == Place(0, 2)
    assert memory.calls[-1] == ("remove", 0, 2)
    assert cache.contents() == (2,)


def test_the_last_token_is_always_computed_again_for_its_logits() -> None:
    cache = KVCache(RecordedMemory(), 1, CacheLimits(retained_tokens=100))
    cache.allocate([1, 2, 3])
    cache.extend(0, [1, 2, 3])
    cache.release(0, keeps_tokens=True)
    assert cache.allocate([1, 2, 3]) == Place(0, 2)


def test_retained_tokens_are_bounded_and_the_oldest_go_first() -> None:
    cache = KVCache(RecordedMemory(), 3, CacheLimits(retained_tokens=5))
    slots = []
    for i in range(3):
        place = cache.allocate([i] * 3)
        assert place is not None
        slots.append(place.slot)
        cache.extend(place.slot, [i] * 3)
    for slot in slots:
        cache.release(slot, keeps_tokens=True)
    assert cache.contents() == (0, 0, 3)
    assert cache.evict()
    assert not cache.evict()


def test_a_memory_that_cannot_be_cut_is_computed_from_the_start() -> None:
    cache = KVCache(RecordedMemory(can_cut=False), 1, CacheLimits(retained_tokens=100))
    cache.allocate([1, 2, 3])
    cache.extend(0, [1, 2, 3])
    cache.release(0, keeps_tokens=True)
    assert cache.allocate([1, 2, 9]) == Place(0, 0)


def test_without_room_the_youngest_is_preempted_and_nobody_is_admitted_until_one_ends() -> None:
    scheduler = Scheduler(KVCache(RecordedMemory(), 3), BatchLimits(prefill_tokens=8))
    old, young, waiting = sequence(1, 1), sequence(2, 2), sequence(3, 3)
    scheduler.add(old)
    scheduler.add(young)
    sizes(scheduler)
    young.tokens.append(5)
    scheduler.add(waiting)
    assert scheduler.make_room()
    assert not scheduler.make_room(), "the last one keeps its cells"
    assert (young.state, young.n_computed, young.tokens) == (SequenceState.WAITING, 0, [2, 2, 5])
    scheduler.schedule()
    assert scheduler.running == [old]
    scheduler.finish(old, keeps_tokens=False)
    assert sizes(scheduler) == [(0, 3, True), (0, 2, True)]
    assert scheduler.running == [young, waiting]


def test_higher_priorities_leave_the_queue_first_and_equals_in_the_order_they_came() -> None:
    scheduler = scheduler_of(1)
    low, first, second = (sequence(1, 2, request_id=i, priority=p) for i, p in enumerate((-1, 5, 5)))
    for item in (low, first, second):
        scheduler.add(item)
    order = []
    for _ in range(3):
        scheduler.schedule()
        order += scheduler.running
        scheduler.finish(scheduler.running[0], keeps_tokens=False)
    assert order == [first, second, low]


def test_without_room_the_lowest_priority_is_preempted_first() -> None:
    scheduler = scheduler_of(3)
    items = [sequence(1, i, priority=p) for i, p in enumerate((1, 0, 1))]
    for item in items:
        scheduler.add(item)
    sizes(scheduler)
    assert scheduler.make_room()
    assert scheduler.running == [items[0], items[2]]
    assert scheduler.make_room()
    assert scheduler.running == [items[0]]


def test_a_prompt_like_one_being_computed_waits_for_it_and_shares_its_cells() -> None:
    scheduler = scheduler_of(3, prefill_tokens=64)
    prefix = range(100, 210)
    first, alike, other = sequence(*prefix, 1), sequence(*prefix, 2), sequence(*range(17))
    for item in (first, alike, other):
        scheduler.add(item)
    assert sizes(scheduler) == [(0, 64, False)]
    assert sizes(scheduler) == [(64, 47, True), (0, 17, True)], "the other one passes"
    assert list(scheduler.waiting) == [alike]
    first.tokens.append(9)
    other.tokens.append(9)
    assert sizes(scheduler) == [(111, 1, True), (17, 1, True), (110, 1, True)]
    assert alike.n_cached == 110


def test_prompts_that_do_not_share_are_computed_side_by_side() -> None:
    scheduler = scheduler_of(2, prefill_tokens=256)
    for last in (1, 2):
        scheduler.add(sequence(*range(100), last, uses_cache=False))
    assert sizes(scheduler) == [(0, 101, True), (0, 101, True)]


def test_prompts_go_faster_while_nothing_decodes() -> None:
    scheduler = scheduler_of(2, prefill_tokens=4, idle_prefill_tokens=10)
    short = sequence(1, 2)
    scheduler.add(sequence(*range(10, 34)))
    assert sizes(scheduler) == [(0, 10, False)]
    scheduler.add(short)
    assert sizes(scheduler) == [(10, 10, False)]
    assert sizes(scheduler) == [(20, 4, True), (0, 2, True)]
    short.tokens.append(9)
    scheduler.add(sequence(*range(50, 70)))
    assert sizes(scheduler) == [(2, 1, True)]


def test_a_prompt_asked_about_in_full_is_computed_in_pieces_that_fit_the_rows() -> None:
    scheduler = scheduler_of(2, n_outputs=5)
    asked = sequence(*range(10), prompt_logprobs=[])
    scheduler.add(asked)
    seen = []
    while asked.n_uncomputed:
        (chunk,) = scheduler.schedule()
        seen.append((chunk.start, len(chunk.tokens), chunk.n_outputs))
        scheduler.commit([chunk])
    assert seen == [(0, 5, 5), (5, 5, 5)]


def test_a_memory_that_cannot_be_cut_is_saved_before_the_last_token_of_a_prompt() -> None:
    memory = RecordedMemory(can_cut=False)
    limits = CacheLimits(retained_tokens=None, saved_bytes=1000, can_cut=False)
    scheduler = Scheduler(KVCache(memory, 2, limits), BatchLimits(prefill_tokens=64))
    scheduler.add(sequence(*range(40)))
    assert sizes(scheduler) == [(0, 39, False)]
    assert ("save", 0) in memory.calls
    assert sizes(scheduler) == [(39, 1, True)]
    again = sequence(*range(40))
    scheduler.add(again)
    scheduler.running[0].tokens.append(9)
    assert sizes(scheduler) == [(40, 1, True), (39, 1, True)]
    assert again.n_cached == 39
