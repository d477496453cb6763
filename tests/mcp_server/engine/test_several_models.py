"""Several models in memory: side by side, in and out under a budget, unloaded when asked or when they fail."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mcp_server.engine.jobs import (
    DescribeRequest,
    Finished,
    LoadRequest,
    Progress,
    UnloadRequest,
)
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.types import (
    GenerationResult,
    ModelProperties,
    TokenizeRequest,
    Unloaded,
)
from mcp_server.errors import (
    EngineError,
    ModelLoadError,
    ModelNotFoundError,
)
from tests.stepped import EMBEDDED, endless


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
