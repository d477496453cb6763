"""Tokens/s and time to first token of our engine against its peers, interleaved in one run.

Peers are built from the vendored source: llama-server tuned for this CPU and as it comes, `llama_cpp.server`, and the
example server of llama-cpp-python. Every request has a prompt of 512 + 16 tokens and 128 tokens of answer; `shared`
means that the 512 are the same for all clients (for one client there is no such choice). Prefixes are new in every
repetition, so no cache is warm. A ratio is the median over repetitions of ours over the peer's, shown with its range;
`stolen` is what the machine's host gave to others meanwhile. It ends with 1 when a claim does not hold.

A cell (a model, a number of clients, a kind of prefix) is repeated while ours and tuned llama-server take less than
`--cell-s`; the other peers are asked once, again where that is quick, and left out where it would take longer than
`--patience-s`. The whole takes some 40 minutes on two cores. With `--json FILE` every finished cell is written at once,
beside what the file holds already: so run cells one at a time, add repetitions to some, or go on with `--resume`.
`--quick` takes small prompts and one repetition.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers import servers
from benchmarks.peers.alone import running_alone
from benchmarks.peers.client import RefusedError, Sample
from benchmarks.peers.machine import watching_host
from benchmarks.peers.measurements import (
    SERIAL,
    STACK,
    TUNED,
    Measurement,
    Measurements,
    Scenario,
    claims,
    judge,
    show,
)
from benchmarks.peers.prompts import find_model, prompts_for
from benchmarks.peers.servers import Load, Peer
from mcp_server.engine.machine import count_physical_cores
from mcp_server.engine.native.context import SMALL_MODEL_BYTES

PEERS: dict[str, Callable[[Load], Peer]] = {  # the first is asked right before ours alone, the second right after
    "tuned": lambda load: servers.llama_server(load, is_tuned=True),
    "stack": servers.cinque,
    "defaults": lambda load: servers.llama_server(load, is_tuned=False),
    "llama_cpp": servers.llama_cpp_server,
    "example": servers.example_server,
}
CONTEXT_TOKENS = 1024  # of one slot; what the embedded model was trained for
SLOTS = 8
WARM_UP_TOKENS = 8
QUICK_S = 10.0  # an answer of one of the other peers that is asked for again
QUICK_REPETITIONS = 5


class Engine(Protocol):
    """Anything that can be asked."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    async def measure(self, prompts: list[str], n_tokens: int) -> tuple[list[Sample], float]:
        """Ask for all prompts at once."""
        ...


Texts = dict[Scenario, list[list[str]]]  # prompts of each repetition


class Run:
    """The engines on one model, and what they did."""

    def __init__(self, options: argparse.Namespace, measurements: Measurements, engines: list[Engine]) -> None:
        """Keep them.

        Args:
            options: of the command line.
            measurements: where what is measured goes.
            engines: ours alone and its peers, each next to whom it is compared with.
        """
        self._options, self._measurements, self._engines = options, measurements, engines

    async def measure(self, scenario: Scenario, texts: list[list[str]]) -> None:
        """Go through the repetitions of one scenario, as far as there is time."""
        started_at = int(time.time())
        spent_s = 0.0
        others_s: dict[str, float] = {}  # of those that are not asked in every repetition, what the last answer took
        for i, prompts in enumerate(texts):
            for engine in self._engines[:: -1 if i % 2 else 1]:  # both ways, so that a drift favours nobody
                if engine.name in (TUNED, STACK) or not isinstance(engine, Peer):
                    spent_s += await self._ask(engine, scenario, f"{started_at}.{i}", prompts)
                elif self._is_due(scenario, engine, i, others_s.get(engine.name)):
                    try:
                        others_s[engine.name] = await self._ask(engine, scenario, f"{started_at}.{i}", prompts)
                    except RefusedError as error:
                        print(f"     {scenario.title}: {engine.name} left out: {error}")
            if spent_s * (i + 2) / (i + 1) > self._options.cell_s:
                break

    def _is_due(self, scenario: Scenario, engine: Engine, repetition: int, last_s: float | None) -> bool:
        """Tell whether one of the other peers is asked in this repetition."""
        if repetition == 0:
            return self._is_worth_it(scenario, engine)
        return last_s is not None and last_s <= QUICK_S and repetition < QUICK_REPETITIONS

    def _is_worth_it(self, scenario: Scenario, engine: Engine) -> bool:
        """Tell whether a peer without a claim takes bearable time, as far as it was asked by fewer clients before."""
        if engine.name == SERIAL and scenario.n_clients > self._options.serial_clients:
            return False
        fewer = (s for s in _scenarios(self._options, scenario.model) if s.n_clients < scenario.n_clients)
        alike = (s for s in fewer if s.n_clients == 1 or s.prefix == scenario.prefix)
        rates = [rate for s in alike if (rate := self._measurements.rate(s, engine.name)) is not None]
        n_tokens = scenario.n_clients * self._options.tokens
        if not rates or n_tokens / rates[-1] <= self._options.patience_s:
            return True
        print(f"     {scenario.title}: {engine.name} left out, as it would take {n_tokens / rates[-1]:.0f} s")
        return False

    async def _ask(self, engine: Engine, scenario: Scenario, repetition: str, prompts: list[str]) -> float:
        """Take one measurement; give the seconds it took."""
        with watching_host() as stolen:
            samples, total_s = await engine.measure(prompts, self._options.tokens)
        rate, first_s = sum(sample.n_tokens for sample in samples) / total_s, tuple(s.first_s for s in samples)
        where = (scenario.model, scenario.n_clients, scenario.prefix)
        self._measurements.done.append(Measurement(*where, engine.name, repetition, rate, first_s, stolen.share))
        print(f"  {scenario.title}: {engine.name} {rate:.1f} tokens/s in {total_s:.1f} s", flush=True)
        return total_s


