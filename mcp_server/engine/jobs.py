"""What crosses between the event loop and the worker thread: jobs and aborts one way, events the other.

Frozen values only, so neither side can touch what the other owns.
"""

from dataclasses import dataclass

from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    EmbeddingResult,
    GenerationRequest,
    GenerationResult,
    LoadedModel,
    TokenizeResult,
)
from mcp_server.errors import CinqueError


@dataclass(frozen=True)
class TokenizeRequest:
    """Tokenize one text."""

    text: str
    model: str | None = None


@dataclass(frozen=True)
class LoadRequest:
    """Make a model the loaded one."""

    model: str | None = None


Request = GenerationRequest | EmbeddingRequest | TokenizeRequest | LoadRequest
Outcome = GenerationResult | EmbeddingResult | TokenizeResult | LoadedModel


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
