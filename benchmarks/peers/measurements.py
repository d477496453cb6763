"""What the engines did, repetition by repetition: kept in a file, compared in pairs, and held against the claims.

Two engines are compared only within one repetition, where they were asked the same prompts one right after the other.
The ratio of a cell is the median of those of its repetitions; the least and the greatest say how noisy the machine was.
A file can be added to, cell by cell. Knows nothing of how anything was measured.
"""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ALONE = "ours, engine alone"
STACK = "ours, whole stack"
TUNED = "llama-server, tuned"
SERIAL = "llama_cpp.server"
CLAIMED_CLIENTS = 8  # at which `llama_cpp.server` is outrun
P95 = 0.95


@dataclass(frozen=True, order=True)
class Scenario:
    """One way to be busy."""

    model: str
    n_clients: int
    prefix: str  # shared or own; of a single client own, which is the same work

    @property
    def title(self) -> str:
        """Say it."""
        if self.n_clients == 1:
            return f"{self.model}, 1 client"
        return f"{self.model}, {self.n_clients} clients, {self.prefix} prefix"


@dataclass(frozen=True)
class Measurement:
    """What one engine did in one repetition of one scenario."""

    model: str
    n_clients: int
    prefix: str
    engine: str
    repetition: str  # the same name for all engines that it is to be compared with
    tokens_per_s: float
    first_s: tuple[float, ...]  # to the first text, one a request
    stolen: float  # share of the machine's time that its host gave to others meanwhile

    @property
    def scenario(self) -> Scenario:
        """What it is a measurement of."""
        return Scenario(self.model, self.n_clients, self.prefix)


@dataclass
class Measurements:
    """All that was measured with one kind of prompt."""

    asked: dict[str, int]  # tokens of prefix, suffix and answer
    done: list[Measurement] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path | None, asked: dict[str, int]) -> "Measurements":
        """Go on with what a file holds, if there is one."""
        if file is None or not file.exists():
            return cls(asked)
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["asked"] != asked:
            raise SystemExit(f"{file} holds measurements with {data['asked']}, not {asked}; name another file.")
        return cls(asked, [Measurement(**{**one, "first_s": tuple(one["first_s"])}) for one in data["measurements"]])

    def write(self, file: Path) -> None:
        """Keep everything, what follows from it too."""
        rows = self.rows()
        parts = {
            "asked": self.asked,
            "rows": rows,
            "claims": claims(rows),
            "measurements": list(map(asdict, self.done)),
        }
        file.write_text(json.dumps(parts, indent=1), encoding="utf-8")

    def rate(self, scenario: Scenario, engine: str) -> float | None:
        """Give the tokens/s of an engine, None where it was not asked."""
        rates = [one.tokens_per_s for one in self._of(scenario, engine)]
        return statistics.median(rates) if rates else None

    def rows(self) -> list[dict[str, Any]]:
        """Sum up each engine in each scenario."""
        pairs = dict.fromkeys((one.scenario, one.engine) for one in self.done)
        return [self._row(scenario, engine) for scenario, engine in sorted(pairs, key=lambda pair: pair[0])]

    def _of(self, scenario: Scenario, engine: str) -> list[Measurement]:
        return [one for one in self.done if (one.scenario, one.engine) == (scenario, engine)]

    def _row(self, scenario: Scenario, engine: str) -> dict[str, Any]:
        its = self._of(scenario, engine)
        first_s = sorted(seconds for one in its for seconds in one.first_s)
        ours = {one.repetition: one.tokens_per_s for one in self._of(scenario, ALONE)}
        ratios = [ours[one.repetition] / one.tokens_per_s for one in its if one.repetition in ours]
        return {
            **asdict(scenario),
            "engine": engine,
            "n_repetitions": len(its),
            "tokens_per_s": statistics.median(one.tokens_per_s for one in its),
            "first_p50_s": statistics.median(first_s),
            "first_p95_s": first_s[min(len(first_s) - 1, int(P95 * len(first_s)))],
            "stolen": statistics.mean(one.stolen for one in its),
            "ours_over_it": sorted(ratios),
        }


def show(rows: Iterable[dict[str, Any]]) -> None:
    """Print a table a scenario."""
    title = ""
    for row in rows:
        scenario = Scenario(row["model"], row["n_clients"], row["prefix"])
        if scenario.title != title:
            title = scenario.title
            print(f"\n{title}\n{'':24}{'tokens/s':>9}{'first p50':>11}{'p95 s':>9}{'stolen':>8}   ours / it")
        print(
            f"{row['engine']:24}{row['tokens_per_s']:9.1f}{row['first_p50_s']:11.3f}{row['first_p95_s']:9.3f}"
            f"{row['stolen']:8.0%}   {spread(row['ours_over_it'])}"
        )


def claims(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold the ratios against what is claimed."""
    found = []
    for row in rows:
        claim = _claim(row)
        if claim is not None and row["ours_over_it"]:
            what, ratios, least = claim
            ratio, where = statistics.median(ratios), Scenario(row["model"], row["n_clients"], row["prefix"]).title
            found.append({"claim": f"{what}, {where}", "ratios": ratios, "at_least": least, "holds": ratio >= least})
    return found


def judge(found: Iterable[dict[str, Any]]) -> bool:
    """Print each claim with its figures; tell whether there are any and all hold."""
    found = list(found)
    print()
    if not found:
        print("NOT MEASURED: nothing that a claim is about was asked")
    holds_all = bool(found)
    for claim in found:
        holds_all &= claim["holds"]
        verdict = "holds" if claim["holds"] else "FAILS"
        print(f"{verdict}  >= {claim['at_least']:.2f}  {spread(claim['ratios']):26}{claim['claim']}")
    return holds_all


def spread(ratios: list[float]) -> str:
    """Say a median with what it is the median of."""
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)}x)"


def _claim(row: dict[str, Any]) -> tuple[str, list[float], float] | None:
    is_busy_and_shared = row["prefix"] == "shared" and row["n_clients"] > 1
    if row["engine"] == TUNED:
        return "ours over tuned llama-server", row["ours_over_it"], 1.0 if is_busy_and_shared else 0.95
    if row["engine"] == SERIAL and is_busy_and_shared and row["n_clients"] == CLAIMED_CLIENTS:
        return "ours over llama_cpp.server", row["ours_over_it"], 2.5
    if row["engine"] == STACK:
        return "whole stack over the engine alone", sorted(1 / ratio for ratio in row["ours_over_it"]), 0.95
    return None
