"""1,000 concurrent SSE streams on one port: do all complete, how late are their words, what memory does each take.

Behind the door is a scripted engine that speaks to each stream at a fixed pace, so the added gap between two events is
the stack's (and this client's) own. Memory is that of both server processes with all streams open, less that with none,
over their number; processor time says how much pace the machine can hold. `--quick` opens 100 streams.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.client import events
from benchmarks.peers.paced import PACE_SETTING, WORDS_SETTING
from benchmarks.peers.servers import Peer, free_port, running

MAX_GAP_S = 0.1  # added to the pace, 99th percentile
P99 = 0.99
RAMP_S = 10.0  # in which the streams are opened, 100 a second of 1,000; a burst at once is `--ramp 0`


@dataclass(frozen=True)
class Stream:
    """What one client saw."""

    arrivals_s: list[float]
    text: str

    def added_gaps_s(self, pace_s: float) -> list[float]:
        """Give by how much each event came later after the one before than the pace says."""
        return [max(0.0, b - a - pace_s) for a, b in zip(self.arrivals_s, self.arrivals_s[1:], strict=False)]


async def listen(url: str, delay_s: float) -> Stream:
    """Open one stream and read it to its end."""
    await asyncio.sleep(delay_s)
    body = {"model": "x", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    arrivals_s, pieces = [], []
    async for event in events(url, body):
        for choice in event.get("choices", ()):
            if text := choice.get("delta", {}).get("content"):
                arrivals_s.append(time.perf_counter())
                pieces.append(text)
    return Stream(arrivals_s, "".join(pieces))


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Serve, open the streams, and count."""
    port = free_port()
    settings = {"CINQUE_HOME": str(folder), WORDS_SETTING: str(options.words), PACE_SETTING: str(options.pace)}
    command = [sys.executable, "-m", "benchmarks.peers.paced", str(port)]
    peer = Peer("doors", command, port, path="/v1/chat/completions", environment=settings)
    async with running(peer, folder) as served:
        url = f"http://127.0.0.1:{port}{served.path}"
        await listen(url, 0)  # what is loaded on first use is no stream's memory
        empty_bytes, started_s = resident_bytes(os.getpid()), processor_s(os.getpid())
        delays = [i * options.ramp / options.streams for i in range(options.streams)]
        tasks = [asyncio.create_task(listen(url, delay_s)) for delay_s in delays]
        await asyncio.sleep(options.ramp + options.words * options.pace / 2)
        full_bytes = resident_bytes(os.getpid())
        streams = await asyncio.gather(*tasks)
        server_s = processor_s(os.getpid()) - started_s
    expected = "".join(f"{i} " for i in range(options.words))
    gaps_s = sorted(gap for stream in streams for gap in stream.added_gaps_s(options.pace))
    return {
        "streams": len(streams),
        "complete": sum(stream.text == expected for stream in streams),
        "gap_p50_s": gaps_s[len(gaps_s) // 2],
        "gap_p99_s": gaps_s[int(P99 * len(gaps_s))],
        "gap_max_s": gaps_s[-1],
        "processor_s_an_event": server_s / sum(len(stream.arrivals_s) for stream in streams),
        "bytes_a_stream": (full_bytes - empty_bytes) / options.streams,
    }


def resident_bytes(parent: int) -> int:
    """Add up the resident memory of all processes below one."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in descendants(parent))
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_s(parent: int) -> float:
    """Add up the processor time of all processes below one."""
    stats = (Path(f"/proc/{pid}/stat").read_text(encoding="ascii") for pid in descendants(parent))
    # User and system time are the 14th and 15th field; the second may hold blanks, in brackets.
    ticks = sum(sum(map(int, stat.rpartition(")")[2].split()[11:13])) for stat in stats)
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(parent: int) -> list[int]:
    """List the processes below one."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()]
    return children + [pid for child in children for pid in descendants(child)]


def main() -> None:
    """Measure, print, and write the numbers where they are wanted; ends with 1 when a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 streams")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--words", type=int, default=15, help="of each stream")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between two words of a stream")
    parser.add_argument("--ramp", type=float, default=RAMP_S, help="seconds in which the streams are opened")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(streams=100, words=8)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # this client needs a file for each stream
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(options, Path(folder)))
    holds = found["complete"] == found["streams"] and found["gap_p99_s"] <= MAX_GAP_S
    print(f"{found['complete']:.0f} of {found['streams']:.0f} streams complete, one word every {options.pace} s")
    gaps = ", ".join(f"{name} {found[f'gap_{name}_s'] * 1000:.0f} ms" for name in ("p50", "p99", "max"))
    print(f"added gaps: {gaps} (claimed: p99 <= {MAX_GAP_S * 1000:.0f} ms)")
    print(f"memory: {found['bytes_a_stream'] / 1024:.0f} KiB a stream, both processes")
    print(f"processor: {found['processor_s_an_event'] * 1000:.2f} ms an event, both processes")
    print("holds" if holds else "FAILS")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    sys.exit(not holds)


if __name__ == "__main__":
    main()
