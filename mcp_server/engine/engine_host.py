"""All jobs in one line, several models in memory, one beat of one model at a time.

A job for a loaded model starts at once. One for another model has it loaded, beside the running streams, when the
budget allows; else idle models leave for it, and where that is not enough it waits for busy ones. What comes behind a
job and wants a model that must leave for it waits too, so no job starves; all others pass. One model is loaded at a
time, in the order of arrival. Synchronous and not thread-safe, like the engines it steps.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mcp_server.engine.background import Background
from mcp_server.engine.jobs import Event, Failed, Finished, Job, Outcome, UnloadRequest, failed
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.models.catalog import ModelCatalog, ModelOptions, State, file_state
from mcp_server.engine.models.memory import default_budget_bytes, estimate_memory
from mcp_server.engine.resident_jobs import embed_next, keep_alive_of, start_job, work_aside
from mcp_server.engine.residents import Resident, Residents
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.tally import Counters
from mcp_server.engine.types import EngineStatistics, GenerationRequest, LoadFailure, Model, Unloaded
from mcp_server.errors import CinqueError, DeadlineError, EngineError, ModelNotFoundError, NotSupportedError

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Queued:
    """A job in the line."""

    job: Job
    model: Model | None = None  # what its name means; found out when it is first looked at


@dataclass(frozen=True)
class Claim:
    """The first job of the line whose model is not loaded, and what it waits for."""

    queued: Queued
    model: Model
    options: ModelOptions
    state: State  # of the model's file
    memory_bytes: int
    victims: tuple[Resident, ...]  # must be idle, and leave, before it is loaded
    is_loading: bool = False

    @property
    def blocked(self) -> set[str]:
        """The models whose jobs wait meanwhile."""
        return {self.model.model_id, *(victim.model.model_id for victim in self.victims)}


class EngineHost:
    """The loaded models and the line of jobs."""

    def __init__(
        self, settings: EngineSettings, catalog: ModelCatalog, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Start with nothing loaded.

        Args:
            settings: of the process; the catalogue has those of each model.
            catalog: what names mean.
            clock: seconds, the same clock that jobs are stamped with.
        """
        self._catalog = catalog
        self._clock = clock
        self._counters = Counters()
        self._line: deque[Queued] = deque()
        self._claim: Claim | None = None
        self._residents = Residents(settings.memory_budget_bytes or default_budget_bytes(), settings.max_loaded_models)
        self._background = Background()
        self._is_changed = False  # since the line was last looked at
        self._n_beats = 0
        self._load_failure: LoadFailure | None = None

    @property
    def has_work(self) -> bool:
        """Tell whether a step would do anything now."""
        return (
            self._is_changed or self._background.has_results or any(resident.has_beat for resident in self._residents)
        )

    @property
    def engine(self) -> LLMEngine | None:
        """The engine of the model used last."""
        latest = self._residents.latest
        return None if latest is None else latest.engine

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Have this called, from any thread, when there is work again."""
        self._background.wake = wake

    def next_step_s(self) -> float | None:
        """How long until a step is due though nothing happens: a keep-alive or a deadline; None: never."""
        now = self._clock()
        deadlines = (_time_left_s(queued.job, now) for queued in self._line)
        due = (*deadlines, self._residents.next_expiry_s(now))
        return min((seconds for seconds in due if seconds is not None), default=None)

    def submit(self, job: Job) -> None:
        """Put a job at the end of the line."""
        self._counters.n_requests += isinstance(job.request, GenerationRequest)
        self._line.append(Queued(job))
        self._is_changed = True

    def abort(self, request_id: int) -> None:
        """Forget a job, wherever it is; one that is done already is no matter."""
        n_before = len(self._line)
        self._line = deque(queued for queued in self._line if queued.job.request_id != request_id)
        is_found = len(self._line) < n_before
        for resident in self._residents:
            if request_id in resident.request_ids:
                is_found = True
                resident.request_ids.discard(request_id)
                resident.embeddings = deque(e for e in resident.embeddings if e.job.request_id != request_id)
                resident.engine.abort(request_id)
                self._residents.touch(resident, self._clock())
        self._counters.n_aborted += is_found
        self._is_changed = True

    def step(self) -> list[Event]:
        """Start what can start and run one beat of one model, each in its turn; give what happened."""
        events = self._background.collect()
        self._is_changed = False
        events += self._look_at_line()
        busy = [resident for resident in self._residents if resident.has_beat]
        if busy:
            events += self._beat(min(busy, key=lambda resident: resident.last_beat))
        for resident in self._residents.take_expired(self._clock()):
            _log.info("%s was not asked for %g s and is unloaded", resident.model.model_id, resident.keep_alive_s)
            self._residents.remove(resident)
        return events

    def statistics(self) -> EngineStatistics:
        """Count work done and waiting; totals keep what unloaded models did."""
        return EngineStatistics(
            n_running=sum(resident.engine.n_running for resident in self._residents),
            n_waiting=len(self._line),
            n_requests=self._counters.n_requests,
            n_aborted=self._counters.n_aborted,
            n_prompt_tokens=self._counters.n_prompt_tokens,
            n_completion_tokens=self._counters.n_completion_tokens,
            n_steps=self._counters.n_steps,
            loaded_models=self._residents.loaded(self._clock()),
            load_failure=self._load_failure,
            models=tuple(resident.engine.statistics() for resident in self._residents),
        )

    def close(self) -> None:
        """Drop every job and free the models; idempotent."""
        self._line.clear()
        self._background.close()
        self._background.collect()
        for resident in self._residents:
            self._residents.remove(resident)

    def _look_at_line(self) -> list[Event]:
        """Start every job that can start, in the order of arrival."""
        events: list[Event] = []
        blocked = set() if self._claim is None else self._claim.blocked
        waiting: deque[Queued] = deque()
        for queued in self._line:
            try:
                outcome = self._try_start(queued, blocked)
            except Exception as error:  # noqa: BLE001  # in no batch yet, so nobody beside it need suffer
                outcome = [failed(queued.job.request_id, error)]
            if outcome is None:
                waiting.append(queued)
            else:
                events += outcome
        self._line = waiting
        if self._claim is not None and not self._claim.is_loading and self._claim.queued not in waiting:
            self._claim, self._is_changed = None, True
        return events

    def _try_start(self, queued: Queued, blocked: set[str]) -> list[Event] | None:
        """Start a job, or add to `blocked` what must not start before it; None: it waits."""
        job = queued.job
        if (left := _time_left_s(job, self._clock())) is not None and left <= 0:
            msg = "The time that this request gave was over before its model was free for it; give it more."
            raise DeadlineError(msg, param="deadline_ms")
        queued.model = queued.model or self._resolve(job)
        model = queued.model
        is_claimant = self._claim is not None and self._claim.queued is queued
        if model.model_id in blocked and not is_claimant:
            return None
        if isinstance(job.request, UnloadRequest):
            return self._try_unload(job, model, blocked)
        if (resident := self._find_current(model)) is not None:
            return self._start(job, resident)
        blocked.add(model.model_id)
        self._try_load(queued, model, blocked)
        return None

    def _resolve(self, job: Job) -> Model:
        """Find what a job's name means; a model may be unloaded by its id even if its file is gone."""
        try:
            return self._catalog.resolve(job.request.model)
        except ModelNotFoundError:
            resident = self._residents.find(job.request.model or "")
            if resident is not None and isinstance(job.request, UnloadRequest):
                return resident.model
            raise

    def _find_current(self, model: Model) -> Resident | None:
        """Find the loaded model, unless its file or its settings were changed since."""
        resident = self._residents.find(model.model_id)
        if resident is None or resident.state != file_state(Path(model.path)):
            return None
        options = self._catalog.options(model)
        if (options.settings, options.draft) != (resident.options.settings, resident.options.draft):
            return None
        resident.options = options
        return resident

    def _try_unload(self, job: Job, model: Model, blocked: set[str]) -> list[Event] | None:
        resident = self._residents.find(model.model_id)
        if resident is not None and resident.is_busy:
            blocked.add(model.model_id)
            return None
        if resident is not None:
            self._residents.remove(resident)
        return [Finished(job.request_id, Unloaded(was_loaded=resident is not None))]

    def _try_load(self, queued: Queued, model: Model, blocked: set[str]) -> None:
        """Claim memory for the first job that needs it, and load its model once that is free."""
        if self._claim is None:
            self._claim = self._make_claim(queued, model)
            blocked |= self._claim.blocked
        claim = self._claim
        if claim.queued is not queued or claim.is_loading or any(victim.is_busy for victim in claim.victims):
            return
        for victim in claim.victims:
            if self._residents.find(victim.model.model_id) is victim:
                _log.info("%s is unloaded to make room for %s", victim.model.model_id, model.model_id)
                self._residents.remove(victim)
        self._claim = replace(claim, is_loading=True)
        draft = claim.options.draft
        load = partial(LLMEngine, model, claim.options.settings, self._counters)
        self._background.run(partial(load, draft=Path(draft.path) if draft else None), self._take_loaded)

    def _make_claim(self, queued: Queued, model: Model) -> Claim:
        if model.source == "remote":
            msg = f"{model.model_id} is a model of another server; it is not computed here."
            raise NotSupportedError(msg, param="model")
        options, state = self._catalog.options(model), file_state(Path(model.path))
        memory_bytes = estimate_memory(model, options.settings).total_bytes
        if options.draft is not None:
            memory_bytes += estimate_memory(options.draft, options.settings).total_bytes
        self._residents.check_fit(model, memory_bytes)
        victims = self._residents.choose_victims(model, memory_bytes)
        return Claim(queued, model, options, state, memory_bytes, victims)

    def _take_loaded(self, future: Future[LLMEngine]) -> list[Event]:
        """Take in what was loaded, or fail the job that it was loaded for."""
        claim, self._claim = self._claim, None
        assert claim is not None, "only a claim is loaded"  # noqa: S101  # an invariant of ours
        try:
            engine = future.result()
        except Exception as error:  # noqa: BLE001  # as in _look_at_line: it is this request's alone
            if claim.model.is_default:
                self._load_failure = LoadFailure(claim.model, str(error))
            return self._fail_loading(claim, error)
        if claim.model.is_default:
            self._load_failure = None
        self._residents.add(
            Resident(claim.model, claim.options, claim.state, engine, claim.memory_bytes, idle_since=self._clock())
        )
        return []

    def _fail_loading(self, claim: Claim, error: Exception) -> list[Event]:
        event = failed(claim.queued.job.request_id, error)  # told to the log also when nobody waits any more
        if claim.queued not in self._line:
            return []
        self._line.remove(claim.queued)
        return [event]

    def _start(self, job: Job, resident: Resident) -> list[Event]:
        """Start a job of a loaded model."""
        before, asked = resident.asked_keep_alive_s, keep_alive_of(job.request)
        resident.asked_keep_alive_s = before if asked is None else asked
        if (work := work_aside(job.request, resident.engine)) is not None:
            resident.n_aside += 1
            resident.request_ids.add(job.request_id)
            self._background.run(work, partial(self._take_outcome, job, resident))
            events = []
        else:
            try:
                events = start_job(job, resident)
            except CinqueError:
                resident.asked_keep_alive_s = before
                raise
        self._residents.touch(resident, self._clock())
        return events

    def _take_outcome(self, job: Job, resident: Resident, future: Future[Outcome]) -> list[Event]:
        """Hand on what was done beside this thread, unless nobody waits for it any more."""
        resident.n_aside -= 1
        self._residents.touch(resident, self._clock())
        if job.request_id not in resident.request_ids:
            return []
        resident.request_ids.discard(job.request_id)
        error = future.exception()
        if error is None:
            return [Finished(job.request_id, future.result())]
        return [failed(job.request_id, error)]

    def _beat(self, resident: Resident) -> list[Event]:
        """Run one beat of one model; a failure in it is the end of its requests, and of nobody else's."""
        self._n_beats += 1
        resident.last_beat = self._n_beats
        try:
            events = [] if resident.engine.is_idle else resident.engine.step()
            if resident.embeddings:
                events += embed_next(resident, self._counters)
        except Exception as error:  # noqa: BLE001  # the other models' requests need not suffer
            _log.exception("a model's beat failed")
            return self._give_up(resident, error)
        resident.request_ids -= {event.request_id for event in events if isinstance(event, Finished | Failed)}
        self._residents.touch(resident, self._clock())
        self._is_changed |= not resident.has_beat
        return events

    def _give_up(self, resident: Resident, error: Exception) -> list[Event]:
        """Unload a model that nothing can be trusted of any more; fail what it did."""
        msg = (
            f"{resident.model.model_id} stopped while this request was in it ({error}). It is loaded again with the "
            "next request."
        )
        events: list[Event] = [Failed(request_id, EngineError(msg)) for request_id in sorted(resident.request_ids)]
        resident.request_ids.clear()
        self._residents.remove(resident)
        self._is_changed = True
        return events


def _time_left_s(job: Job, now: float) -> float | None:
    """How long until a job fails for being late; None: never."""
    request = job.request
    if not isinstance(request, GenerationRequest) or request.scheduling.deadline_ms is None:
        return None
    return job.submitted_at + request.scheduling.deadline_ms / 1000 - now
