"""10,000 random requests with random aborts; afterwards slots, cells and memory must be what they were.

Requests differ in length, `n`, priority, deadline, stop strings, grammars, seeds and shared prefixes; many are left by
their callers, at once or after a few deltas. Checked after every round: no sequence runs or waits, each slot holds what
the cache thinks it holds, and resident memory stays within a margin of what it was after the first round. `--quick`
takes 300 requests. Ends with status 1 when something leaked.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.engine_host import EngineHost
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Delta, GenerationRequest, SamplingParams, SchedulingParams
from mcp_server.errors import CinqueError

AT_ONCE = 24  # requests under way, for 8 slots
ROUND = 500  # requests between two looks
SMALL_ROUND = 100
MARGIN_BYTES = 24 << 20  # resident memory may waver by as much: arenas of the allocator, the prefix cache filling up
PREFIX_BYTES = 4 << 20  # of the prefix cache in host memory, small, so that its filling is no growth
GRAMMARS = ('root ::= "yes" | "no"', "root ::= [a-z]+ [0-9]", None, None, None, None)
STOPS = ((), (), ("\n",), ("return", "def"), ("a",))
PREFIXES = ("", "", "def add(a, b):\n", "You write short functions. " * 6, "# a module of helpers\nimport os\n" * 4)
WORDS = ("sort", "list", "of", "numbers", "x", "\u00fc", "\u4e16\u754c", "(", ")", ":", "return", "\n", "word")


class Watched:
    """Makes the host that the worker steps, and looks at its cells when nothing runs."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._hosts: list[EngineHost] = []

    def make(self) -> EngineHost:
        """Make a host; a second one means that the first worker died."""
        self._hosts.append(EngineHost(self._settings, ModelCatalog(self._settings)))
        return self._hosts[-1]

    def faults(self) -> list[str]:
        """Say what is not as it should be."""
        engine = self._hosts[-1].engine
        faults = [f"{len(self._hosts)} workers were started"] if len(self._hosts) > 1 else []
        if engine is None:
            return faults
        if engine.kv_cache.n_free != self._settings.n_slots:
            faults.append(f"{engine.kv_cache.n_free} of {self._settings.n_slots} slots are free")
        for slot, n_tokens in enumerate(engine.kv_cache.contents()):
            if (n_cells := engine.runner.count_cells(slot)) != n_tokens:
                faults.append(f"slot {slot} has {n_cells} cells and should have {n_tokens}")
        return faults


@dataclass
class Outcome:
    """What became of the requests."""

    ends: Counter[str] = field(default_factory=Counter)  # finish reasons, `left`, codes of errors
    faults: list[str] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)  # after each round
    seconds: float = 0.0

    @property
    def growth_bytes(self) -> int:
        """Memory gained since the first round."""
        return self.resident_bytes[-1] - self.resident_bytes[0]


async def soak(n_requests: int, settings: EngineSettings, *, seed: int = 0, n_a_round: int = ROUND) -> Outcome:
    """Send random requests, round by round."""
    watched, outcome, draw = Watched(settings), Outcome(), random.Random(seed)  # noqa: S311 - no secret
    engine = AsyncEngine(settings, make_host=watched.make)
    started_s = time.perf_counter()
    try:
        for _ in range(0, n_requests, n_a_round):
            await _round(engine, n_a_round, draw, outcome)
            await engine.describe()  # answered in the step after the last abort, so nothing is on its way any more
            outcome.faults += watched.faults() + _leftovers(engine)
            outcome.resident_bytes.append(resident_bytes())
    finally:
        await engine.aclose()
    outcome.seconds = time.perf_counter() - started_s
    return outcome


async def _round(engine: AsyncEngine, n_requests: int, draw: random.Random, outcome: Outcome) -> None:
    places = anyio.Semaphore(AT_ONCE)

    async def run(request: GenerationRequest, patience: int | None) -> None:
        async with places:
            outcome.ends[await _ask(engine, request, patience)] += 1

    async with anyio.create_task_group() as group:
        for _ in range(n_requests):
            group.start_soon(run, random_request(draw), draw.choice((None, None, 0, 1, 3)))


async def _ask(engine: AsyncEngine, request: GenerationRequest, patience: int | None) -> str:
    """Ask, and leave after `patience` deltas unless that is None; say how it ended."""
    n_deltas = 0
    with anyio.CancelScope() as scope:

        async def count(_deltas: tuple[Delta, ...]) -> None:
            nonlocal n_deltas
            n_deltas += 1
            if n_deltas == patience:
                scope.cancel()

        if patience == 0:
            asyncio.get_running_loop().call_soon(scope.cancel)
        try:
            result = await engine.generate(request, count)
        except CinqueError as error:
            return error.code
        return result.completions[0].finish_reason
    return "left"


def random_request(draw: random.Random) -> GenerationRequest:
    """Draw a request."""
    sampling = SamplingParams(
        max_tokens=draw.randint(1, 40),
        temperature=draw.choice((0.0, 0.7, 1.5)),
        top_k=draw.choice((0, 5, 40)),
        repetition_penalty=draw.choice((1.0, 1.0, 1.2)),
        seed=draw.randrange(1000),
        stop=draw.choice(STOPS),
        n_logprobs=draw.choice((None, None, 2)),
        grammar=draw.choice(GRAMMARS),
    )
    return GenerationRequest(
        prompt=draw.choice(PREFIXES) + " ".join(draw.choices(WORDS, k=draw.choice((1, 3, 20, 60)))),
        n=draw.choice((1, 1, 1, 2, 4)),
        sampling=sampling,
        scheduling=SchedulingParams(
            priority=draw.randint(-1, 1),
            deadline_ms=draw.choice((None, None, None, None, 5.0, 500.0)),
            cache_prompt=draw.random() > 0.2,  # noqa: PLR2004 - one in five
        ),
    )


def _leftovers(engine: AsyncEngine) -> list[str]:
    counted = engine.statistics()
    names = ("n_running", "n_waiting")
    return [f"{name} is {getattr(counted, name)}" for name in names if getattr(counted, name)]


def resident_bytes() -> int:
    """Measure this process's resident memory; 0 where /proc is not there to ask."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def main() -> None:
    """Soak, report, and end with 1 when something leaked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 requests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n_requests, n_a_round = (300, SMALL_ROUND) if options.quick else (options.requests, ROUND)
    settings = EngineSettings(prefix_cache_bytes=PREFIX_BYTES)
    outcome = asyncio.run(soak(n_requests, settings, seed=options.seed, n_a_round=n_a_round))
    grown = outcome.growth_bytes > MARGIN_BYTES
    print(f"{sum(outcome.ends.values())} requests in {outcome.seconds:.0f} s: {dict(outcome.ends)}")
    print(f"resident memory grew by {outcome.growth_bytes / 2**20:.1f} MiB (margin {MARGIN_BYTES / 2**20:.0f})")
    print("faults:", "; ".join(outcome.faults) or "none")
    if options.json:
        report = {"ends": outcome.ends, "faults": outcome.faults, "resident_bytes": outcome.resident_bytes}
        options.json.write_text(json.dumps({**report, "seconds": outcome.seconds}, indent=2), encoding="utf-8")
    sys.exit(bool(outcome.faults) or grown)


if __name__ == "__main__":
    main()
