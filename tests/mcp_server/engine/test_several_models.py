"""Several models in memory: side by side, in and out under a budget, kept alive by the clock, unloaded when asked.

Most tests step an `EngineHost` by hand with a clock of their own, so that every beat and every second is theirs.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.catalog import EMBEDDED_PATH, ModelCatalog
from mcp_server.engine.engine_host import EngineHost
from mcp_server.engine.jobs import (
    DescribeRequest,
    DetokenizeRequest,
    Event,
    Failed,
    Finished,
    Job,
    LoadRequest,
    Outcome,
    Progress,
    Request,
    UnloadRequest,
)
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.memory import estimate_memory
from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    GenerationRequest,
    GenerationResult,
    LoadedModel,
    ModelProperties,
    SamplingParams,
    SchedulingParams,
    TokenizeRequest,
    TokenizeResult,
    Unloaded,
)
from mcp_server.errors import (
    CinqueError,
    DeadlineError,
    EngineError,
    InvalidRequestError,
    ModelLoadError,
    ModelNotFoundError,
    QueueFullError,
)

EMBEDDED = next(EMBEDDED_PATH.glob("*.gguf"))
TINY = EMBEDDED.stem
NEVER_END = {"0": -100.0, "2": -100.0}  # the embedded model's end tokens, so that a test decides the length


class ManualClock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stepped:
    """A host stepped by hand, with models a, b, c beside the embedded one."""

    def __init__(self, settings: Any) -> None:
        settings.models_path.mkdir(parents=True, exist_ok=True)
        for name in "abc":
            shutil.copyfile(EMBEDDED, settings.models_path / f"{name}.gguf")
        self.catalog = ModelCatalog(settings)
        self.clock = ManualClock()
        self.host = EngineHost(settings, self.catalog, clock=self.clock)
        self.events: list[Event] = []
        self._n_jobs = 0
        self._is_awake = threading.Event()
        self.host.wake_by(self._is_awake.set)

    def submit(self, request: Request) -> int:
        self._n_jobs += 1
        self.host.submit(Job(self._n_jobs, request, self.clock()))
        return self._n_jobs

    def step(self) -> None:
        """Step once, when there is something to do; what is done beside the worker is waited for."""
        if not self.host.has_work:
            assert self._is_awake.wait(5), "nothing will ever happen again"
        self._is_awake.clear()
        self.events += self.host.step()

    def outcome_of(self, request_id: int) -> Outcome:
        """Step until a job is done."""
        while True:
            for event in self.events:
                if event.request_id == request_id and isinstance(event, Finished):
                    return event.outcome
                if event.request_id == request_id and isinstance(event, Failed):
                    raise event.error
            self.step()

    def ask(self, request: Request) -> Outcome:
        return self.outcome_of(self.submit(request))

    def load(self, *names: str, **options: Any) -> None:
        for name in names:
            self.ask(LoadRequest(name, **options))

    def start(self, model: str, **changes: Any) -> int:
        """Submit a generation and step until its first token is there."""
        request_id = self.submit(endless(model, **changes))
        while not any(isinstance(event, Progress) and event.request_id == request_id for event in self.events):
            self.step()
        return request_id

    def memory_bytes(self, name: str) -> int:
        model = self.catalog.resolve(name)
        return estimate_memory(model, self.catalog.options(model).settings).total_bytes

    def loaded(self) -> set[str]:
        return {model.model_id for model in self.host.statistics().loaded_models}

    def is_done(self, request_id: int) -> bool:
        return any(isinstance(e, Finished | Failed) and e.request_id == request_id for e in self.events)


@pytest.fixture
def stepped(make_settings: Any) -> Iterator[Callable[..., Stepped]]:
    made: list[Stepped] = []

    def make(**changes: Any) -> Stepped:
        made.append(Stepped(make_settings(**({"model": TINY, "kv_cache_tokens": 256, "n_slots": 2} | changes))))
        return made[-1]

    yield make
    for one in made:
        one.host.close()


def endless(model: str, n_tokens: int = 200, **changes: Any) -> GenerationRequest:
    sampling = SamplingParams(max_tokens=n_tokens, temperature=0, logit_bias=NEVER_END)
    return GenerationRequest(prompt="x", model=model, sampling=sampling, **changes)


def test_two_loaded_models_have_their_beats_in_turn(stepped: Any) -> None:
    bench = stepped()
    first = bench.start("a")
    second = bench.start("b")
    bench.events.clear()
    for _ in range(20):
        bench.step()
    turns = [event.request_id for event in bench.events if isinstance(event, Progress)]
    assert abs(turns.count(first) - turns.count(second)) <= 2
    assert bench.loaded() == {"a", "b"}
    models = {model.model_id: model.n_running for model in bench.host.statistics().models}
    assert models == {"a": 1, "b": 1}


def test_a_model_computes_the_same_beside_another(stepped: Any) -> None:
    bench = stepped()
    alone = bench.ask(endless("a", 30))
    other = bench.submit(endless("b", 30))
    beside = bench.ask(endless("a", 30))
    assert alone.completions == beside.completions == bench.outcome_of(other).completions
    assert (alone.model, bench.outcome_of(other).model) == ("a", "b")


def test_the_model_used_longest_ago_leaves_for_another(stepped: Any) -> None:
    bench = stepped(max_loaded_models=2)
    bench.load("a", "b")
    bench.ask(TokenizeRequest("x", "a"))
    bench.load("c")
    assert bench.loaded() == {"a", "c"}


def test_a_model_whose_memory_would_not_be_enough_stays(stepped: Any, make_settings: Any) -> None:
    """The large one leaves although it was used last, because the small one's place would not be enough."""
    entry = '[[models]]\nid = "{}"\npath = "models/a.gguf"\nn_slots = 8\n'
    bench = stepped()
    make_settings().models_file_path.write_text(entry.format("big") + entry.format("big2"))
    small, big = (bench.memory_bytes(name) for name in ("b", "big"))
    bench = stepped(memory_budget_bytes=big + small)
    bench.load("b", "big", "big2")
    assert bench.loaded() == {"b", "big2"}


