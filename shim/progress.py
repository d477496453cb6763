"""Progress of tool calls: taken off the wire, kept in order, and handed on in batches while the call runs.

The SDK starts two tasks for each notification, which is most of what a streamed token costs; so a `ProgressTap` around
the transport takes the notifications of calls that have an inbox, and passes everything else on. It knows nothing of
tools or of what a message says.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import anyio
import anyio.lowlevel
from mcp.shared.message import SessionMessage
from mcp_types import CallToolResult, JSONRPCNotification

PROGRESS = "notifications/progress"


@dataclass(frozen=True)
class ProgressStep:
    """One progress notification."""

    progress: float
    total: float | None
    message: str


OnSteps = Callable[[Sequence[ProgressStep]], Awaitable[None]]


class Inbox:
    """Keeps progress in order, and hands whatever has arrived to an awaitable consumer while the call runs."""

    def __init__(self, consume: OnSteps) -> None:
        self._consume = consume
        self._steps: list[ProgressStep] = []
        self._arrived = anyio.Event()
        self._is_over = False

    def put(self, step: ProgressStep) -> None:
        """Take one notification."""
        self._steps.append(step)
        self._arrived.set()

    async def run(self, call: Callable[[], Awaitable[CallToolResult]]) -> CallToolResult:
        """Run *call* beside the consumer; whichever fails first ends both, and its own exception is raised.

        The call begins at once and not a turn of the loop later, so that requests that come together do not wait for
        each other at every step of their way to the engine.
        """
        outcome: list[CallToolResult] = []
        failures: list[Exception] = []

        async def drain(scope: anyio.CancelScope) -> None:
            try:
                await self._drain()
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group that would wrap it
                failures.append(error)
                scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(drain, group.cancel_scope)
            try:
                outcome.append(await call())
            except Exception as error:  # noqa: BLE001 - as above
                failures.append(error)
            finally:
                self._is_over = True
                self._arrived.set()
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


class ProgressTap:
    """An MCP transport around another one; its read stream leaves out the progress that an inbox here awaits."""

    def __init__(self, transport: AbstractAsyncContextManager[tuple[Any, Any]]) -> None:
        self._transport = transport
        self._tokens = itertools.count(1)
        self._inboxes: dict[str, Inbox] = {}

    @contextmanager
    def feeding(self, inbox: Inbox) -> Iterator[str]:
        """Give a new progress token, and meanwhile the progress that carries it to *inbox*."""
        token = f"tap-{next(self._tokens)}"  # apart from the SDK's own, which are numbers
        self._inboxes[token] = inbox
        try:
            yield token
        finally:
            del self._inboxes[token]

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[tuple[Any, Any]]:
        """Connect the transport; yield its streams, the first of them tapped."""
        async with self._transport as (read, write):
            yield _TappedStream(read, self._take), write

    def _take(self, item: SessionMessage | Exception) -> bool:
        """Take *item* if it is progress for an inbox; False leaves it to the SDK."""
        if not isinstance(item, SessionMessage) or not isinstance(item.message, JSONRPCNotification):
            return False
        params = item.message.params or {}
        token = params.get("progressToken")
        if item.message.method != PROGRESS or not isinstance(token, str) or token not in self._inboxes:
            return False
        if (step := _step(params)) is None:
            return False
        self._inboxes[token].put(step)
        return True


def _step(params: dict[str, Any]) -> ProgressStep | None:
    """Read a notification's params; None when they are not what MCP says."""
    match params.get("progress"), params.get("total"), params.get("message"):
        case (bool(), _, _) | (_, bool(), _):
            return None
        case (int() | float()) as progress, (int() | float() | None) as total, (str() | None) as message:
            return ProgressStep(progress, total, message or "")
    return None


class _TappedStream:
    """A receive stream without the items that *take* took."""

    def __init__(self, inner: Any, take: Callable[[SessionMessage | Exception], bool]) -> None:
        self._inner = inner
        self._take = take

    def __aiter__(self) -> AsyncIterator[SessionMessage | Exception]:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        while True:
            item: SessionMessage | Exception = await self._inner.__anext__()
            if not self._take(item):
                return item

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._inner.__aexit__(*exception)
