"""Carries deltas from the readers of upstream streams to one consumer, who may be slower, without a queue that grows.

Whatever arrived while the consumer was busy reaches it joined, one delta a completion. Errors of either side leave
the task group as themselves and not as a group. Cancelling the consumer cancels the readers.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import anyio

from mcp_server.engine.types import Delta, DeltaSink, join_deltas

T = TypeVar("T")
JOINED_AT = 256  # deltas that wait unjoined; beyond it they are joined, so that what waits is text and not objects


class Relay:
    """The way of deltas from several readers to one consumer."""

    def __init__(self) -> None:
        self._is_heard = False  # somebody wants the deltas
        self._is_over = False  # nothing more will come
        self._waiting: list[Delta] = []
        self._changed = anyio.Event()

    def put(self, deltas: Iterable[Delta]) -> None:
        """Take deltas of a reader; never blocks. Where nobody listens they are dropped."""
        if not self._is_heard:
            return
        self._waiting.extend(deltas)
        if self._waiting:
            self._changed.set()
        if len(self._waiting) > JOINED_AT:
            self._waiting = list(join_deltas(self._waiting))

    async def run(self, read: Callable[[], Awaitable[T]], on_delta: DeltaSink | None) -> T:
        """Read while delivering; give or raise what *read* does, once all that came before is delivered."""
        if on_delta is None:
            return await read()
        self._is_heard = True
        results: list[T] = []
        failures: list[Exception] = []

        async def produce() -> None:
            try:
                results.append(await read())
            except Exception as error:  # noqa: BLE001 - raised below, after the deltas that came before it
                failures.append(error)
            self._is_over = True
            self._changed.set()

        await all_of([produce, lambda: self._deliver(on_delta)])
        if failures:
            raise failures[0]
        return results[0]

    async def _deliver(self, sink: DeltaSink) -> None:
        while self._waiting or not self._is_over:
            if self._waiting:
                deltas, self._waiting = join_deltas(self._waiting), []
                await sink(deltas)
            else:
                await self._changed.wait()
                self._changed = anyio.Event()


async def all_of(functions: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run functions at once; the first error cancels the others and is raised as itself."""
    errors: list[Exception] = []

    async def run(function: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        try:
            await function()
        except Exception as error:  # noqa: BLE001 - carried out of the task group, which would wrap it, and raised
            errors.append(error)
            scope.cancel()

    async with anyio.create_task_group() as group:
        for function in functions:
            group.start_soon(run, function, group.cancel_scope)
    if errors:
        raise errors[0]
