"""Asks the project's own engine: each task greedily, and for eight samples forked from one prompt; several at once."""

import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import anyio

from benchmarks.models.tasks import Task
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Completion, GenerationRequest, Message, SamplingParams, ToolChoice, ToolUse
from mcp_server.errors import ContextLengthError

N_SAMPLES: Final = 8
TEMPERATURE: Final = 0.7
TOP_P: Final = 0.95
MAX_TOKENS: Final = 400  # the longest answer of the training data
N_SLOTS: Final = 16  # two requests of eight samples: one fills the batch while the other ends
SEEDS_A_TASK: Final = 1_000
SPEED_TOKENS: Final = 256
SPEED_REPETITIONS: Final = 3
_SPEED_PROMPT: Final = "write a function that counts the vowels of a word"

T = TypeVar("T")


@dataclass(frozen=True)
class Speed:
    """How fast the model is here."""

    load_s: float  # with the native library, which the first load in a process brings in
    one: float  # tokens/s of one sequence
    eight: float  # tokens/s of eight together


def engine_of(model: Path | None, home: Path) -> AsyncEngine:
    """Return an engine with the model, or with the one that is embedded."""
    settings = EngineSettings(home=home, n_slots=N_SLOTS, kv_layout="auto")
    return AsyncEngine(settings.model_copy(update={"model": str(model)}) if model else settings)


async def speed(engine: AsyncEngine) -> Speed:
    """Measure an engine that has done nothing yet."""
    started_s = time.perf_counter()
    await engine.load()
    load_s = time.perf_counter() - started_s
    return Speed(load_s, await _rate(engine, 1), await _rate(engine, N_SAMPLES))


async def _rate(engine: AsyncEngine, n: int) -> float:
    """Return tokens/s of n sequences from one prompt, the prompt's own time left out."""
    sampling = SamplingParams(temperature=TEMPERATURE, seed=1, max_tokens=SPEED_TOKENS, ignore_eos=True)
    request = GenerationRequest(messages=(Message("user", _SPEED_PROMPT),), n=n, sampling=sampling)
    rates = []
    for _ in range(SPEED_REPETITIONS):
        result = await engine.generate(request)
        rates.append(1000 * (result.usage.completion_tokens - n) / result.timings.decode_ms)
    return statistics.median(rates)


async def answers(engine: AsyncEngine, tasks: Sequence[Task], *, n: int, what: str) -> list[tuple[str, ...]]:
    """Return n answers to each task: the likeliest where n is 1, else samples."""
    sampling = SamplingParams(temperature=TEMPERATURE if n > 1 else 0, top_k=0, top_p=TOP_P, max_tokens=MAX_TOKENS)

    async def ask(i: int) -> tuple[str, ...]:
        return await _ask(engine, tasks[i], replace(sampling, seed=i * SEEDS_A_TASK), n)

    return await _together(len(tasks), ask, N_SLOTS // n + 1, what)


async def repairs(engine: AsyncEngine, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
    """Return one sample for each conversation that ends with the request to mend something."""
    sampling = SamplingParams(temperature=TEMPERATURE, top_k=0, top_p=TOP_P, max_tokens=MAX_TOKENS)

    async def ask(i: int) -> str:
        seeded = replace(sampling, seed=i * SEEDS_A_TASK)
        request = GenerationRequest(messages=conversations[i], sampling=seeded)
        return (await _completions(engine, request))[0]

    return await _together(len(conversations), ask, N_SLOTS + 2, "repairs")


async def _ask(engine: AsyncEngine, task: Task, sampling: SamplingParams, n: int) -> tuple[str, ...]:
    choice: ToolChoice = "required" if task.check.call else "auto"
    tool_use = ToolUse(task.tools, choice=choice, parallel=False) if task.tools else ToolUse()
    return await _completions(engine, GenerationRequest(task.messages, n=n, sampling=sampling, tool_use=tool_use))


async def _completions(engine: AsyncEngine, request: GenerationRequest) -> tuple[str, ...]:
    """Generate; a prompt that is too long for the model has no answer."""
    try:
        result = await engine.generate(request)
    except ContextLengthError:
        return ("",) * request.n
    return tuple(_text(one) for one in result.completions)


def _text(completion: Completion) -> str:
    """Return an answer's text, or the call that it is as JSON; arguments that are no JSON leave it none."""
    if not completion.tool_calls:
        return completion.text
    call = completion.tool_calls[0]
    return f'{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}'


async def _together(n: int, ask: Callable[[int], Awaitable[T]], at_once: int, what: str) -> list[T]:
    """Ask *n* questions, a few at once so that the batch stays full, in the order of the answers' places."""
    found: dict[int, T] = {}
    places = iter(range(n))
    started_s = time.perf_counter()

    async def work() -> None:
        for i in places:
            found[i] = await ask(i)
            if sys.stderr.isatty():
                print(f"\r{what}: {len(found)} of {n}", end="", file=sys.stderr, flush=True)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(work)
    print(f"\r{what}: {n} in {time.perf_counter() - started_s:.0f} s", file=sys.stderr, flush=True)
    return [found[i] for i in range(n)]
