"""A streamed call that is cancelled at the very moment when progress arrives: a race of one turn of the event loop."""

import anyio
import pytest
from mcp_types import CallToolResult

from shim.progress import Inbox, ProgressStep  # the race cannot be hit on purpose from outside


async def endless_call() -> CallToolResult:
    await anyio.sleep_forever()
    pytest.fail("unreachable")


async def test_a_call_cancelled_as_progress_arrives_is_cancelled() -> None:
    consumed: list[ProgressStep] = []

    async def consume(steps: list[ProgressStep]) -> None:
        consumed.extend(steps)

    inbox = Inbox(consume)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(inbox.run, endless_call)
            await anyio.wait_all_tasks_blocked()
            inbox.put(ProgressStep(1, None, "{}"))
            group.cancel_scope.cancel()
    assert consumed == [ProgressStep(1, None, "{}")]
