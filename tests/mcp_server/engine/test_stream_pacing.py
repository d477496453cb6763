"""Messages of a stream are gathered so that they never cost more than its tokens; no text is lost, and no end waits."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.jobs import Event, Finished, Job, Progress
from mcp_server.engine.types import (
    Completion,
    Delta,
    EngineStatistics,
    GenerationRequest,
    GenerationResult,
    Timings,
    Usage,
)

pytestmark = pytest.mark.anyio
N_TOKENS = 1000


class OneTokenAStep:
    """A host that gives each request a thousand tokens, one a step."""

    def __init__(self) -> None:
        self._jobs: dict[int, int] = {}

    @property
    def has_work(self) -> bool:
        return bool(self._jobs)

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Nothing here is done beside the worker."""

    def next_step_s(self) -> None:
        """Nothing is due by the clock."""

    def submit(self, job: Job) -> None:
        self._jobs[job.request_id] = 0

    def abort(self, request_id: int) -> None:
        self._jobs.pop(request_id, None)

    def step(self) -> list[Event]:
        events: list[Event] = []
        for request_id in tuple(self._jobs):
            self._jobs[request_id] += 1
            events.append(Progress(request_id, Delta(0, "x", n_tokens=1)))
            if self._jobs[request_id] == N_TOKENS:
                del self._jobs[request_id]
                completion = Completion(0, "x" * N_TOKENS, "stop")
                result = GenerationResult("m", (completion,), Usage(1, N_TOKENS), Timings(0, 0, 0))
                events.append(Finished(request_id, result))
        return events

    def statistics(self) -> EngineStatistics:
        return EngineStatistics()

    def close(self) -> None:
        self._jobs.clear()


async def test_tokens_that_come_while_a_stream_rests_travel_as_one_and_the_end_wakes_it(
    make_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_server.engine.async_engine.PACE_S", 3600.0)
    engine = AsyncEngine(make_settings(max_stream_interval_ms=10_000), make_host=OneTokenAStep)
    messages: list[tuple[Delta, ...]] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        messages.append(deltas)

    with anyio.fail_after(5):
        result = await engine.generate(GenerationRequest(prompt="x"), on_delta)
    assert "".join(delta.text for deltas in messages for delta in deltas) == result.completions[0].text
    assert sum(delta.n_tokens for deltas in messages for delta in deltas) == N_TOKENS
    assert len(messages) <= 3  # the first at once, what came before the loop had seen it, the rest with the end
    await engine.aclose()