def test_what_never_fits_is_refused_with_both_numbers_and_nothing_is_unloaded(stepped: Any, make_settings: Any) -> None:
    bench = stepped()
    make_settings().models_file_path.write_text('[[models]]\nid = "big"\npath = "models/a.gguf"\nn_slots = 60\n')
    small, big = (bench.memory_bytes(name) for name in ("b", "big"))
    bench = stepped(memory_budget_bytes=big - 1)
    bench.load("b")
    with pytest.raises(ModelLoadError, match=rf"big needs some {big} bytes .* {big - 1}\."):
        bench.load("big")
    assert bench.loaded() == {"b"}
    bench = stepped(memory_budget_bytes=big)
    bench.load("b", "big")
    assert bench.loaded() == {"big"}, f"{small} and {big} are more than {big}"


def test_loaded_models_tell_what_they_take_and_it_is_within_the_budget(stepped: Any) -> None:
    need = stepped().memory_bytes("a")
    bench = stepped(memory_budget_bytes=2 * need)
    bench.load("a", "b", "c")
    assert [model.memory_bytes for model in bench.host.statistics().loaded_models] == [need, need]
    properties = bench.ask(DescribeRequest("c"))
    assert isinstance(properties, ModelProperties)
    assert properties.memory_bytes == need


def test_a_model_that_must_leave_takes_no_new_requests_and_the_others_go_on(stepped: Any) -> None:
    bench = stepped(max_loaded_models=2, n_slots=4)
    running_a = bench.start("a", n_tokens=60)
    running_b = bench.start("b", n_tokens=900)
    wants_c = bench.submit(LoadRequest("c"))
    bench.step()
    behind_a = bench.submit(endless("a", 3))
    beside_b = bench.submit(endless("b", 3))
    bench.outcome_of(beside_b)
    assert not bench.is_done(wants_c), "both models are in use"
    bench.outcome_of(wants_c)
    assert bench.is_done(running_a)
    assert not bench.is_done(running_b)
    assert not bench.is_done(behind_a)
    bench.host.abort(running_b)
    bench.outcome_of(behind_a)


