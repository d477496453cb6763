"""Runs the several prompts of one request beside each other, so that they share the engine's batch.

It knows no dialect: results come back in the order of the prompts, and new text with the position of its prompt.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from mcp_server.contract import Delta, GenerationRequest, GenerationResult
from shim.doors.atlas.llama.prompts import counted
from shim.doors.door import Call
from shim.errors import ApiError

T = TypeVar("T")
R = TypeVar("R")
MAX_AT_ONCE = 16  # prompts of one request in the engine's queue; more would only wait there, and fill it for others

OnDeltasOf = Callable[[int, tuple[Delta, ...]], Awaitable[None]]


async def generate(
    call: Call[Any], requests: Sequence[GenerationRequest], on_deltas: OnDeltasOf | None = None
) -> list[GenerationResult]:
    """Generate for every one of *requests*; *on_deltas* gets the position of the request that speaks."""
    speaking = anyio.Lock()  # one event after the other, whoever speaks

    async def run(position: int, request: GenerationRequest) -> GenerationResult:
        async def tell(deltas: tuple[Delta, ...]) -> None:
            async with speaking:
                if on_deltas is not None:
                    await on_deltas(position, deltas)

        names, listener = call.services.names, None if on_deltas is None else tell
        return await counted(call, request, lambda: names.generate(call.gateway, request, listener))

    return await side_by_side(requests, run)


async def side_by_side(items: Sequence[T], run: Callable[[int, T], Awaitable[R]]) -> list[R]:
    """Run *run* for each of *items*, `MAX_AT_ONCE` at a time; the first failure ends all and is raised as it is."""
    if len(items) == 1:
        return [await run(0, items[0])]
    results: dict[int, R] = {}
    failures: list[ApiError] = []
    limit = anyio.CapacityLimiter(MAX_AT_ONCE)

    async def one(position: int, item: T, scope: anyio.CancelScope) -> None:
        async with limit:
            try:
                results[position] = await run(position, item)
            except ApiError as error:  # raised again below, outside the group that would wrap it
                failures.append(error)
                scope.cancel()

    async with anyio.create_task_group() as group:
        for position, item in enumerate(items):
            group.start_soon(one, position, item, group.cancel_scope)
    if failures:
        raise failures[0]
    return [results[position] for position in range(len(items))]
