"""Tokens/s and time to first token of our engine against its peers, interleaved in one run.

Peers are built from the vendored source: llama-server tuned for this CPU and as it comes, `llama_cpp.server`, and the
example server of llama-cpp-python. Every request has a prompt of 512 + 16 tokens and 128 tokens of answer; `shared`
means that the 512 are the same for all clients. Prefixes are new in every repetition, so no cache is warm. Ratios are
medians over repetitions of ours over the peer's; it ends with 1 when a claim does not hold. `--quick` takes small
prompts and one repetition.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers import servers
from benchmarks.peers.alone import running_alone
from benchmarks.peers.client import Sample
from benchmarks.peers.prompts import find_model, prompts_for
from benchmarks.peers.servers import Load, Peer
from mcp_server.engine.machine import count_physical_cores
from mcp_server.engine.native.context import SMALL_MODEL_BYTES

ALONE = "ours, engine alone"
STACK = "ours, whole stack"
TUNED = "llama-server, tuned"
SERIAL = "llama_cpp.server"
PEERS: dict[str, Callable[[Load], Peer]] = {
    "stack": servers.cinque,
    "tuned": lambda load: servers.llama_server(load, is_tuned=True),
    "defaults": lambda load: servers.llama_server(load, is_tuned=False),
    "llama_cpp": servers.llama_cpp_server,
    "example": servers.example_server,
}
CONTEXT_TOKENS = 1024  # of one slot; what the embedded model was trained for
SLOTS = 8
P95 = 0.95
WARM_UP_TOKENS = 8


class Engine(Protocol):
    """Anything that can be asked."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    async def measure(self, prompts: list[str], n_tokens: int) -> tuple[list[Sample], float]:
        """Ask for all prompts at once."""
        ...


@dataclass(frozen=True)
class Scenario:
    """One way to be busy."""

    model: str
    n_clients: int
    is_shared: bool

    @property
    def title(self) -> str:
        """Say it."""
        return f"{self.model}, {self.n_clients} clients, {'shared' if self.is_shared else 'own'} prefix"


@dataclass
class Record:
    """What one engine did in one scenario."""

    tokens_per_s: list[float] = field(default_factory=list)  # one a repetition
    first_s: list[float] = field(default_factory=list)  # one a request

    def add(self, samples: list[Sample], total_s: float) -> None:
        """Take one repetition."""
        self.tokens_per_s.append(sum(sample.n_tokens for sample in samples) / total_s)
        self.first_s += [sample.first_s for sample in samples]

    def summary(self) -> dict[str, float]:
        """Give medians and percentiles."""
        ordered = sorted(self.first_s)
        return {
            "tokens_per_s": statistics.median(self.tokens_per_s),
            "first_p50_s": statistics.median(ordered),
            "first_p95_s": ordered[min(len(ordered) - 1, int(P95 * len(ordered)))],
        }


Records = dict[Scenario, dict[str, Record]]


async def measure(options: argparse.Namespace, model: str, folder: Path) -> Records:
    """Start every engine on one model and go through the scenarios, round by round."""
    path = find_model(model)
    async with prompts_for(path, options.seed) as prompts:
        end_tokens = await prompts.end_tokens()
        texts = {
            (scenario, i): [p async for p in _prompts(prompts, scenario, options)]
            for i in range(options.repetitions)
            for scenario in _scenarios(options, model)
        }
    threads = options.threads or (1 if path.stat().st_size < SMALL_MODEL_BYTES else count_physical_cores())
    load = Load(path, SLOTS, CONTEXT_TOKENS, threads, end_tokens, folder)
    records: Records = {scenario: {} for scenario in _scenarios(options, model)}
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(servers.running(PEERS[name](load), folder)) for name in options.peers]
        engines: list[Engine] = [await stack.enter_async_context(running_alone(load)), *peers]
        for engine in engines:
            await engine.measure(["return value"], WARM_UP_TOKENS)
        for (scenario, i), asked in texts.items():
            for engine in engines[i % len(engines) :] + engines[: i % len(engines)]:
                if engine.name != SERIAL or scenario.n_clients <= options.serial_clients:
                    record = records[scenario].setdefault(engine.name, Record())
                    record.add(*await engine.measure(asked, options.tokens))
                    print(
                        f"  {i + 1}. {scenario.title}: {engine.name} {record.tokens_per_s[-1]:.1f} tokens/s", flush=True
                    )
    return records