def test_requests_for_three_models_on_room_for_one_are_served_in_the_order_of_arrival(stepped: Any) -> None:
    bench = stepped(max_loaded_models=1)
    ids = [bench.submit(endless(model, 3)) for model in "abcabc"]
    for request_id in ids:
        bench.outcome_of(request_id)
    assert [event.request_id for event in bench.events if isinstance(event, Finished)] == ids


def test_an_aborted_wait_for_room_lets_the_others_in_again(stepped: Any) -> None:
    bench = stepped(max_loaded_models=1)
    running = bench.start("a", n_tokens=300)
    waiting = bench.submit(LoadRequest("b"))
    behind = bench.submit(endless("a", 3))
    bench.step()
    assert not bench.is_done(behind)
    bench.host.abort(waiting)
    bench.outcome_of(behind)
    assert not bench.is_done(running)
    assert bench.loaded() == {"a"}


def test_a_model_asked_for_by_name_leaves_after_five_minutes_and_the_default_stays(stepped: Any) -> None:
    bench = stepped()
    bench.load(TINY, "a")
    bench.clock.now += 299
    assert bench.host.next_step_s() == pytest.approx(1)
    bench.host.step()
    assert bench.loaded() == {TINY, "a"}
    expires = {model.model_id: model.expires_in_s for model in bench.host.statistics().loaded_models}
    assert expires == {TINY: None, "a": pytest.approx(1)}
    bench.clock.now += 1
    assert bench.host.next_step_s() == 0
    bench.host.step()
    assert bench.loaded() == {TINY}
    assert bench.host.next_step_s() is None


def test_a_request_begins_the_time_anew_and_a_running_one_stops_it(stepped: Any) -> None:
    bench = stepped(keep_alive_s=10)
    bench.load("a")
    bench.clock.now += 9
    running = bench.start("a")
    bench.clock.now += 100
    bench.step()
    assert bench.loaded() == {"a"}
    bench.outcome_of(running)
    bench.clock.now += 9.5
    bench.host.step()
    assert bench.loaded() == {"a"}
    bench.clock.now += 0.5
    bench.host.step()
    assert bench.loaded() == set()


def test_a_keep_alive_of_zero_unloads_when_done_and_a_negative_one_never(stepped: Any) -> None:
    bench = stepped(keep_alive_s=10)
    bench.ask(endless("a", 3, scheduling=SchedulingParams(keep_alive_s=0)))
    assert bench.loaded() == set()
    bench.load("b", keep_alive_s=-1)
    bench.ask(endless("b", 3))
    bench.clock.now += 1e6
    bench.host.step()
    assert bench.loaded() == {"b"}
    (loaded,) = bench.host.statistics().loaded_models
    assert loaded.expires_in_s is None


def test_a_keep_alive_stays_until_a_request_says_another_and_a_refused_one_says_nothing(stepped: Any) -> None:
    bench = stepped()
    loaded = bench.ask(LoadRequest("a", keep_alive_s=20))
    assert isinstance(loaded, LoadedModel)
    assert loaded.expires_in_s == 20
    bench.ask(endless("a", 3))
    with pytest.raises(CinqueError):
        bench.ask(GenerationRequest(prompt="", model="a", scheduling=SchedulingParams(keep_alive_s=0)))
    with pytest.raises(InvalidRequestError):
        bench.ask(LoadRequest("a", keep_alive_s=float("nan")))
    assert bench.host.next_step_s() == pytest.approx(20)


def test_models_file_says_how_long_its_model_stays(stepped: Any, make_settings: Any) -> None:
    path = make_settings().models_file_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[[models]]\nid = "mine"\npath = "models/a.gguf"\nkeep_alive_s = 7\n')
    bench = stepped()
    bench.load("mine")
    assert bench.host.next_step_s() == pytest.approx(7)


