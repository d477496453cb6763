"""What a run behind the wall costs, as ratios to the same work done bare, side by side in one run.

Each round takes every side once, one right after the other, so a busy moment hits all of them; a ratio is the median
over the rounds of ours over the bare one's, shown with its range. Programs that are compiled are new in every round,
so nothing comes from the cache of builds; gcc gets the sandbox's language and optimisation, `go build` no flags.
`stolen` is what the machine's host gave to others meanwhile. Sides whose tool is not installed are left out and named.
It ends with 1 when a claim does not hold. `--quick` takes 5 rounds.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.machine import watching_host
from sandbox import commands, lint
from sandbox.inside.linter import OPTIONS
from sandbox.isolation import Isolation, open_isolation
from sandbox.pool import interpreter
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from sandbox.toolchains import Toolchains
from sandbox.types import ExecutionRequest, Limits

MIN_JOBS_PER_S = 150.0
CLIENTS = 4
SLOW_EVERY = 4  # rounds to one of the sides that take seconds
PRINT = "print(1)"
CANDIDATE = '''def middle(numbers):
    """Return the median."""
    ordered = sorted(numbers)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2


def spread(numbers):
    """Return the range."""
    return max(numbers) - min(numbers)
'''
TESTS = """def test_odd():
    assert middle([3, 1, 2]) == 2


def test_even():
    assert middle([4, 1, 2, 3]) == 2.5
