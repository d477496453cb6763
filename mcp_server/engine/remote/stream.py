"""One stream of a remote model's answer, on its way from the connection to whoever waits for deltas.

`StreamReader` is told by the connection what happens, reads events into an `Answer` and passes the deltas on;
`Stopwatch` keeps when the parts of a request happened. Neither does I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mcp_server.engine.remote.answer import DONE, Answer, read_chunk
from mcp_server.engine.remote.errors import ServerFailureError, clip, within_stream
from mcp_server.engine.remote.relay import Relay
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.engine.types import Timings


@dataclass
class Stopwatch:
    """When the parts of one request happened, in seconds of the clock."""

    clock: Callable[[], float]
    submitted: float
    sent: float | None = None
    first: float | None = None
    last: float | None = None
    n_events: int = 0

    def see_sent(self) -> None:
        """Note that the request left, unless it did before."""
        self.sent = self.clock() if self.sent is None else self.sent

    def see_delta(self) -> None:
        """Note that something new came."""
        self.last = self.clock()
        self.first = self.last if self.first is None else self.first

    def timings(self) -> Timings:
        """Tell how long everything took; a part that never came took no time."""
        now = self.clock()
        sent = now if self.sent is None else self.sent
        first = now if self.first is None else self.first
        last = first if self.last is None else self.last
        return Timings((sent - self.submitted) * 1000, (first - sent) * 1000, (last - first) * 1000)


@dataclass(frozen=True)
class StreamReader:
    """Reads the events of one stream."""

    model: RemoteModel
    answer: Answer
    relay: Relay
    stopwatch: Stopwatch

    def begin(self) -> None:
        """Note that the request is about to be sent."""
        self.stopwatch.see_sent()

    def receive(self, url: str, data: str) -> None:
        """Take the data of one event.

        Raises:
            ValueError: It cannot be read.
            CinqueError: The server says in it what is wrong.
        """
        if data == DONE:
            self.answer.is_done = True
            return
        try:
            chunk = read_chunk(data)
        except ValueError as error:
            msg = f"{clip(data)!r} ({type(error).__name__})"
            raise ValueError(msg) from error
        if chunk.error is not None:
            raise within_stream(self.model, url, chunk.error)
        deltas = self.answer.take(chunk)
        self.stopwatch.n_events += 1
        if deltas:
            self.stopwatch.see_delta()
            self.relay.put(deltas)

    def end(self, url: str) -> None:
        """Close the answer.

        Raises:
            ServerFailureError: The stream ended before the answer was whole.
        """
        if not self.answer.is_whole:
            msg = f"{self.model.model_id} at {url} ended its stream before the answer was whole. Its own log says why."
            raise ServerFailureError(msg)
        self.relay.put(self.answer.close())