def test_an_unload_waits_for_what_runs_and_other_models_go_on(stepped: Any) -> None:
    bench = stepped()
    bench.load("b")
    running = bench.start("a", n_tokens=60)
    unload = bench.submit(UnloadRequest("a"))
    behind = bench.submit(endless("a", 3))
    other = bench.ask(endless("b", 3))
    assert isinstance(other, GenerationResult)
    assert not bench.is_done(unload)
    assert bench.outcome_of(unload) == Unloaded(was_loaded=True)
    assert bench.is_done(running)
    assert not bench.is_done(behind)
    bench.outcome_of(behind)
    assert bench.ask(UnloadRequest("c")) == Unloaded(was_loaded=False)
    assert bench.loaded() == {"a", "b"}


def test_an_unload_waits_for_embeddings_and_for_long_texts_too(stepped: Any) -> None:
    bench = stepped()
    bench.load("a")
    long = bench.submit(TokenizeRequest("def add(a, b):\n" * 4000, "a"))
    embedding = bench.submit(EmbeddingRequest(("one", "two", "three"), "a"))
    unload = bench.submit(UnloadRequest("a"))
    bench.outcome_of(unload)
    assert bench.is_done(long)
    assert bench.is_done(embedding)
    result = bench.outcome_of(long)
    assert isinstance(result, TokenizeResult)
    assert result.n_tokens > 4000