async def measure_model(
    options: argparse.Namespace, model: str, scenarios: list[Scenario], measurements: Measurements
) -> None:
    """Start every engine on one model and go through scenarios."""
    path = find_model(model)
    texts, end_tokens = await _prompts(options, path, scenarios)
    threads = options.threads or (1 if path.stat().st_size < SMALL_MODEL_BYTES else count_physical_cores())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = Load(path, SLOTS, CONTEXT_TOKENS, threads, end_tokens, folder)
        async with AsyncExitStack() as stack:
            peers = [PEERS[peer](load) for peer in PEERS if peer in options.peers]
            engines: list[Engine] = [await stack.enter_async_context(servers.running(peer, folder)) for peer in peers]
            engines.insert(int("tuned" in options.peers), await stack.enter_async_context(running_alone(load)))
            for engine in engines:
                await engine.measure(["return value"], WARM_UP_TOKENS)
            run = Run(options, measurements, engines)
            for scenario in scenarios:
                await run.measure(scenario, texts[scenario])
                if options.json:
                    measurements.write(options.json)


async def _prompts(options: argparse.Namespace, path: Path, scenarios: list[Scenario]) -> tuple[Texts, tuple[int, ...]]:
    """Make the prompts of all repetitions, and find the tokens that end an answer."""
    texts: Texts = {}
    async with prompts_for(path, options.seed) as prompts:
        for scenario in scenarios:
            of_scenario = texts[scenario] = []
            for _ in range(options.repetitions):
                shared = await prompts.text(options.prefix)
                is_shared = scenario.prefix == "shared"
                prefixes = [
                    shared if is_shared else await prompts.text(options.prefix) for _ in range(scenario.n_clients)
                ]
                of_scenario.append([f"{prefix} {await prompts.text(options.suffix)}" for prefix in prefixes])
        return texts, await prompts.end_tokens()


def _scenarios(options: argparse.Namespace, model: str) -> Iterator[Scenario]:
    """List the cells of a model, few clients first."""
    for n_clients in sorted(options.clients):
        for prefix in ("own",) if n_clients == 1 else options.prefixes:
            yield Scenario(model, n_clients, prefix)


def main() -> None:
    """Measure, print, and write the numbers where they are wanted."""
    options = _options()
    asked = {"prefix": options.prefix, "suffix": options.suffix, "answer": options.tokens}
    measurements = Measurements.read(options.json, asked)
    done = {one.scenario for one in measurements.done} if options.resume else set()
    for model in options.models:
        scenarios = [scenario for scenario in _scenarios(options, model) if scenario not in done]
        if scenarios:
            print(f"== {model}", flush=True)
            asyncio.run(measure_model(options, model, scenarios, measurements))
    rows = measurements.rows()
    show(rows)
    sys.exit(not judge(claims(rows)))


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short prompts and answers, 1 repetition, 1 and 8 clients")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too, beside what it holds")
    parser.add_argument("--resume", action="store_true", help="leave out cells that FILE has")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="beside our engine alone")
    parser.add_argument("--models", nargs="+", default=["0.5b", "embedded"], help="0.5b, embedded, or a path")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--prefixes", nargs="+", choices=["shared", "own"], default=["shared", "own"])
    parser.add_argument("--serial-clients", type=int, default=8, help="llama_cpp.server is asked by as many at most")
    parser.add_argument("--repetitions", type=int, default=15, help="of a cell at most")
    parser.add_argument(
        "--cell-s", type=float, default=200.0, help="for ours and tuned llama-server, after which no more"
    )
    parser.add_argument("--patience-s", type=float, default=90.0, help="for one answer of the other peers")
    parser.add_argument("--prefix", type=int, default=512, help="tokens")
    parser.add_argument("--suffix", type=int, default=16, help="tokens")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--threads", type=int, default=0, help="0: the physical cores, 1 for models under 64 MiB")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(prefix=64, tokens=16, repetitions=1, clients=[1, 8])
    return parser.parse_args()


if __name__ == "__main__":
    main()
