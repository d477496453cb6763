"""One request being generated: its sequences, its deadline, and the times that its timings are made of.

Knows nothing of batches or native code; the engine fills in what happened.
"""

from dataclasses import dataclass

from mcp_server.engine.jobs import Job
from mcp_server.engine.sequence import Sequence
from mcp_server.engine.types import GenerationRequest, Timings
from mcp_server.errors import DeadlineError, InvalidRequestError


@dataclass
class ActiveRequest:
    """A request whose sequences are queued or running."""

    job: Job
    request: GenerationRequest
    sequences: list[Sequence]
    started_at: float | None = None  # first batch; on the engine's clock, as the next
    first_token_at: float | None = None

    @property
    def is_done(self) -> bool:
        """Tell whether every completion has ended."""
        return all(sequence.finish_reason for sequence in self.sequences)

    @property
    def deadline_at(self) -> float | None:
        """When it fails unless it is done."""
        deadline_ms = self.request.scheduling.deadline_ms
        return None if deadline_ms is None else self.job.submitted_at + deadline_ms / 1000

    def deadline_error(self) -> DeadlineError:
        """Say how far it came."""
        n_tokens = sum(sequence.n_output for sequence in self.sequences)
        where = "while it waited for a slot" if self.started_at is None else "while its prompt was computed"
        if self.first_token_at is not None:
            where = f"after {n_tokens} tokens"
        msg = f"The request was not done within {self.request.scheduling.deadline_ms:g} ms: it ended {where}."
        return DeadlineError(f"{msg} Give it more time or ask for fewer tokens.", param="deadline_ms")

    def timings(self, ended_at: float) -> Timings:
        """Tell where its time went."""
        submitted_at = self.job.submitted_at
        started_at = self.started_at or submitted_at
        first_token_at = self.first_token_at or ended_at  # a prompt alone was asked for
        marks = (started_at - submitted_at, first_token_at - started_at, ended_at - first_token_at)
        return Timings(*(seconds * 1000 for seconds in marks))


def check_scheduling(request: GenerationRequest) -> None:
    """Refuse times that have passed before they begin.

    Raises:
        InvalidRequestError: The first field that cannot be used, named in `param`.
    """
    times = (
        ("deadline_ms", request.scheduling.deadline_ms),
        ("max_decode_ms", request.sampling.max_decode_ms),
    )
    for param, value in times:
        if value is not None and not 0 < value < float("inf"):
            msg = f"`{param}` is {value}; it must be above 0 ms, or left out."
            raise InvalidRequestError(msg, param=param)