"""
C_HELLO = '#include <stdio.h>\n\nint main(void) {\n    puts("hello %d");\n    return 0;\n}\n'
GO_HELLO = 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("hello %d")\n}\n'


@dataclass(frozen=True)
class Claim:
    """One side may take at most so much of another."""

    title: str
    side: str
    bare: str
    at_most: float


CLAIMS = (
    Claim("print(1) over python -c", "print(1)", "python -c", 0.2),
    Claim("a test of two asserts over python -c", "two asserts", "python -c", 1.5),
    Claim("rating by pylint over its command", "lint", "pylint command", 0.1),
    Claim("gcc hello over plain gcc and run", "c hello", "gcc and run", 1.5),
    Claim("go hello, library warm, over plain go build and run", "go hello", "go build and run", 1.2),
)


class Sides:
    """Each kind of work, bare and behind the wall, as a function that does it once."""

    def __init__(self, sandbox: Sandbox, isolation: Isolation, limits: Limits, folder: Path) -> None:
        """Share one sandbox, and for ratings alone one tier; bare compilers work in the folder."""
        self._sandbox = sandbox
        self._isolation = isolation
        self._limits = limits
        self._folder = folder
        self._number = time.time_ns()  # of the next program; none was ever built before
        self._python = interpreter()[0]

    def fast(self) -> dict[str, Callable[[], None]]:
        """Return the sides of every round."""
        return {
            "python -c": lambda: self._bare([self._python, "-c", PRINT]),
            "print(1)": lambda: self._run(ExecutionRequest(PRINT, lint=False)),
            "two asserts": lambda: self._run(ExecutionRequest(CANDIDATE, test_code=TESTS, lint=False)),
        }

    def slow(self) -> dict[str, Callable[[], None]]:
        """Return the sides that take seconds, as far as their tools are there."""
        sides: dict[str, Callable[[], None]] = {
            "lint": self._lint,
            "pylint command": self._pylint,
        }
        if shutil.which("gcc"):
            sides["c hello"] = lambda: self._run(ExecutionRequest(C_HELLO % self._next(), "c"))
            sides["gcc and run"] = lambda: self._compile("hello.c", C_HELLO, ["gcc", *commands.C_FLAGS])
        if shutil.which("go"):
            sides["go hello"] = lambda: self._run(ExecutionRequest(GO_HELLO % self._next(), "go"))
            sides["go build and run"] = lambda: self._compile("hello.go", GO_HELLO, ["go", "build"])
        return sides

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _run(self, request: ExecutionRequest) -> None:
        result = self._sandbox.execute(request)
        if not result.success:
            raise SystemExit(f"{request.language} did not run: {result.verdict} {result.error_message}")

    def _bare(self, command: list[str], **environment: str) -> None:
        subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=self._folder, env={**os.environ, **environment})

    def _lint(self) -> None:
        if lint.rate(self._isolation, CANDIDATE, "solution.py", self._limits) is None:
            raise SystemExit("pylint gave no rating")

    def _pylint(self) -> None:
        (self._folder / "rated.py").write_text(CANDIDATE, encoding="utf-8")
        options = [option for option in OPTIONS if option != "--from-stdin"]
        self._bare([sys.executable, "-m", "pylint", *options, "--exit-zero", "rated.py"])

    def _compile(self, name: str, text: str, command: list[str]) -> None:
        (self._folder / name).write_text(text % self._next(), encoding="utf-8")
        self._bare([*command, "-o", "hello", name], GOFLAGS="", CGO_ENABLED="0")
        self._bare([str(self._folder / "hello")])


def measure(sides: Sides, n_rounds: int) -> dict[str, list[float]]:
    """Take the seconds of every side, round by round."""
    fast, slow = sides.fast(), sides.slow()
    for side in (*fast.values(), *slow.values()):
        side()  # starts zygotes, compiles Go's library, fills the page cache
    seconds: dict[str, list[float]] = {name: [] for name in (*fast, *slow)}
    for i in range(n_rounds):
        for name, side in {**fast, **({} if i % SLOW_EVERY else slow)}.items():
            started_s = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - started_s)
    return seconds


def per_s(side: Callable[[], None], n: int) -> float:
    """Do it from several threads at once, as fast as they can; return how often a second."""

    def work() -> None:
        for _ in range(n // CLIENTS):
            side()

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return n // CLIENTS * CLIENTS / (time.perf_counter() - started_s)


def judge(seconds: dict[str, list[float]], rates: list[float]) -> list[dict[str, Any]]:
    """Hold the ratios and the rate against what is claimed."""
    found: list[dict[str, Any]] = []
    for claim in CLAIMS:
        if claim.side in seconds:
            ratios = [ours / bare for ours, bare in zip(seconds[claim.side], seconds[claim.bare], strict=True)]
            holds = statistics.median(ratios) <= claim.at_most
            found.append({**asdict(claim), "values": ratios, "holds": holds})
    title = f"jobs/s of {CLIENTS} clients on {os.cpu_count()} cores"
    holds = statistics.median(rates) >= MIN_JOBS_PER_S
    return [*found, {"title": title, "at_least": MIN_JOBS_PER_S, "values": rates, "holds": holds}]


def show(seconds: dict[str, list[float]], found: list[dict[str, Any]]) -> None:
    """Print both tables."""
    print(f"{'':20}{'min ms':>9}{'p50 ms':>9}{'max ms':>9}{'rounds':>8}")
    for name, values in seconds.items():
        figures = "".join(f"{1000 * f(values):9.1f}" for f in (min, statistics.median, max))
        print(f"{name:20}{figures}{len(values):8}")
    print()
    for row in found:
        values = row["values"]
        bound = f"<= {row['at_most']}" if "at_most" in row else f">= {row['at_least']}"
        spread = f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)}x)"
        print(f"{'holds' if row['holds'] else 'FAILS'}  {bound:9} {spread:32} {row['title']}")


def main() -> None:
    """Measure, print, and write the numbers where they are wanted; ends with 1 when a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds, 100 jobs at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=400, help="of each of 3 measurements of the rate")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(rounds=5, jobs=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.home()) as home, watching_host() as stolen:
        settings = SandboxSettings(home=Path(home))
        sandbox, isolation = Sandbox(settings), open_isolation(settings, Toolchains(Path(home)))
        try:
            sides = Sides(sandbox, isolation, settings.limits(None), Path(home))
            seconds = measure(sides, options.rounds)
            print_side, bare_side = (sides.fast()[name] for name in ("print(1)", "python -c"))
            pairs = [(per_s(print_side, options.jobs), per_s(bare_side, options.jobs // 4)) for _ in range(3)]
        finally:
            sandbox.close()
            isolation.close()
    found = judge(seconds, [ours for ours, _ in pairs])
    show(seconds, found)
    print(f"python -c from as many clients: {statistics.median(bare for _, bare in pairs):.0f} a second")
    missing = [claim.title for claim in CLAIMS if claim.side not in seconds]
    print(*(f"left out, its tool is not installed: {title}" for title in missing), sep="\n")
    print(f"the machine's host gave {stolen.share:.0%} of its time to others")
    if options.json:
        report = {"seconds": seconds, "claims": found, "missing": missing, "per_s": pairs, "stolen": stolen.share}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    sys.exit(not all(row["holds"] for row in found))


if __name__ == "__main__":
    main()