async def _prompts(prompts: Any, scenario: Scenario, options: argparse.Namespace) -> Any:
    shared = await prompts.text(options.prefix)
    for _ in range(scenario.n_clients):
        prefix = shared if scenario.is_shared else await prompts.text(options.prefix)
        yield prefix + " " + await prompts.text(options.suffix)


def _scenarios(options: argparse.Namespace, model: str) -> Iterator[Scenario]:
    for n_clients in options.clients:
        for is_shared in (True, False):
            yield Scenario(model, n_clients, is_shared)


def show(records: Records) -> list[dict[str, Any]]:
    """Print a table a scenario; give its rows."""
    rows = []
    for scenario, of_engines in records.items():
        print(f"\n{scenario.title}\n{'':26}{'tokens/s':>10}{'first p50':>11}{'p95 s':>9}{'ours / it':>11}")
        ours = of_engines[ALONE].tokens_per_s
        for name, record in of_engines.items():
            ratio = statistics.median(a / b for a, b in zip(ours, record.tokens_per_s, strict=True))
            row = {"model": scenario.model, "clients": scenario.n_clients, "shared": scenario.is_shared, "engine": name}
            rows.append({**row, **record.summary(), "ours_over_it": ratio})
            print(
                f"{name:26}{rows[-1]['tokens_per_s']:10.1f}{rows[-1]['first_p50_s']:11.3f}"
                f"{rows[-1]['first_p95_s']:9.3f}{ratio:11.2f}"
            )
    return rows


def judge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the ratios with what is claimed; print and give each claim with its figure."""
    claims = []
    for row in rows:
        wanted = _claim(row)
        if wanted is not None:
            what, ratio, least = wanted
            where = f"{row['model']}, {row['clients']} clients, {'shared' if row['shared'] else 'own'} prefix"
            claims.append({"claim": f"{what}, {where}", "ratio": ratio, "at_least": least, "holds": ratio >= least})
    print()
    for claim in claims:
        verdict = "holds" if claim["holds"] else "FAILS"
        print(f"{verdict} {claim['ratio']:6.2f} >= {claim['at_least']:.2f}  {claim['claim']}")
    return claims


def _claim(row: dict[str, Any]) -> tuple[str, float, float] | None:
    is_busy_and_shared = row["shared"] and row["clients"] > 1
    if row["engine"] == TUNED:
        return "ours over tuned llama-server", row["ours_over_it"], 1.0 if is_busy_and_shared else 0.95
    if row["engine"] == SERIAL and is_busy_and_shared and row["clients"] == SLOTS:
        return "ours over llama_cpp.server", row["ours_over_it"], 2.5
    if row["engine"] == STACK:
        return "whole stack over the engine alone", 1 / row["ours_over_it"], 0.95
    return None


def main() -> None:
    """Measure, print, and write the numbers where they are wanted."""
    options = _options()
    rows: list[dict[str, Any]] = []
    for model in options.models:
        print(f"== {model}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows += show(asyncio.run(measure(options, model, Path(folder))))
    claims = judge(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "claims": claims}, indent=2), encoding="utf-8")
    sys.exit(not all(claim["holds"] for claim in claims))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short prompts and answers, 1 repetition, 1 and 8 clients")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="beside our engine alone")
    parser.add_argument("--models", nargs="+", default=["0.5b", "embedded"], help="0.5b, embedded, or a path")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--serial-clients", type=int, default=8, help="llama_cpp.server is asked by as many at most")
    parser.add_argument("--repetitions", type=int, default=3)
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
