"""Server-sent events that are honest about failure, and how a handler stops when its client goes.

The status line is held until the first event, so a full queue is a proper 503 in the door's envelope. After it, a
failure is one in-band event. It knows nothing of any dialect.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shim.errors import ApiError

log = logging.getLogger(__name__)

Emit = Callable[[Iterable[bytes]], Awaitable[None]]  # what is known at one moment goes out with one write
Produce = Callable[[Emit], Awaitable[None]]
RenderFailure = Callable[[ApiError], bytes]

DONE = b"data: [DONE]\n\n"


def sse(data: str, event: str | None = None) -> bytes:
    """Frame *data*, one line of JSON, as a server-sent event."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {data}\n\n".encode()


def sse_json(body: dict[str, Any]) -> bytes:
    """Frame *body* as a server-sent event."""
    return sse(json.dumps(body, ensure_ascii=False, separators=(",", ":")))


class EventStream(Response):
    """A streaming response whose events come from *produce*, called with an `emit`."""

    media_type = "text/event-stream"

    def __init__(self, produce: Produce, render_failure: RenderFailure) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._produce = produce
        self._render_failure = render_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send events until the producer ends or fails; whoever calls cancels it when the client is gone.

        Raises:
            ApiError: what the producer raised before its first event; the door renders it.
        """
        delivery = _Delivery(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await self._produce(delivery.emit)
        except Exception as error:  # noqa: BLE001 - raised again, or told in-band
            await self._fail(error, delivery)
        if delivery.has_started:
            await delivery.end()

    async def _fail(self, failure: Exception, delivery: "_Delivery") -> None:
        """Raise *failure* while the status is still open; tell it in-band afterwards."""
        if not delivery.has_started:
            raise failure
        if not isinstance(failure, ApiError):
            log.error("stream failed", exc_info=failure)
            failure = ApiError("internal_error", "the stream failed inside Cinque; its log has the cause")
        await delivery.emit([self._render_failure(failure)])


async def cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel *scope* once the client is gone; the request's body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


class _Delivery:
    """Sends the status line with the first event."""

    def __init__(self, send: Send, start: Message) -> None:
        self._send = send
        self._start = start
        self.has_started = False

    async def emit(self, events: Iterable[bytes]) -> None:
        body = b"".join(events)
        if not body:
            return
        if not self.has_started:
            self.has_started = True
            await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
