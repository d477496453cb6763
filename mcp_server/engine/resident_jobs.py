"""What each kind of job does with a loaded model: at once, beat by beat, or beside the worker's thread.

Generations and embeddings go on over many beats. The others are answered at once, but for long texts: those need
nothing but the vocabulary, which any thread may read while the model is loaded, so streams need not wait for them.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

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
    Request,
    Started,
)
from mcp_server.engine.llm_engine import LLMEngine
from mcp_server.engine.residents import Embedding, Resident, describe
from mcp_server.engine.tally import Counters
from mcp_server.engine.types import (
    EmbeddingRequest,
    GenerationRequest,
    RerankRequest,
    TokenizeRequest,
)
from mcp_server.errors import CinqueError, EngineError, InvalidRequestError

LONG_TEXT_CHARS = 8192  # some 4 ms to tokenize, less than most beats; handing over costs 0.1 ms
LONG_TOKENS = 4096  # token ids; some 4 ms to make text of


def keep_alive_of(request: Request) -> float | None:
    """Read for how long a request wants its model kept (s); None: it does not say.

    Raises:
        InvalidRequestError: It is no number.
    """
    if isinstance(request, GenerationRequest):
        asked = request.scheduling.keep_alive_s
    else:
        asked = request.keep_alive_s if isinstance(request, LoadRequest) else None
    if asked is not None and math.isnan(asked):
        msg = "`keep_alive_s` is no number; give seconds, or a negative number to keep the model."
        raise InvalidRequestError(msg, param="keep_alive_s")
    return -1.0 if asked == math.inf else asked


def work_aside(request: Request, engine: LLMEngine) -> Callable[[], Outcome] | None:
    """Give what is to be done in another thread; None for what is better done here."""
    if isinstance(request, TokenizeRequest) and len(request.text) > LONG_TEXT_CHARS:
        return partial(engine.tokenize, request)
    if isinstance(request, DetokenizeRequest) and len(request.token_ids) > LONG_TOKENS:
        return partial(engine.detokenize, request.token_ids)
    return None


def start_job(job: Job, resident: Resident) -> list[Event]:
    """Queue a job that takes many beats, or do one that takes none.

    Raises:
        CinqueError: It cannot be done.
    """
    request, engine = job.request, resident.engine
    outcome: Outcome
    match request:
        case GenerationRequest():
            engine.add(job, request)
            resident.request_ids.add(job.request_id)
            return []
        case EmbeddingRequest():
            return _queue_run(job, resident, engine.start_embedding(request))
        case RerankRequest():
            return _queue_run(job, resident, engine.start_ranking(request))
        case TokenizeRequest():
            outcome = engine.tokenize(request)
        case DetokenizeRequest():
            outcome = engine.detokenize(request.token_ids)
        case RenderRequest():
            outcome = engine.render(request.request)
        case DescribeRequest():
            properties = engine.describe()
            outcome = replace(properties, memory_bytes=resident.memory_bytes)
        case LoadRequest():
            outcome = describe(resident, resident.idle_since)
        case _:
            msg = f"{type(request).__name__} is no job of a loaded model; this is a defect."
            raise EngineError(msg)
    return [Finished(job.request_id, outcome)]


def embed_next(resident: Resident, counters: Counters) -> list[Event]:
    """Compute the next batch of the oldest job of vectors or scores."""
    embedding = resident.embeddings[0]
    try:
        embedding.run.advance()
    except CinqueError as error:
        resident.embeddings.popleft()
        return [Failed(embedding.job.request_id, error)]
    if not embedding.run.is_done:
        return []
    resident.embeddings.popleft()
    result = embedding.run.result(resident.model.model_id)
    counters.n_prompt_tokens += result.usage.prompt_tokens
    return [Finished(embedding.job.request_id, result)]


def _queue_run(job: Job, resident: Resident, run: EmbeddingRun | RerankRun) -> list[Event]:
    resident.embeddings.append(Embedding(job, run))
    resident.request_ids.add(job.request_id)
    return [Started(job.request_id)]
