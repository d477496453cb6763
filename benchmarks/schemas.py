"""Ten JSON schemas, 200 samples each at temperature 1: how many parse, and how many are valid.

    python benchmarks/schemas.py [--quick] [--model PATH] [--json FILE]

The engine is the real one and the model the embedded one, which was never shown a schema: what is valid is the
grammar's doing. `--quick` takes 20 samples of each. The exit status is 1 unless all parse and validate.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import jsonschema

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import GenerationRequest, Message, SamplingParams
from tests.example_schemas import EXAMPLE_SCHEMAS

SAMPLES = 200
QUICK_SAMPLES = 20
SAMPLES_A_REQUEST = 20  # completions of one prompt, which is computed once
MAX_TOKENS = 900  # room: a completion cut by its limit is no JSON


@dataclass
class Row:
    """What became of one schema's samples."""

    schema: str
    n_samples: int = 0
    n_parsed: int = 0
    n_valid: int = 0
    n_distinct: int = 0
    n_tokens: int = 0
    seconds: float = 0.0


async def measure(engine: AsyncEngine, name: str, n_samples: int) -> Row:
    """Draw samples of one schema and judge them."""
    row, texts = Row(name), set()
    started = time.perf_counter()
    for first_seed in range(0, n_samples, SAMPLES_A_REQUEST):
        sampling = SamplingParams(
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            seed=first_seed,
            max_tokens=MAX_TOKENS,
            json_schema=EXAMPLE_SCHEMAS[name],
        )
        request = GenerationRequest(
            (Message("user", f"Give an example of: {name}"),),
            n=min(SAMPLES_A_REQUEST, n_samples - first_seed),
            sampling=sampling,
        )
        result = await engine.generate(request)
        row.n_tokens += result.usage.completion_tokens
        for completion in result.completions:
            judge(row, completion.text)
            texts.add(completion.text)
    row.n_distinct, row.seconds = len(texts), time.perf_counter() - started
    return row


def judge(row: Row, text: str) -> None:
    """Count one sample; print what is wrong with a bad one."""
    row.n_samples += 1
    try:
        value = json.loads(text)
    except ValueError as error:
        print(f"{row.schema}: {error}: {text[-200:]!r}", file=sys.stderr)
        return
    row.n_parsed += 1
    schema = EXAMPLE_SCHEMAS[row.schema]
    validator = jsonschema.validators.validator_for(schema)
    try:
        jsonschema.validate(value, schema, format_checker=validator.FORMAT_CHECKER)
    except jsonschema.ValidationError as error:
        print(f"{row.schema}: {error.message}: {text[:200]!r}", file=sys.stderr)
        return
    row.n_valid += 1


async def run(arguments: argparse.Namespace) -> list[Row]:
    """Measure all schemas on one engine."""
    n_samples = QUICK_SAMPLES if arguments.quick else SAMPLES
    with tempfile.TemporaryDirectory() as home:
        chosen: dict[str, Any] = {"model": arguments.model} if arguments.model else {}
        engine = AsyncEngine(EngineSettings(home=Path(home), **chosen))
        try:
            return [await measure(engine, name, n_samples) for name in EXAMPLE_SCHEMAS]
        finally:
            await engine.aclose()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SAMPLES} samples of each schema")
    parser.add_argument("--model", help="a GGUF file instead of the embedded model")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    rows = anyio.run(run, arguments)
    print(f"{'schema':10} {'samples':>8} {'parse':>8} {'valid':>8} {'distinct':>9} {'tokens':>8} {'tok/s':>8}")
    for row in rows:
        shares = (f"{n / row.n_samples:8.1%}" for n in (row.n_parsed, row.n_valid))
        rate = row.n_tokens / row.seconds
        print(f"{row.schema:10} {row.n_samples:8} {' '.join(shares)} {row.n_distinct:9} {row.n_tokens:8} {rate:8.0f}")
    n_samples, n_valid = sum(row.n_samples for row in rows), sum(row.n_valid for row in rows)
    print(f"{n_valid} of {n_samples} samples parse and validate")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if n_valid == n_samples else 1


if __name__ == "__main__":
    sys.exit(main())
