"""Our engine alone in a process of its own: `python -m benchmarks.peers.alone` answers lines of JSON on standard input.

A line names prompts, how many tokens, and options; the answer has first and last moments of each as the engine's own
caller sees them. No HTTP, no MCP.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from benchmarks.peers.client import Sample, gather
from benchmarks.peers.servers import Load, engine_environment
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.types import Delta, GenerationRequest, SamplingParams, SchedulingParams

LINE_BYTES = 1 << 24  # longest question: 32 prompts


class Alone:
    """A handle on the process."""

    name = "ours, engine alone"

    def __init__(self, process: asyncio.subprocess.Process, load: Load) -> None:
        self._process = process
        self._load = load

    async def measure(
        self, prompts: list[str], n_tokens: int, *, n: int = 1, cache_prompt: bool = True
    ) -> tuple[list[Sample], float]:
        """Ask for all prompts at once, each for `n` completions."""
        question = {
            "prompts": prompts,
            "n_tokens": n_tokens,
            "n": n,
            "cache_prompt": cache_prompt,
            "end_tokens": self._load.end_tokens,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise SystemExit("the engine's process has no pipes")
        stdin.write(json.dumps(question).encode() + b"\n")
        await stdin.drain()
        line = await stdout.readline()
        if not line:
            raise SystemExit("the engine's process ended; its error output is above")
        answer = json.loads(line)
        return [Sample(**sample) for sample in answer["samples"]], float(answer["total_s"])


@asynccontextmanager
async def running_alone(load: Load) -> AsyncIterator[Alone]:
    """Start the process, and end it afterwards."""
    environment = {**os.environ, "CINQUE_HOME": str(load.folder / "home"), **engine_environment(load)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.peers.alone"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        limit=LINE_BYTES,
    )
    try:
        yield Alone(process, load)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answer(engine: AsyncEngine, question: dict[str, Any]) -> dict[str, Any]:
    """Generate for all prompts at once."""
    bias = {str(token): -100.0 for token in question["end_tokens"]}
    sampling = SamplingParams(temperature=0, max_tokens=question["n_tokens"], ignore_eos=True, logit_bias=bias)
    scheduling = SchedulingParams(cache_prompt=question["cache_prompt"])
    requests = [
        GenerationRequest(prompt=prompt, n=question["n"], sampling=sampling, scheduling=scheduling)
        for prompt in question["prompts"]
    ]
    samples, total_s = await gather([ask(engine, request) for request in requests])
    return {"samples": [asdict(sample) for sample in samples], "total_s": total_s}


async def ask(engine: AsyncEngine, request: GenerationRequest) -> Sample:
    """Generate for one prompt."""
    started_s = time.perf_counter()
    first_s: float | None = None

    async def note(_deltas: tuple[Delta, ...]) -> None:
        nonlocal first_s
        first_s = first_s or time.perf_counter() - started_s

    result = await engine.generate(request, note)
    total_s = time.perf_counter() - started_s
    return Sample(first_s or total_s, total_s, result.usage.completion_tokens)


async def main() -> None:
    """Answer until the input ends."""
    engine = AsyncEngine()
    await engine.load()
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await answer(engine, json.loads(line))), flush=True)
    await engine.aclose()


if __name__ == "__main__":
    asyncio.run(main())
