"""What crosses between the event loop and the worker thread: jobs and aborts one way, events the other.

Frozen values only, so neither side can touch what the other owns.
"""

import logging
from dataclasses import dataclass

from mcp_server.engine.types import (
    Delta,
    DetokenizeResult,
    EmbeddingRequest,
    EmbeddingResult,
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
)
from mcp_server.errors import CinqueError, EngineError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetokenizeRequest:
    """Make text of token ids."""

    token_ids: tuple[int, ...]
    model: str | None = None


@dataclass(frozen=True)
class RenderRequest:
    """Give the prompt of a request without computing it."""

    request: GenerationRequest

    @property
    def model(self) -> str | None:
        """The model whose template and tokens are meant."""
        return self.request.model


@dataclass(frozen=True)
class DescribeRequest:
    """Tell what a model is and can do."""

    model: str | None = None


@dataclass(frozen=True)
class LoadRequest:
    """Load a model."""

    model: str | None = None
    keep_alive_s: float | None = None


@dataclass(frozen=True)
class UnloadRequest:
    """Free a model's memory."""

    model: str | None = None


Request = (
    GenerationRequest
    | EmbeddingRequest
    | RerankRequest
    | TokenizeRequest
    | DetokenizeRequest
    | RenderRequest
    | DescribeRequest
    | LoadRequest
    | UnloadRequest
)
Outcome = (
    GenerationResult
    | EmbeddingResult
    | RerankResult
    | TokenizeResult
    | DetokenizeResult
    | RenderedPrompt
    | ModelProperties
    | LoadedModel
    | Unloaded
)


@dataclass(frozen=True)
class Job:
    """One request on its way to the worker."""

    request_id: int
    request: Request
    submitted_at: float  # time.perf_counter()


@dataclass(frozen=True)
class Abort:
    """Nobody waits for this request any more."""

    request_id: int


@dataclass(frozen=True)
class Started:
    """The request left the queue."""

    request_id: int


@dataclass(frozen=True)
class Progress:
    """New text of the request."""

    request_id: int
    delta: Delta


@dataclass(frozen=True)
class Finished:
    """The request is done."""

    request_id: int
    outcome: Outcome


@dataclass(frozen=True)
class Failed:
    """The request cannot be done."""

    request_id: int
    error: CinqueError


Event = Started | Progress | Finished | Failed


def failed(request_id: int, error: BaseException) -> Failed:
    """Make the event of an error; one that nobody foresaw is logged with its traceback and told by its kind alone."""
    if isinstance(error, CinqueError):
        return Failed(request_id, error)
    _log.error("request %d failed", request_id, exc_info=error)
    msg = f"This request could not be done ({type(error).__name__}); the log of the server has more."
    return Failed(request_id, EngineError(msg))