def test_a_stream_goes_on_while_a_long_text_is_tokenized(stepped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = stepped()
    bench.start("a")
    may_go_on = threading.Event()
    tokenize, detokenize = LLMEngine.tokenize, LLMEngine.detokenize

    def slow_tokenize(self: LLMEngine, request: TokenizeRequest) -> Any:
        assert may_go_on.wait(5)
        return tokenize(self, request)

    monkeypatch.setattr(LLMEngine, "tokenize", slow_tokenize)
    text = "x = 1\n" * 2000
    long = bench.submit(TokenizeRequest(text, "a"))
    bench.events.clear()
    for _ in range(5):
        bench.step()
    assert sum(isinstance(event, Progress) for event in bench.events) >= 4
    assert not bench.is_done(long)
    may_go_on.set()
    result = bench.outcome_of(long)
    assert isinstance(result, TokenizeResult)
    again = bench.ask(DetokenizeRequest(result.tokens, "a"))
    assert again == detokenize(bench.host.engine, result.tokens)


def test_an_aborted_long_text_is_forgotten(stepped: Any) -> None:
    bench = stepped()
    bench.load("a")
    long = bench.submit(TokenizeRequest("x = 1\n" * 3000, "a"))
    bench.step()
    bench.host.abort(long)
    bench.ask(UnloadRequest("a"))
    assert not bench.is_done(long)
    assert bench.host.statistics().n_aborted == 1


def test_totals_keep_what_unloaded_models_did(stepped: Any) -> None:
    bench = stepped()
    bench.ask(endless("a", 5))
    before = bench.host.statistics()
    bench.ask(UnloadRequest("a"))
    after = bench.host.statistics()
    assert (after.n_requests, after.n_completion_tokens) == (1, 5)
    assert after.n_prompt_tokens == before.n_prompt_tokens > 0
    assert after.n_steps == before.n_steps > 0
    assert (after.models, after.loaded_models) == ((), ())
    bench.ask(endless("b", 5))
    assert bench.host.statistics().n_completion_tokens == 10


def test_a_model_that_fails_in_its_beat_fails_its_own_requests_and_is_loaded_again(
    stepped: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = stepped()
    doomed = bench.start("a")
    other = bench.start("b", n_tokens=40)
    step = LLMEngine.step

    def failing(self: LLMEngine) -> Any:
        if self.model.model_id == "a":
            raise ZeroDivisionError
        return step(self)

    monkeypatch.setattr(LLMEngine, "step", failing)
    with pytest.raises(EngineError, match="loaded again"):
        bench.outcome_of(doomed)
    bench.outcome_of(other)
    assert bench.loaded() == {"b"}
    monkeypatch.setattr(LLMEngine, "step", step)
    bench.ask(endless("a", 3))
    assert "ZeroDivisionError" in caplog.text


def test_a_request_that_waits_for_room_fails_at_its_deadline(stepped: Any) -> None:
    bench = stepped(max_loaded_models=1)
    bench.start("a")
    late = bench.submit(endless("b", scheduling=SchedulingParams(deadline_ms=500)))
    bench.step()
    assert bench.host.next_step_s() == pytest.approx(0.5)
    bench.clock.now += 0.5
    with pytest.raises(DeadlineError) as caught:
        bench.outcome_of(late)
    assert caught.value.param == "deadline_ms"
    bench.ask(endless("a", 3))


def test_a_file_that_is_replaced_is_loaded_anew_once_its_old_state_is_idle(stepped: Any) -> None:
    bench = stepped()
    running = bench.start("a", n_tokens=40)
    path = Path(bench.catalog.resolve("a").path)
    new = shutil.copyfile(EMBEDDED, path.with_name("new"))
    os.utime(new, (path.stat().st_atime, path.stat().st_mtime))
    new.replace(path)
    old_engine = bench.host.engine
    bench.ask(endless("a", 3))
    assert bench.is_done(running)
    assert bench.host.engine is not old_engine
    assert bench.loaded() == {"a"}


def test_settings_that_change_for_a_model_hold_when_it_is_asked_next(stepped: Any, make_settings: Any) -> None:
    bench = stepped()
    path = make_settings().models_file_path
    path.write_text('[[models]]\nid = "mine"\npath = "models/a.gguf"\ncontext_tokens = 128\n')
    first = bench.ask(LoadRequest("mine"))
    path.write_text('[[models]]\nid = "mine"\npath = "models/a.gguf"\ncontext_tokens = 64\naliases = ["m"]\n')
    second = bench.ask(LoadRequest("m"))
    assert [model.context_tokens for model in (first, second)] == [128, 64]
    assert bench.loaded() == {"mine"}


def test_a_model_whose_file_is_deleted_while_loaded_finishes_and_can_be_unloaded(stepped: Any) -> None:
    bench = stepped()
    running = bench.start("a", n_tokens=40)
    Path(bench.catalog.resolve("a").path).unlink()
    with pytest.raises(ModelNotFoundError, match="'a'"):
        bench.ask(endless("a", 3))
    result = bench.outcome_of(running)
    assert isinstance(result, GenerationResult)
    assert result.usage.completion_tokens == 40
    assert bench.ask(UnloadRequest("a")) == Unloaded(was_loaded=True)


def test_a_file_that_cannot_be_loaded_costs_no_loaded_model_its_place(stepped: Any) -> None:
    bench = stepped(max_loaded_models=1)
    bench.load("a")
    Path(bench.catalog.resolve("b").path).write_bytes(EMBEDDED.read_bytes()[:-1])
    with pytest.raises(ModelLoadError, match=r"b\.gguf is truncated"):
        bench.load("b")
    assert bench.loaded() == {"a"}


def test_closing_while_a_model_is_loaded_frees_it_too(stepped: Any) -> None:
    bench = stepped()
    bench.submit(LoadRequest("a"))
    bench.events += bench.host.step()
    bench.host.close()
    assert bench.loaded() == set()


@pytest.mark.anyio
async def test_an_idle_worker_wakes_to_unload(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings(keep_alive_s=0.01))
    with anyio.fail_after(5):
        await engine.load()
        while engine.statistics().loaded_models:
            await anyio.lowlevel.checkpoint()
    assert await engine.unload() is False
    await engine.aclose()


@pytest.mark.anyio
async def test_a_model_with_free_slots_is_open_while_another_is_full(make_settings: Any) -> None:
    settings = make_settings(max_waiting=0, n_slots=1, model=TINY)
    settings.models_path.mkdir(parents=True)
    shutil.copyfile(EMBEDDED, settings.models_path / "a.gguf")
    engine = AsyncEngine(settings)
    started = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        started.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, endless(TINY, 900), on_delta)
            await started.wait()
            with pytest.raises(QueueFullError):
                await engine.generate(endless(TINY, 3))
            assert (await engine.generate(endless("a", 3))).model == "a"
            group.cancel_scope.cancel()
    await engine.aclose()
