"""Random requests with random aborts leave nothing behind; `benchmarks/soak.py` does the same 10,000 times."""

from typing import Any

import pytest

from benchmarks.soak import MARGIN_BYTES, PREFIX_BYTES, soak


@pytest.mark.anyio
@pytest.mark.timeout(90)
@pytest.mark.parametrize("layout", ["split", "unified"])
@pytest.mark.parametrize("n_requests", [60, pytest.param(160, marks=pytest.mark.sweep)])
async def test_after_random_requests_and_aborts_slots_cells_and_memory_are_what_they_were(
    make_settings: Any, layout: str, n_requests: int
) -> None:
    settings = make_settings(kv_layout=layout, prefix_cache_bytes=PREFIX_BYTES)
    outcome = await soak(n_requests, settings, n_a_round=n_requests // 4)
    assert outcome.faults == []
    assert sum(outcome.ends.values()) == n_requests
    assert outcome.ends["left"] > n_requests // 8
    assert outcome.growth_bytes < MARGIN_BYTES
