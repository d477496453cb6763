"""What a tap takes off the wire: the progress of calls that run, where it is what MCP says. The SDK has the rest."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.shared.message import SessionMessage
from mcp_types import CallToolResult, JSONRPCNotification, JSONRPCRequest

from shim.progress import PROGRESS, Inbox, ProgressStep, ProgressTap

ITS_TOKEN = "tap-1"  # noqa: S105 - of progress, not a password


def notification(method: str = PROGRESS, **params: Any) -> SessionMessage:
    return SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=method, params=params))


async def tapped(*messages: SessionMessage | Exception) -> tuple[list[SessionMessage | Exception], list[ProgressStep]]:
    """Send messages while one call runs; give what is left of them, and what its inbox got."""
    steps: list[ProgressStep] = []

    @asynccontextmanager
    async def transport() -> AsyncIterator[tuple[Any, Any]]:
        yield Items(messages), None

    async def consume(arrived: Sequence[ProgressStep]) -> None:
        steps.extend(arrived)

    tap, inbox = ProgressTap(transport()), Inbox(consume)

    async def call() -> CallToolResult:
        async with tap.connect() as (read, _):
            left.extend([item async for item in read])
        return CallToolResult(content=[])

    left: list[SessionMessage | Exception] = []
    with tap.feeding(inbox) as token:
        assert token == ITS_TOKEN
        await inbox.run(call)
    return left, steps


class Items:
    """A read stream of what is there already."""

    def __init__(self, items: Sequence[SessionMessage | Exception]) -> None:
        self._items = iter(items)

    def __aiter__(self) -> "Items":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        for item in self._items:
            return item
        raise StopAsyncIteration


async def test_progress_of_a_call_comes_in_order_and_nothing_is_left_of_it() -> None:
    left, steps = await tapped(
        notification(progressToken=ITS_TOKEN, progress=1, message="a"),
        notification(progressToken=ITS_TOKEN, progress=2.5, total=3),
        notification(progressToken=ITS_TOKEN, progress=3, total=None, message=None),
    )
    assert left == []
    assert steps == [ProgressStep(1, None, "a"), ProgressStep(2.5, 3, ""), ProgressStep(3, None, "")]


@pytest.mark.parametrize(
    "message",
    [
        notification(progressToken="tap-2", progress=1),  # a call that has ended
        notification(progressToken=1, progress=1),  # one of the SDK's own
        notification(progressToken=[ITS_TOKEN], progress=1),
        notification(progressToken=ITS_TOKEN),
        notification(progressToken=ITS_TOKEN, progress="1"),
        notification(progressToken=ITS_TOKEN, progress=True),
        notification(progressToken=ITS_TOKEN, progress=1, total="3"),
        notification(progressToken=ITS_TOKEN, progress=1, message={"deltas": []}),
        notification("notifications/message", progressToken=ITS_TOKEN, progress=1),
        SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=PROGRESS)),
        SessionMessage(JSONRPCRequest(jsonrpc="2.0", id=1, method=PROGRESS, params={"progressToken": ITS_TOKEN})),
        ValueError("no JSON-RPC"),
    ],
    ids=str,
)
async def test_what_is_no_progress_of_a_call_that_runs_is_left_to_the_sdk(message: SessionMessage | Exception) -> None:
    assert await tapped(message) == ([message], [])


async def test_a_call_that_has_ended_gets_no_more() -> None:
    steps: list[ProgressStep] = []

    async def consume(arrived: Sequence[ProgressStep]) -> None:
        steps.extend(arrived)

    late = notification(progressToken=ITS_TOKEN, progress=1)

    @asynccontextmanager
    async def transport() -> AsyncIterator[tuple[Any, Any]]:
        yield Items([late]), None

    tap = ProgressTap(transport())
    with tap.feeding(Inbox(consume)):
        pass
    async with tap.connect() as (read, _):
        assert [item async for item in read] == [late]
    assert steps == []
