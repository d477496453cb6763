"""The engine for asyncio: requests go to the worker thread, results come back without either waiting for the other.

A step's events arrive in one call on the loop; deltas that come while a consumer is busy are joined and delivered
together. Cancelling the awaiting task aborts its sequences in the worker's next step. Importing this loads no native
library: the worker does, when the first request needs it. This is the only file of the engine that knows an event
loop.
"""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from mcp_server.engine.jobs import (
    Abort,
    DescribeRequest,
    DetokenizeRequest,
    Event,
    Failed,
    Finished,
    Job,
    LoadRequest,
    Outcome,
    Progress,
    RenderRequest,
    Request,
    UnloadRequest,
)
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.outbox import Outbox
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import (
    Delta,
    DeltaSink,
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
    EngineStatistics,
    GenerationRequest,
    GenerationResult,
    LoadedModel,
    ModelProperties,
    RenderedPrompt,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
    Unloaded,
    join_deltas,
)
from mcp_server.engine.worker import Host, Worker
from mcp_server.errors import EngineError, InvalidRequestError, QueueFullError

PACE_S = 0.03  # least time between two deliveries; nobody sees less, and each stops a computing core
PACE_A_STREAM_S = 0.008  # the same for each stream: 125 messages a second for all of them, a seventh of one core

OutcomeT = TypeVar("OutcomeT", bound=Outcome)


@dataclass(eq=False)
class Ticket:
    """One request that somebody waits for; lives on the loop."""

    request_id: int
    request: Request
    worker: Worker
    is_started: bool = False  # it left the queue
    deltas: list[Delta] = field(default_factory=list)  # not delivered yet
    outcome: Outcome | None = None
    error: Exception | None = None
    changed: anyio.Event = field(default_factory=anyio.Event)
    has_spoken: bool = False  # its first delta came

    @property
    def is_done(self) -> bool:
        """Tell whether nothing more will come."""
        return self.outcome is not None or self.error is not None

    async def wait(self, on_delta: DeltaSink | None) -> Outcome:
        """Deliver deltas, then give the outcome, or raise what went wrong."""
        while True:
            if self.deltas:
                deltas, self.deltas = join_deltas(self.deltas), []
                if on_delta is not None:
                    await on_delta(deltas)
            elif self.error is not None:
                raise self.error
            elif self.outcome is not None:
                return self.outcome
            else:
                await self.changed.wait()
                self.changed = anyio.Event()

    def receive(self, event: Event) -> None:
        """Take one event of this request."""
        match event:
            case Progress():
                self.deltas.append(event.delta)
                self.has_spoken = True
            case Finished():
                self.outcome = event.outcome
            case Failed():
                self.error = event.error
        self.is_started = True
        self.changed.set()


