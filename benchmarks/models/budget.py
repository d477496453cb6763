"""What verification and repair are worth for eight samples: the first, the one that passes, or four and their repair.

A repair is asked for in the conversation, after the answer that failed, with the error that running it gave. Where
nothing can be mended (an answer that is no program), the other four samples stand in for the repairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.models.asking import N_SAMPLES, repairs
from benchmarks.models.judging import Judge
from benchmarks.models.scores import Share, share
from benchmarks.models.tasks import Task
from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.types import Message

HALF: Final = N_SAMPLES // 2
PROMPT: Final = "Your last answer failed:\n\n{error}\n\nFix it."


@dataclass(frozen=True)
class Budget:
    """Shares of tasks that are solved, by what becomes of eight samples."""

    title: str
    first: Share
    verified: Share
    repaired: Share


@dataclass(frozen=True)
class Sampled:
    """A task with its samples, and which of them pass."""

    task: Task
    samples: tuple[str, ...]
    passed: tuple[bool, ...]


async def budget(engine: AsyncEngine, judge: Judge, title: str, sampled: Sequence[Sampled]) -> Budget:
    """Compare the three ways on tasks whose samples are judged already."""
    failing = [one for one in sampled if not any(one.passed[:HALF])]
    asked: list[tuple[Sampled, tuple[Message, ...]]] = []
    for one in failing:
        told = zip(one.samples, judge.told(one.task, one.samples[:HALF]), strict=False)
        asked += [(one, conversation(one.task, answer, why)) for answer, why in told if why]
    mended = await repairs(engine, [messages for _, messages in asked])
    verdicts = judge.verdicts([(one.task, text) for (one, _), text in zip(asked, mended, strict=True)])
    tried = {id(one) for one, _ in asked}
    right = {id(one) for (one, _), why in zip(asked, verdicts, strict=True) if not why}
    return Budget(
        title,
        share([one.passed[0] for one in sampled]),
        share([any(one.passed) for one in sampled]),
        share([_is_solved(one, id(one) in tried, id(one) in right) for one in sampled]),
    )


def conversation(task: Task, answer: str, error: str) -> tuple[Message, ...]:
    """Return a task's conversation, gone on with an answer and the request to mend it."""
    return (*task.messages, Message("assistant", answer), Message("user", PROMPT.format(error=error)))


def _is_solved(one: Sampled, was_tried: bool, is_mended: bool) -> bool:  # noqa: FBT001 - facts about one task
    return any(one.passed[:HALF]) or is_mended or (not was_tried and any(one.passed))
