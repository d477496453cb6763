"""Prefix reuse, forks, echo and deadlines on the real embedded model, its engine stepped by hand."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from mcp_server.engine.fork import fork_request
from mcp_server.engine.jobs import Event, Failed, Finished, Job, Progress
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.tally import Counters
from mcp_server.engine.types import (
    GenerationRequest,
    GenerationResult,
    OutputParams,
    SamplingParams,
    SchedulingParams,
)
from mcp_server.errors import DeadlineError, InvalidRequestError
from tests.random_models import random_model

TIE = 1e-3  # of logits: reused and computed cells may round such a pair either way
NEVER_END = {"0": -100.0, "2": -100.0}  # the embedded model's end tokens, so that a test decides the length


class Bench:
    """An engine, a clock that a test moves, and the events of each request."""

    def __init__(self, settings: Any) -> None:
        self.now = 100.0
        self.engine = LLMEngine(ModelCatalog(settings).resolve(None), settings, Counters(), clock=lambda: self.now)
        self.events: dict[int, list[Event]] = {}

    def add(self, request: GenerationRequest) -> int:
        request_id = len(self.events) + 1
        self.events[request_id] = []
        self.engine.add(Job(request_id, request, self.now), request)
        return request_id

    def step(self) -> None:
        for event in self.engine.step():
            self.events[event.request_id].append(event)

    def run(self, request: GenerationRequest) -> GenerationResult:
        return self.finish(self.add(request))

    def finish(self, request_id: int) -> GenerationResult:
        while not (self.events[request_id] and isinstance(self.events[request_id][-1], Finished | Failed)):
            self.step()
        last = self.events[request_id][-1]
        assert isinstance(last, Finished)
        assert isinstance(last.outcome, GenerationResult)
        return last.outcome

    def deltas(self, request_id: int) -> list[Any]:
        return [event.delta for event in self.events[request_id] if isinstance(event, Progress)]

    def cells(self) -> list[int]:
        native = [self.engine.runner.count_cells(slot) for slot in range(len(self.engine.kv_cache.contents()))]
        assert native == list(self.engine.kv_cache.contents())
        return native


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(make_settings: Any) -> Iterator[MakeBench]:
    made: list[Bench] = []

    def make(**changes: Any) -> Bench:
        made.append(Bench(make_settings(**({"n_slots": 2} | changes))))
        return made[-1]

    yield make
    for bench in made:
        bench.engine.close()


def ask(number: int, n_tokens: int = 60, **sampling: Any) -> GenerationRequest:
    params: dict[str, Any] = {"temperature": 0, "max_tokens": 12, "logit_bias": NEVER_END, "n_logprobs": 2} | sampling
    tokens = tuple(10 + (7 * i + 31 * number) % 900 for i in range(n_tokens))
    return GenerationRequest(
        prompt_token_ids=tokens, sampling=SamplingParams(**params), output=OutputParams(return_token_ids=True)
    )


def assert_same_up_to_ties(one: GenerationResult, other: GenerationResult) -> None:
    for a, b in zip(one.completions[0].logprobs or (), other.completions[0].logprobs or (), strict=True):
        if a.token_id != b.token_id:
            first, second = a.top[0].logprob, a.top[1].logprob
            assert first is not None
            assert second is not None
            assert first - second < TIE
            return
    assert one.completions[0].text == other.completions[0].text


@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_repeated_prompt_computes_one_token(make_bench: MakeBench, layout: str) -> None:
    bench = make_bench(kv_layout=layout, prefix_cache_tokens=256)
    first, again = bench.run(ask(1)), bench.run(ask(1))
    assert (first.usage.cached_tokens, again.usage.cached_tokens) == (0, 59)
    assert_same_up_to_ties(first, again)
    statistics = bench.engine.statistics()
    assert (statistics.n_cached_tokens, statistics.n_prefix_hits, statistics.n_prompt_tokens) == (59, 1, 120)
    assert statistics.n_batched_tokens == 60 + 1 + 2 * 11


@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_conversation_whose_slot_went_to_others_goes_on_from_its_saved_state(
    make_bench: MakeBench, layout: str
) -> None:
    bench = make_bench(kv_layout=layout, n_slots=1)
    alone = bench.run(ask(1))
    bench.run(ask(2))
    again = bench.run(ask(1))
    assert again.usage.cached_tokens == 59
    assert_same_up_to_ties(alone, again)
    assert bench.engine.kv_cache.counts.n_restored == 1


@pytest.mark.parametrize("layout", ["split", "unified"])
def test_prompts_that_arrive_together_compute_their_common_beginning_once(make_bench: MakeBench, layout: str) -> None:
    bench = make_bench(kv_layout=layout, n_slots=4, prefix_cache_tokens=0)
    common = ask(1, n_tokens=200)
    prompts = [(*common.prompt_token_ids, *range(20, 30 + number)) for number in range(4)]
    ids = [bench.add(replace(common, prompt_token_ids=prompt)) for prompt in prompts]
    results = [bench.finish(request_id) for request_id in ids]
    assert [result.usage.cached_tokens for result in results] == [0, 210, 210, 210]
    assert bench.engine.statistics().n_batched_tokens == 210 + (1 + 2 + 3) + 4 * 11


def test_split_and_unified_cells_give_equal_texts(make_bench: MakeBench) -> None:
    results = []
    for layout in ("split", "unified"):
        bench = make_bench(kv_layout=layout, n_slots=4)
        ids = [bench.add(ask(number, n_tokens=20 + 30 * number)) for number in range(4)]
        results.append([bench.finish(request_id) for request_id in ids])
        assert bench.engine.describe().kv_layout == layout
    for one, other in zip(*results, strict=True):
        assert_same_up_to_ties(one, other)


@pytest.mark.parametrize("layout", ["split", "unified"])
def test_no_cell_is_held_after_the_work_when_nothing_is_kept(make_bench: MakeBench, layout: str) -> None:
    bench = make_bench(kv_layout=layout, n_slots=4, prefix_cache_tokens=0)
    ids = [bench.add(replace(ask(number), n=3)) for number in range(3)]
    for request_id in ids:
        bench.finish(request_id)
    assert bench.cells() == [0, 0, 0, 0]
    assert bench.engine.kv_cache.n_saved_bytes == 0


def test_sequences_in_slots_with_holes_between_them_are_what_they_are_alone(make_bench: MakeBench) -> None:
    bench = make_bench(n_slots=4)
    alone = [bench.run(ask(number, max_tokens=30)) for number in (0, 3)]
    ids = [bench.add(ask(n, max_tokens=30 if n in {0, 3} else 3)) for n in range(4)]
    together = [bench.finish(ids[0]), bench.finish(ids[3])]
    for one, other in zip(alone, together, strict=True):
        assert_same_up_to_ties(one, other)
    bench.cells()


@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_running_request_is_forked_for_the_price_of_one_token(make_bench: MakeBench, layout: str) -> None:
    bench = make_bench(kv_layout=layout, n_slots=4)
    first = bench.add(ask(1, max_tokens=40))
    while sum(delta.n_tokens for delta in bench.deltas(first)) < 10:
        bench.step()
    so_far = [token for delta in bench.deltas(first) for token in delta.token_ids]
    request = fork_request(ask(1, max_tokens=40), ask(1).prompt_token_ids, so_far[:10], n=2)
    forked = bench.finish(bench.add(request))
    whole = bench.finish(first)
    assert forked.usage.cached_tokens == 60 + 10 - 1
    assert whole.completions[0].token_ids is not None
    for completion in forked.completions:
        assert completion.token_ids == whole.completions[0].token_ids[10:], "greedy goes the same way"


def test_a_finished_completion_is_forked_at_any_token(make_bench: MakeBench) -> None:
    bench = make_bench()
    whole = bench.run(ask(1))
    tokens = whole.completions[0].token_ids
    assert whole.prompt_token_ids == ask(1).prompt_token_ids
    assert tokens is not None
    for n_kept in (0, 1, 6, 11):
        forked = bench.run(fork_request(ask(1), whole.prompt_token_ids or (), tokens[:n_kept]))
        assert forked.usage.cached_tokens == 60 + n_kept - 1
        assert forked.completions[0].token_ids == tokens[n_kept:]


@pytest.mark.parametrize(
    ("tokens", "sampling", "param"),
    [
        ((), SamplingParams(), "prompt_token_ids"),
        ((5,), SamplingParams(json_mode=True), "grammar"),
        ((5, 6), SamplingParams(max_tokens=2), "max_tokens"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(tokens: tuple[int, ...], sampling: SamplingParams, param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        fork_request(GenerationRequest(sampling=sampling), (), tokens)
    assert caught.value.param == param


def test_a_private_request_neither_reads_nor_writes_the_cache(make_bench: MakeBench) -> None:
    bench = make_bench()
    private = replace(ask(1), scheduling=SchedulingParams(cache_prompt=False))
    bench.run(private)
    assert bench.run(ask(1)).usage.cached_tokens == 0
    assert bench.run(private).usage.cached_tokens == 0
    assert bench.run(replace(private, n=2)).usage.prompt_tokens == 60


@pytest.mark.parametrize("token", [-1, 1 << 20])
def test_a_prompt_of_ids_that_are_none_is_refused(make_bench: MakeBench, token: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make_bench().add(GenerationRequest(prompt_token_ids=(5, token)))
    assert caught.value.param == "prompt_token_ids"


def test_a_prompt_alone_is_computed_and_echoed_and_left_for_who_comes_next(make_bench: MakeBench) -> None:
    bench = make_bench()
    request = ask(1, n_tokens=80)
    nothing = replace(request.sampling, max_tokens=0, n_logprobs=1)
    result = bench.run(replace(request, n=2, sampling=nothing, output=OutputParams(echo=True)))
    assert [(one.text, one.finish_reason) for one in result.completions] == [(result.completions[0].text, "length")] * 2
    assert result.completions[0].text
    assert result.prompt_logprobs is not None
    assert len(result.prompt_logprobs) == result.usage.prompt_tokens
    assert result.usage.completion_tokens == result.timings.decode_ms == 0
    bench.run(replace(request, sampling=nothing))
    assert bench.run(request).usage.cached_tokens == 79


def test_the_deltas_of_an_echo_add_up_to_it_even_when_nothing_follows(make_bench: MakeBench) -> None:
    bench = make_bench()
    for n_tokens in (0, 3):
        request = ask(1, n_tokens=20)
        sampling = replace(request.sampling, max_tokens=n_tokens)
        request_id = bench.add(replace(request, sampling=sampling, output=OutputParams(echo=True)))
        result = bench.finish(request_id)
        assert "".join(delta.text for delta in bench.deltas(request_id)) == result.completions[0].text


def test_echo_shows_the_prompt_and_what_the_model_thought_of_it(make_bench: MakeBench) -> None:
    bench = make_bench()
    text = "def add(a, b):\n    return a + b\n" * 3
    plain = GenerationRequest(prompt=text, sampling=replace(ask(1).sampling, n_logprobs=None))
    echoed = bench.run(replace(plain, output=OutputParams(echo=True)))
    assert echoed.completions[0].text == text + bench.run(plain).completions[0].text
    assert echoed.prompt_logprobs is None
    asked = replace(ask(1, n_tokens=80), output=OutputParams(echo=True))
    request_id = bench.add(replace(asked, n=2))
    result = bench.finish(request_id)
    assert result.prompt_logprobs is not None
    assert [logprob.token_id for logprob in result.prompt_logprobs] == list(asked.prompt_token_ids)
    assert [logprob.logprob is None for logprob in result.prompt_logprobs] == [True] + [False] * 79
    for index, completion in enumerate(result.completions):
        parts = [delta.text for delta in bench.deltas(request_id) if delta.index == index]
        assert "".join(parts) == completion.text
    longer = bench.run(replace(ask(1, n_tokens=79), sampling=replace(ask(1).sampling, max_tokens=1)))
    assert longer.completions[0].logprobs is not None
    best = longer.completions[0].logprobs[0].top[0]
    prompt_best = result.prompt_logprobs[79].top[0]
    assert best.token_id == prompt_best.token_id
    assert best.logprob == pytest.approx(prompt_best.logprob, abs=1e-2)


@pytest.mark.parametrize("n_steps", [0, 1, 6], ids=["queue", "prefill", "decode"])
def test_a_deadline_ends_a_request_wherever_it_is_and_frees_its_slot_within_a_step(
    make_bench: MakeBench, n_steps: int
) -> None:
    bench = make_bench(n_slots=1, prefill_chunk_tokens=32, idle_prefill_tokens=32, prefix_cache_tokens=0)
    request = replace(ask(1, max_tokens=500), scheduling=SchedulingParams(deadline_ms=1000))
    late, other = bench.add(request), bench.add(ask(2))
    for _ in range(n_steps):
        bench.step()
    bench.now += 1.001
    bench.step()
    last = bench.events[late][-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, DeadlineError)
    assert "1000 ms" in last.error.message
    assert bench.engine.n_running == 1, "the slot is the other one's in the same step"
    assert bench.finish(other).usage.completion_tokens == 12
    assert bench.cells() == [0]


def test_a_request_that_is_done_in_time_keeps_its_result(make_bench: MakeBench) -> None:
    bench = make_bench()
    done = bench.add(replace(ask(1), scheduling=SchedulingParams(deadline_ms=1000)))
    bench.finish(done)
    bench.now += 10
    bench.run(ask(2))
    assert isinstance(bench.events[done][-1], Finished)


def test_decoding_for_as_long_as_allowed_ends_as_length(make_bench: MakeBench) -> None:
    bench = make_bench()
    running = bench.add(ask(1, max_tokens=500, max_decode_ms=1000))
    for _ in range(5):
        bench.step()
    bench.now += 1
    result = bench.finish(running)
    assert result.completions[0].finish_reason == "length"
    assert result.usage.completion_tokens == 6


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"scheduling": SchedulingParams(deadline_ms=0)}, "deadline_ms"),
        ({"sampling": SamplingParams(max_decode_ms=-1)}, "max_decode_ms"),
    ],
)
def test_times_that_have_passed_before_they_begin_are_refused(
    make_bench: MakeBench, changes: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make_bench().add(replace(ask(1), **changes))
    assert caught.value.param == param


def test_statistics_show_each_slot_and_add_up(make_bench: MakeBench) -> None:
    bench = make_bench(n_slots=2)
    bench.run(ask(3))
    running = bench.add(ask(1, max_tokens=30))
    for _ in range(4):
        bench.step()
        bench.now += 1
    statistics = bench.engine.statistics()
    by_state = {slot.state: slot for slot in statistics.slots}
    assert set(by_state) == {"idle", "decode"}
    assert by_state["decode"].request_id == running
    assert (by_state["decode"].n_prompt_tokens, by_state["decode"].n_output_tokens) == (60, 4)
    assert by_state["decode"].sampling == ask(1, max_tokens=30).sampling
    assert by_state["idle"].n_retained_tokens == statistics.n_retained_tokens == 71
    assert statistics.n_cells_used == sum(bench.cells())
    assert (statistics.n_running, statistics.n_waiting, statistics.n_requests) == (1, 0, 2)
    assert statistics.n_completion_tokens == 12 + 4
    assert statistics.n_first_tokens == 2


@pytest.mark.parametrize("layout", ["split", "unified"])
@pytest.mark.parametrize("cache_type", ["q8_0", "f32"])
def test_the_number_format_of_the_cache_is_a_setting(make_bench: MakeBench, layout: str, cache_type: str) -> None:
    bench = make_bench(kv_layout=layout, cache_type_k=cache_type, cache_type_v=cache_type)
    assert bench.run(ask(1)).usage.completion_tokens == 12
    assert bench.engine.describe().flash_attention == (cache_type == "q8_0"), "quantised values need it"
    assert bench.run(ask(1)).usage.cached_tokens == 59


def test_what_is_said_of_a_model_is_true(make_bench: MakeBench) -> None:
    properties = make_bench(threads=2, flash_attention="on", mmap=False).engine.describe()
    assert (properties.n_threads, properties.flash_attention, properties.gpu_layers) == (2, True, 0)
    assert properties.quantization == "Q8_0"
    assert properties.kv_layout == "split"
    assert make_bench(kv_cache_bytes=1000).engine.describe().kv_layout == "unified"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("layout", ["split", "unified"])
def test_a_model_whose_memory_cannot_be_cut_reuses_what_matches_as_a_whole(make_bench: MakeBench, layout: str) -> None:
    windowed = str(random_model("gpt-2", arch="gemma3", window=32))
    bench = make_bench(model=windowed, kv_layout=layout, max_context_tokens=256)
    assert not bench.engine.describe().can_share_prefixes
    first = bench.run(ask(1))
    for other in (2, 3):
        bench.run(ask(other))
    again = bench.run(replace(ask(1), n=3))
    assert again.usage.cached_tokens == 59
    assert_same_up_to_ties(first, again)
    assert len({completion.token_ids for completion in again.completions}) == 1
    conversation = replace(
        ask(1), prompt_token_ids=(*ask(1).prompt_token_ids, *(first.completions[0].token_ids or ()), 9)
    )
    assert bench.run(conversation).usage.cached_tokens == 60 + 12 - 1, "the last token was sampled, never computed"
    assert bench.run(ask(1, n_tokens=40)).usage.cached_tokens == 0
    bench.cells()


def test_a_preempted_sequence_goes_on_from_its_saved_state(make_bench: MakeBench) -> None:
    n_computed, texts = [], []
    for saved_bytes in (0, 1 << 24):
        bench = make_bench(
            kv_layout="unified", n_slots=6, max_context_tokens=256, kv_cache_tokens=256, prefix_cache_bytes=saved_bytes
        )
        ids = [bench.add(ask(number, n_tokens=40, max_tokens=50)) for number in range(6)]
        texts.append([bench.finish(request_id) for request_id in ids])
        statistics = bench.engine.statistics()
        assert statistics.n_preempted > 0
        n_computed.append(statistics.n_batched_tokens)
        assert sum(bench.cells()) == 0
    assert n_computed[1] <= 6 * (40 + 49 + 1) < n_computed[0], "at most one token of each is computed twice"
    for one, other in zip(*texts, strict=True):
        assert_same_up_to_ties(one, other)