class AsyncEngine:
    """The `Engine` of this package; one serves a whole process, from one event loop at a time."""

    def __init__(
        self,
        settings: EngineSettings | None = None,
        catalog: ModelCatalog | None = None,
        *,
        make_host: Callable[[], Host] | None = None,
    ) -> None:
        """Keep the settings; nothing is loaded or started before the first request.

        Args:
            settings: read from the environment when left out.
            catalog: the models to choose from; made from the settings when left out.
            make_host: makes what the worker steps; the real one when left out.
        """
        self._settings = settings or EngineSettings()
        self.catalog = catalog or ModelCatalog(self._settings)
        self._make_host = make_host or self._make_native_host
        self._outbox = Outbox(self._receive, self._pace_s)
        self._worker: Worker | None = None
        self._tickets: dict[int, Ticket] = {}
        self._ids = itertools.count(1)
        self._is_closed = False

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Generate; when cancelled, the sequences leave the batch at the worker's next step.

        Raises:
            CinqueError: InvalidRequestError, ContextLengthError, ModelNotFoundError, ModelLoadError, QueueFullError,
                or EngineError when the native code failed or the engine is closed.
        """
        return await self._ask(request, GenerationResult, on_delta)

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts, mean-pooled over the generator's own hidden states."""
        return await self._ask(request, EmbeddingResult)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Judge how well documents answer a query.

        Raises:
            NotSupportedError: The model has no ranking head.
            CinqueError: as of `generate`.
        """
        return await self._ask(request, RerankResult)

    async def tokenize(self, request: TokenizeRequest) -> TokenizeResult:
        """Tokenize text.

        Raises:
            InvalidRequestError: The text is longer than `max_tokenize_bytes`.
            CinqueError: as of `generate`.
        """
        n_bytes, limit = len(request.text.encode("utf-8", "replace")), self._settings.max_tokenize_bytes
        if n_bytes > limit:
            msg = f"The text has {n_bytes} bytes; at most {limit} are tokenized at once. Split it."
            raise InvalidRequestError(msg, param="text")
        return await self._ask(request, TokenizeResult)

    async def detokenize(self, token_ids: tuple[int, ...], model: str | None = None) -> DetokenizeResult:
        """Make text of token ids.

        Raises:
            InvalidRequestError: An id is not one of the model's.
            CinqueError: as of `generate`.
        """
        return await self._ask(DetokenizeRequest(token_ids, model), DetokenizeResult)

    async def render(self, request: GenerationRequest) -> RenderedPrompt:
        """Give the prompt that `generate` would compute, without computing it."""
        return await self._ask(RenderRequest(request), RenderedPrompt)

    async def describe(self, model: str | None = None) -> ModelProperties:
        """Load a model if need be, and tell what it is and can do."""
        return await self._ask(DescribeRequest(model), ModelProperties)

    async def load(self, model: str | None = None, keep_alive_s: float | None = None) -> LoadedModel:
        """Load a model, the default one when none is named, so that the first request need not wait for it."""
        return await self._ask(LoadRequest(model, keep_alive_s), LoadedModel)

    async def unload(self, model: str | None = None) -> bool:
        """Free a model's memory once its requests are done; False when it was not loaded."""
        return (await self._ask(UnloadRequest(model), Unloaded)).was_loaded

    def statistics(self) -> EngineStatistics:
        """Count work done and waiting, as of the worker's last step; the counts begin again after a crash."""
        counted = self._worker.statistics() if self._worker else EngineStatistics()
        return replace(counted, n_waiting=self._n_waiting)

    async def aclose(self) -> None:
        """Abort what runs, fail who waits, free the model; idempotent."""
        self._is_closed = True
        worker = self._worker
        if worker is not None:
            with anyio.CancelScope(shield=True):
                worker.stop()
                await anyio.to_thread.run_sync(worker.join)
        await anyio.lowlevel.checkpoint()

    @property
    def _n_waiting(self) -> int:
        return sum(not ticket.is_started for ticket in self._tickets.values())

    def _pace_s(self) -> float:
        """Give the least time between two deliveries: the more streams there are, the longer.

        A message costs 0.2 ms of the interpreter that the worker needs too, and 1 ms of a core all the way to its
        client, so their number a second is bounded for all streams together.
        """
        n_streams = sum(ticket.is_started for ticket in self._tickets.values())
        return min(max(PACE_S, n_streams * PACE_A_STREAM_S), self._settings.max_stream_interval_ms / 1000)

    async def _ask(self, request: Request, kind: type[OutcomeT], on_delta: DeltaSink | None = None) -> OutcomeT:
        ticket = self._submit(request)
        try:
            outcome = await ticket.wait(on_delta)
        finally:
            del self._tickets[ticket.request_id]
            if not ticket.is_done:
                ticket.worker.put(Abort(ticket.request_id))
        assert isinstance(outcome, kind), "the host answers each kind of request with its own outcome"  # noqa: S101
        return outcome

    def _submit(self, request: Request) -> Ticket:
        self._check_queue(request.model)
        self._outbox.attach(asyncio.get_running_loop())
        job = Job(next(self._ids), request, time.perf_counter())
        if self._worker is None or not self._worker.put(job):
            self._worker = Worker(self._make_host, self._deliver, self._report_end)
            self._worker.put(job)
        ticket = Ticket(job.request_id, request, self._worker)
        self._tickets[job.request_id] = ticket
        return ticket

    def _check_queue(self, model: str | None) -> None:
        """Refuse what would wait behind too many; the slots that a model has free are places beside the queue.

        The slots of each name are counted apart, so that requests for one model find theirs while another is full.
        """
        if self._is_closed:
            msg = "The engine is closed; nothing more can be generated in this process."
            raise EngineError(msg)
        started = (ticket.request for ticket in self._tickets.values() if ticket.is_started)
        n_busy = sum(_count_slots(request) for request in started if request.model == model)
        n_places = self._settings.max_waiting + max(0, self._settings.n_slots - n_busy)
        if self._n_waiting >= n_places:
            msg = f"{self._n_waiting} requests wait, which is as many as may; try again later."
            raise QueueFullError(msg)

    def _make_native_host(self) -> Host:
        """Make the host, in the worker's thread: this import loads the native library."""
        from mcp_server.engine.engine_host import EngineHost  # noqa: PLC0415  # heavy; loaded on first use

        return EngineHost(self._settings, self.catalog)

    def _deliver(self, _worker: Worker, events: list[Event]) -> None:
        self._outbox.put(events, is_urgent=not all(map(self._can_wait, events)))

    def _can_wait(self, event: Event) -> bool:
        """Tell, in the worker's thread, whether an event is more text of a stream that has begun."""
        ticket = self._tickets.get(event.request_id)
        return isinstance(event, Progress) and (ticket is None or ticket.has_spoken)

    def _report_end(self, worker: Worker, failure: Exception | None) -> None:
        self._outbox.call(self._fail_all, worker, failure)

    def _receive(self, events: list[Event]) -> None:
        for event in events:
            if (ticket := self._tickets.get(event.request_id)) is not None:
                ticket.receive(event)

    def _fail_all(self, worker: Worker, failure: Exception | None) -> None:
        """Fail whoever waits for a worker that has ended; the next request starts another."""
        self._outbox.drain()
        if failure is None:
            msg = "The engine was closed before this request was done."
        else:
            msg = f"The engine stopped while this request was in it ({failure}). It starts again with the next request."
        for ticket in self._tickets.values():
            if ticket.worker is worker and not ticket.is_done:
                ticket.receive(Failed(ticket.request_id, EngineError(msg)))


def _count_slots(request: Request) -> int:
    return request.n if isinstance(request, GenerationRequest) else 0
