"""Progress of a tool call: kept in order, and handed on in batches while the call runs.

It knows nothing of tools or of what a message says.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio
import anyio.lowlevel
from mcp_types import CallToolResult


@dataclass(frozen=True)
class ProgressStep:
    """One progress notification."""

    progress: float
    total: float | None
    message: str


OnSteps = Callable[[Sequence[ProgressStep]], Awaitable[None]]


class Inbox:
    """Keeps progress in order, and hands whatever has arrived to an awaitable consumer while the call runs.

    The SDK spawns each progress callback as a task; they keep their order only because `put` never awaits.
    """

    def __init__(self, consume: OnSteps) -> None:
        self._consume = consume
        self._steps: list[ProgressStep] = []
        self._arrived = anyio.Event()
        self._is_over = False

    async def put(self, progress: float, total: float | None, message: str | None) -> None:
        """Take one notification."""
        self._steps.append(ProgressStep(progress, total, message or ""))
        self._arrived.set()

    async def run(self, call: Callable[[], Awaitable[CallToolResult]]) -> CallToolResult:
        """Run *call* beside the consumer; whichever fails first ends both, and its own exception is raised."""
        outcome: list[CallToolResult] = []
        failures: list[Exception] = []

        async def run_call() -> None:
            try:
                outcome.append(await call())
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group that would wrap it
                failures.append(error)
            finally:
                self._is_over = True
                self._arrived.set()

        async with anyio.create_task_group() as group:
            group.start_soon(run_call)
            try:
                await self._drain()
            except Exception as error:  # noqa: BLE001 - as above
                failures.append(error)
                group.cancel_scope.cancel()
        if failures:
            raise failures[0]
        # Cancelled in the turn of the loop in which progress woke us: the cancellation is delivered at the next await.
        if not outcome:
            await anyio.lowlevel.checkpoint()
        return outcome[0]

    async def _drain(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._steps:
                arrived, self._steps = self._steps, []
                await self._consume(arrived)
            if self._is_over and not self._steps:
                return
