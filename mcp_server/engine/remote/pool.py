"""The servers of one remote model: which to ask next, and which to leave alone for a while.

The one with the fewest requests in flight is asked. One that failed several times in a row is not, for a time that
doubles up to a limit; then one probe decides whether it is back. Nothing here knows HTTP: the probe is handed in.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from mcp_server.engine.remote.errors import ServerFailureError
from mcp_server.engine.remote.settings import RemoteModel, RemoteSettings
from mcp_server.engine.types import UpstreamStatistics
from mcp_server.errors import CinqueError, UpstreamError

Clock = Callable[[], float]


class CircuitBreaker:
    """Counts failures in a row, and says whether a server may be asked."""

    def __init__(self, settings: RemoteSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._n_failures = 0
        self._n_openings = 0  # since it last worked
        self._open_until: float | None = None
        self.is_probed = False  # somebody is trying whether it works again

    @property
    def is_closed(self) -> bool:
        """Tell whether the server may be asked at once."""
        return self._open_until is None

    @property
    def is_due(self) -> bool:
        """Tell whether it is open, has been for long enough, and nobody tries it already."""
        return self._open_until is not None and self.remaining_s == 0 and not self.is_probed

    @property
    def remaining_s(self) -> float:
        """How long it stays open; 0 when a probe is due or it is closed."""
        return max(0.0, (self._open_until or 0.0) - self._clock()) if self._open_until is not None else 0.0

    def succeed(self) -> None:
        """Close: the server works."""
        self._n_failures = self._n_openings = 0
        self._open_until = None

    def fail(self) -> None:
        """Count a failure; open when there were as many as the setting says, or when a probe failed."""
        self._n_failures += 1
        if self.remaining_s > 0 or (self.is_closed and self._n_failures < self._settings.breaker_failures):
            return  # requests that were under way when it opened make it no longer
        open_s = self._settings.breaker_open_s * 2.0 ** min(self._n_openings, 32)
        self._open_until = self._clock() + min(open_s, self._settings.breaker_max_open_s)
        self._n_openings += 1


class Replica:
    """One server of a remote model."""

    def __init__(self, model_id: str, url: str, breaker: CircuitBreaker) -> None:
        self.url = url
        self.breaker = breaker
        self.n_in_flight = 0
        self.n_requests = 0
        self._model_id = model_id
        self._n_failed = 0

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Count one request and what became of it; a cancelled one says nothing about the server."""
        self.n_in_flight += 1
        self.n_requests += 1
        try:
            yield
        except ServerFailureError:
            self._n_failed += 1
            self.breaker.fail()
            raise
        except CinqueError:
            self.breaker.succeed()  # it answered; the request was at fault
            raise
        else:
            self.breaker.succeed()
        finally:
            self.n_in_flight -= 1

    def statistics(self) -> UpstreamStatistics:
        """Tell how it does."""
        return UpstreamStatistics(
            model_id=self._model_id,
            url=self.url,
            is_healthy=self.breaker.is_closed,
            n_in_flight=self.n_in_flight,
            n_requests=self.n_requests,
            n_failed=self._n_failed,
            opens_again_in_s=None if self.breaker.is_closed else self.breaker.remaining_s,
        )


Probe = Callable[[Replica], Awaitable[None]]
"""Asks a server for something cheap; raises `ServerFailureError` when it does not work."""


class ReplicaPool:
    """All servers of one remote model."""

    def __init__(
        self, model: RemoteModel, settings: RemoteSettings, probe: Probe, clock: Clock = time.monotonic
    ) -> None:
        self._model = model
        self._probe = probe
        self.replicas = tuple(Replica(model.model_id, url, CircuitBreaker(settings, clock)) for url in model.urls)

    @property
    def is_usable(self) -> bool:
        """Tell whether any server may be asked at once."""
        return any(replica.breaker.is_closed for replica in self.replicas)

    async def pick(self, tried: set[str]) -> Replica:
        """Choose the server to ask now, after a probe where one that failed is due for it.

        Args:
            tried: URLs that this request could not reach; others are preferred.

        Raises:
            UpstreamError: None may be asked now; the message says when.
        """
        for replica in self.replicas:
            if replica.breaker.is_due:
                await self.check(replica)
        usable = [replica for replica in self.replicas if replica.breaker.is_closed]
        if not usable:
            soonest = min(replica.breaker.remaining_s for replica in self.replicas)
            msg = (
                f"{self._model.model_id} is not asked now, because its servers failed lately "
                f"({', '.join(self._model.urls)}); the next try is in {soonest:.0f} s. Start one, or use another model."
            )
            raise UpstreamError(msg)
        return min(usable, key=lambda replica: (replica.url in tried, replica.n_in_flight, replica.n_requests))

    async def check(self, replica: Replica) -> CinqueError | None:
        """Probe one server; tell what is wrong with it."""
        replica.breaker.is_probed = True
        try:
            await self._probe(replica)
        except ServerFailureError as error:
            replica.breaker.fail()
            return error
        except CinqueError as error:
            replica.breaker.succeed()  # it answered, if only to refuse our key
            return error
        else:
            replica.breaker.succeed()
            return None
        finally:
            replica.breaker.is_probed = False
