"""What a door remembers of models: for some seconds, and of those in memory nothing that is no longer so."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mcp_server.contract import EngineStatistics, GenerationRequest, ModelProperties
from shim.gateway import Gateway
from shim.model_names import FRESH_S, ModelNames
from tests.fakes import SCRIPTED_MODEL, ScriptedEngine
from tests.stack import connected_gateway, scripted_capabilities


class Changing(ScriptedEngine):
    """Describes a model whose settings change, and counts how often it was asked."""

    n_slots = 1
    n_asked = 0
    is_loaded = True

    async def describe(self, model: str | None = None) -> ModelProperties:
        self.n_asked += 1
        return replace(await super().describe(model), n_slots=self.n_slots)

    def statistics(self) -> EngineStatistics:
        counted = super().statistics()
        return counted if self.is_loaded else replace(counted, loaded_models=())


class Clock:
    """Stands still until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine() -> Changing:
    return Changing()


@pytest.fixture
async def gateway(engine: Changing, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with connected_gateway(scripted_capabilities(tmp_path, engine=engine)) as connected:
        yield connected


async def test_what_a_model_is_is_asked_once_in_a_while(gateway: Gateway, engine: Changing) -> None:
    clock = Clock()
    names = ModelNames(clock)
    for _ in range(3):
        assert (await names.properties(gateway, None)).n_slots == 1
    assert engine.n_asked == 1
    engine.n_slots = 2
    assert (await names.properties(gateway, None)).n_slots == 1
    clock.now += FRESH_S
    assert (await names.properties(gateway, None)).n_slots == 2


async def test_who_watches_a_model_sees_it_as_it_is(gateway: Gateway, engine: Changing) -> None:
    names = ModelNames(Clock())
    assert (await names.properties_now(gateway, None)).n_slots == 1
    engine.n_slots = 2
    assert (await names.properties_now(gateway, None)).n_slots == 2


async def test_watching_a_model_that_is_not_in_memory_does_not_load_it(gateway: Gateway, engine: Changing) -> None:
    clock = Clock()
    names = ModelNames(clock)
    await names.properties_now(gateway, None)
    engine.is_loaded = False
    for name in (None, SCRIPTED_MODEL):
        clock.now += FRESH_S
        assert (await names.properties_now(gateway, name)).model_id == SCRIPTED_MODEL
    assert engine.n_asked == 1


async def test_a_name_is_looked_up_again_after_a_while(gateway: Gateway) -> None:
    clock = Clock()
    names = ModelNames(clock)
    await names.generate(gateway, GenerationRequest(prompt="hi", model="gpt"))
    n_calls = gateway.statistics().n_calls
    assert await names.answering(gateway, "gpt") == SCRIPTED_MODEL
    assert gateway.statistics().n_calls == n_calls
    clock.now += FRESH_S
    assert await names.answering(gateway, "gpt") == SCRIPTED_MODEL
    assert gateway.statistics().n_calls == n_calls + 1
