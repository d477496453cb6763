"""All jobs in one line, one model loaded at a time.

Jobs for the loaded model start at once. One for another model waits, with everything behind it, until what runs has
ended; then the models are switched. So no model starves and none is loaded twice in a row. Synchronous and not
thread-safe, like the engine it steps.
"""

import logging
from collections import deque
from dataclasses import dataclass

from mcp_server.engine.catalog import ModelCatalog
from mcp_server.engine.embedding_jobs import EmbeddingRun, RerankRun
from mcp_server.engine.jobs import (
    DescribeRequest,
    DetokenizeRequest,
    Event,
    Failed,
    Finished,
    Job,
    LoadRequest,
    Outcome,
    RenderRequest,
    Started,
    UnloadRequest,
)
from mcp_server.engine.llm_engine import Counters, LLMEngine
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import (
    EmbeddingRequest,
    EngineStatistics,
    GenerationRequest,
    LoadedModel,
    LoadFailure,
    Model,
    RerankRequest,
    TokenizeRequest,
    Unloaded,
)
from mcp_server.errors import CinqueError, EngineError

_log = logging.getLogger(__name__)


@dataclass
class Embedding:
    """A job of vectors or scores, done one batch of texts a beat so that running streams go on."""

    job: Job
    run: EmbeddingRun | RerankRun


class EngineHost:
    """The loaded model and the line of jobs."""

    def __init__(self, settings: EngineSettings, catalog: ModelCatalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._counters = Counters()
        self._line: deque[Job] = deque()
        self._embeddings: deque[Embedding] = deque()
        self._engine: LLMEngine | None = None
        self._load_failure: LoadFailure | None = None

    @property
    def has_work(self) -> bool:
        """Tell whether a step would do anything."""
        return bool(self._line) or self._is_busy

    @property
    def engine(self) -> LLMEngine | None:
        """The engine of the loaded model."""
        return self._engine

    def submit(self, job: Job) -> None:
        """Put a job at the end of the line."""
        self._counters.n_requests += isinstance(job.request, GenerationRequest)
        self._line.append(job)

    def abort(self, request_id: int) -> None:
        """Forget a job, wherever it is; one that is done already is no matter."""
        n_before = len(self._line) + len(self._embeddings)
        self._line = deque(job for job in self._line if job.request_id != request_id)
        self._embeddings = deque(e for e in self._embeddings if e.job.request_id != request_id)
        is_found = len(self._line) + len(self._embeddings) < n_before
        if is_found or (self._engine is not None and self._engine.abort(request_id)):
            self._counters.n_aborted += 1

    def step(self) -> list[Event]:
        """Start what can start and run one beat; give what happened."""
        events = self._start_jobs()
        if self._engine is not None and not self._engine.is_idle:
            events += self._engine.step()
        if self._embeddings:
            events += self._embed_one(self._embeddings[0])
        return events

    def statistics(self) -> EngineStatistics:
        """Count work done and waiting."""
        return EngineStatistics(
            n_running=self._engine.n_running if self._engine else 0,
            n_waiting=len(self._line),
            n_requests=self._counters.n_requests,
            n_aborted=self._counters.n_aborted,
            n_prompt_tokens=self._counters.n_prompt_tokens,
            n_completion_tokens=self._counters.n_completion_tokens,
            n_steps=self._counters.n_steps,
            loaded_models=(_loaded(self._engine),) if self._engine else (),
            load_failure=self._load_failure,
        )

    def close(self) -> None:
        """Drop every job and free the model; idempotent."""
        self._line.clear()
        self._embeddings.clear()
        self._unload()

    @property
    def _is_busy(self) -> bool:
        return bool(self._embeddings) or (self._engine is not None and not self._engine.is_idle)

    def _start_jobs(self) -> list[Event]:
        events: list[Event] = []
        while self._line:
            job = self._line[0]
            try:
                if isinstance(job.request, UnloadRequest) and not self._is_loaded(job.request):
                    events.append(Finished(job.request_id, Unloaded(was_loaded=False)))
                    self._line.popleft()
                    continue
                engine = self._engine_for(self._catalog.resolve(job.request.model))
                if engine is None:
                    break
                events += self._start(job, engine)
            except CinqueError as error:
                events.append(Failed(job.request_id, error))
            except Exception as error:  # noqa: BLE001  # in no batch yet, so nobody beside it need suffer
                _log.exception("a request could not be started")
                msg = f"This request could not be started ({type(error).__name__}); the log of the server has more."
                events.append(Failed(job.request_id, EngineError(msg)))
            self._line.popleft()
        return events

    def _engine_for(self, model: Model) -> LLMEngine | None:
        """Give the engine of this model, loading it if nothing runs; None while something does."""
        if self._engine is not None and _is_same_file(self._engine.model, model):
            return self._engine
        if self._is_busy:
            return None
        self._unload()
        self._engine = self._load(model)
        return self._engine

    def _is_loaded(self, request: UnloadRequest) -> bool:
        return self._engine is not None and _is_same_file(self._engine.model, self._catalog.resolve(request.model))

    def _load(self, model: Model) -> LLMEngine:
        try:
            engine = LLMEngine(model, self._settings, self._counters)
        except Exception as error:
            if model.is_default:
                self._load_failure = LoadFailure(model, str(error))
            raise
        if model.is_default:
            self._load_failure = None
        return engine

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _start(self, job: Job, engine: LLMEngine) -> list[Event]:
        request = job.request
        outcome: Outcome
        match request:
            case GenerationRequest():
                engine.add(job, request)
                return []
            case EmbeddingRequest():
                self._embeddings.append(Embedding(job, engine.start_embedding(request)))
                return [Started(job.request_id)]
            case RerankRequest():
                self._embeddings.append(Embedding(job, engine.start_ranking(request)))
                return [Started(job.request_id)]
            case TokenizeRequest():
                outcome = engine.tokenize(request)
            case DetokenizeRequest():
                outcome = engine.detokenize(request.token_ids)
            case RenderRequest():
                outcome = engine.render(request.request)
            case DescribeRequest():
                outcome = engine.describe()
            case LoadRequest():
                outcome = _loaded(engine)
            case UnloadRequest():
                self._unload()
                outcome = Unloaded(was_loaded=True)
        return [Finished(job.request_id, outcome)]

    def _embed_one(self, embedding: Embedding) -> list[Event]:
        """Compute the next batch of the oldest embedding or ranking job."""
        engine, request_id, run = self._engine, embedding.job.request_id, embedding.run
        if engine is None:
            msg = "An embedding was left behind by an engine that is closed; this is a defect."
            raise EngineError(msg)
        try:
            run.advance()
        except CinqueError as error:
            self._embeddings.popleft()
            return [Failed(request_id, error)]
        if not run.is_done:
            return []
        self._embeddings.popleft()
        result = run.result(engine.model.model_id)
        self._counters.n_prompt_tokens += result.usage.prompt_tokens
        return [Finished(request_id, result)]


def _is_same_file(one: Model, other: Model) -> bool:
    return (one.path, one.size_bytes, one.created_at) == (other.path, other.size_bytes, other.created_at)


def _loaded(engine: LLMEngine) -> LoadedModel:
    return LoadedModel(engine.model.model_id, engine.runner.context_tokens)
