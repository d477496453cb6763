"""How long models stay: timers of the worker, by a clock that passes when a test says so."""

from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.jobs import (
    LoadRequest,
)
from mcp_server.engine.types import (
    GenerationRequest,
    LoadedModel,
    SchedulingParams,
)
from mcp_server.errors import (
    CinqueError,
    DeadlineError,
    InvalidRequestError,
)
from tests.stepped import TINY, endless


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
async def test_times_longer_than_any_clock_harm_nobody(make_settings: Any) -> None:
    engine = AsyncEngine(make_settings())
    ages = SchedulingParams(deadline_ms=1e300, keep_alive_s=1e300)
    with anyio.fail_after(10):
        for _ in range(2):
            await engine.generate(endless(TINY, 2, scheduling=ages))
            await engine.load()
    assert engine.statistics().n_requests == 2, "the same worker served both"
    await engine.aclose()
