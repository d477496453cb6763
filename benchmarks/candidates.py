"""What reuse of a prompt saves: eight candidates against eight separate requests, a repeated prompt against a cold one.

Both claims are of our engine alone, on one model, in one run: eight completions of 128 tokens from one prompt of 1,000
tokens take at most 0.45 of what eight separate requests at once take without reuse, and the first token of a repeated
prompt at most 0.1 of a cold one's. Prompts are new in every repetition. `--quick` takes short ones.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.peers.alone import Alone, running_alone
from benchmarks.peers.prompts import find_model, prompts_for
from benchmarks.peers.servers import Load
from mcp_server.engine.machine import count_physical_cores
from mcp_server.engine.native.context import SMALL_MODEL_BYTES

N_CANDIDATES = 8
CLAIMS = {"candidates over separate": 0.45, "repeated over cold first token": 0.1}
CONTEXT_SPARE_TOKENS = 64  # prompts come out a token or two longer


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Take each ratio once a repetition."""
    path = find_model(options.model)
    async with prompts_for(path, options.seed) as prompts:
        end_tokens = await prompts.end_tokens()
        texts = [[await prompts.text(options.prompt) for _ in range(3)] for _ in range(options.repetitions)]
    threads = options.threads or (1 if path.stat().st_size < SMALL_MODEL_BYTES else count_physical_cores())
    context_tokens = options.prompt + options.tokens + CONTEXT_SPARE_TOKENS
    load = Load(path, N_CANDIDATES, context_tokens, threads, end_tokens, folder)
    ratios: dict[str, list[float]] = {name: [] for name in CLAIMS}
    async with running_alone(load) as engine:
        await engine.measure(["return value"], 8)
        for forked, separate, repeated in texts:
            ratios["candidates over separate"].append(await _candidates(engine, forked, separate, options.tokens))
            ratios["repeated over cold first token"].append(await _repeated(engine, repeated))
    return ratios


async def _candidates(engine: Alone, forked: str, separate: str, n_tokens: int) -> float:
    _, together_s = await engine.measure([forked], n_tokens, n=N_CANDIDATES)
    _, apart_s = await engine.measure([separate] * N_CANDIDATES, n_tokens, cache_prompt=False)
    print(f"{N_CANDIDATES} candidates {together_s:.2f} s, {N_CANDIDATES} separate requests {apart_s:.2f} s", flush=True)
    return together_s / apart_s


async def _repeated(engine: Alone, prompt: str) -> float:
    (cold, *_), _ = await engine.measure([prompt], 2)
    (warm, *_), _ = await engine.measure([prompt], 2)
    print(f"first token cold {cold.first_s * 1000:.0f} ms, repeated {warm.first_s * 1000:.0f} ms", flush=True)
    return warm.first_s / cold.first_s


def main() -> None:
    """Measure, print, and write the numbers where they are wanted; ends with 1 when a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="prompts of 200 tokens, answers of 16, 1 repetition")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--model", default="0.5b", help="0.5b, embedded, or a path")
    parser.add_argument("--prompt", type=int, default=1000, help="tokens")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: the physical cores, 1 for models under 64 MiB")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(prompt=200, tokens=16, repetitions=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratios = asyncio.run(measure(options, Path(folder)))
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    for name, most in CLAIMS.items():
        print(f"{'holds' if medians[name] <= most else 'FAILS'} {medians[name]:.2f} <= {most}  {name}, {options.model}")
    if options.json:
        options.json.write_text(json.dumps({"ratios": ratios, "medians": medians}, indent=2), encoding="utf-8")
    sys.exit(any(medians[name] > most for name, most in CLAIMS.items()))


if __name__ == "__main__":
    main()
