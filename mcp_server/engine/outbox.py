"""Events on their way from the worker's thread to the event loop, gathered while the loop rests.

Waking a loop costs the worker a third of a millisecond, because the loop's thread takes the interpreter; a message to a
client costs as much again. So after each delivery the loop looks again by itself, a little later, and the worker wakes
it only for what is urgent: a first token, an end, a failure. What arrives in between travels as one.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from mcp_server.engine.jobs import Event


class Outbox:
    """One side fills it, the other empties it; neither waits for the other."""

    def __init__(self, receive: Callable[[list[Event]], None], pace_s: Callable[[], float]) -> None:
        """Make it empty.

        Args:
            receive: called on the loop with what has come.
            pace_s: called on the loop after that; how long it may rest (s).
        """
        self._receive = receive
        self._pace_s = pace_s
        self._events: deque[Event] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False  # the loop will look by itself, or was woken already
        self._is_woken = False  # it was, and has not looked yet

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver to this loop from now on; called on it."""
        if loop is not self._loop:
            self._loop, self._timer, self._is_due, self._is_woken = loop, None, False, False

    def put(self, events: list[Event], *, is_urgent: bool) -> None:
        """Hand over events, from the worker's thread."""
        self._events.extend(events)
        if not self._is_woken and (is_urgent or not self._is_due):
            self._is_due = self._is_woken = True
            self.call(self.drain)

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Run a function on the loop, from any thread; a loop that is gone has nobody waiting."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def drain(self) -> None:
        """Deliver what has come, and look again later; called on the loop."""
        self._is_woken = False  # before the look: who comes later wakes us again
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._events:
            self._is_due = False
            if not self._events:  # else somebody came between the look and the flag, and did not wake us
                return
            self._is_due = True
        self._receive([self._events.popleft() for _ in range(len(self._events))])
        if self._loop is not None:
            self._timer = self._loop.call_later(self._pace_s(), self.drain)
