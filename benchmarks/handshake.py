"""How long an IDE waits for the handshake of a stdio server, as a ratio to `python -c "import mcp"` in the same run.

Three servers, interleaved: one with an engine of its own, the same without deferred validators (docs/decisions/005),
and one that joins a running engine. Prints seconds and ratios of medians; `--quick` takes 3 rounds instead of 10.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "benchmark", "version": "1"},
    },
}
WITHOUT_DEFERRAL = "from mcp_server import serve; raise SystemExit(serve.run(['stdio']))"
OWN = ["-m", "mcp_server", "--own"]


def handshake_s(arguments: list[str], environment: dict[str, str]) -> float:
    """Start a stdio server; return the seconds from its start to its answer."""
    started_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment
    ) as server:
        assert server.stdin is not None  # noqa: S101 - for the type checker
        assert server.stdout is not None  # noqa: S101 - as above
        server.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline())
        elapsed_s = time.perf_counter() - started_s
        server.stdin.close()
    if answer["result"]["serverInfo"]["name"] != "cinque":
        raise SystemExit(f"not our server: {answer}")
    return elapsed_s


def import_s(environment: dict[str, str]) -> float:
    """Return the seconds of the yardstick: Python starts, imports the MCP SDK and ends."""
    started_s = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import mcp"], check=True, env=environment)
    return time.perf_counter() - started_s


def measure(n_rounds: int) -> dict[str, list[float]]:
    """Take every side once a round, so that a busy moment hits all of them."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "CINQUE_HOME": home, "CINQUE_MCP_PORT": "0", "CINQUE_LOG_LEVEL": "ERROR"}
        command = [sys.executable, *OWN, "--transport", "http"]
        engine = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            wait_for(Path(home) / "run" / "mcp.sock")
            sides: dict[str, Callable[[], float]] = {
                "import mcp": lambda: import_s(environment),
                "own engine": lambda: handshake_s(OWN, environment),
                "own engine, validators not deferred": lambda: handshake_s(["-c", WITHOUT_DEFERRAL], environment),
                "joins a running engine": lambda: handshake_s(["-m", "mcp_server"], environment),
            }
            rounds = [{name: side() for name, side in sides.items()} for _ in range(n_rounds)]
        finally:
            engine.terminate()
            engine.wait()
    return {name: [one[name] for one in rounds] for name in rounds[0]}


def wait_for(path: Path) -> None:
    """Wait until *path* exists, a minute at most."""
    deadline_s = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise SystemExit(f"the engine did not start: no {path.name}")
        time.sleep(0.05)


def main() -> None:
    """Measure, print the table, and write the numbers where they are wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()
    times = measure(3 if options.quick else 10)
    medians = {name: statistics.median(values) for name, values in times.items()}
    yardstick = medians["import mcp"]
    print(f"{'':40}{'min s':>8}{'median s':>10}{'x import mcp':>14}")
    for name, values in times.items():
        print(f"{name:40}{min(values):8.2f}{medians[name]:10.2f}{medians[name] / yardstick:14.2f}")
    if options.json:
        ratios = {name: value / yardstick for name, value in medians.items()}
        options.json.write_text(json.dumps({"seconds": times, "ratio": ratios}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
