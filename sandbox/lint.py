"""pylint's own score of a program, from a warm pylint behind the wall.

A rating never fails a request: what takes too long, crashes pylint or has no statement to rate has no score.
"""

import logging
import threading
from typing import Protocol

from sandbox.errors import ExecutionCancelledError, SandboxError
from sandbox.jobs import Job, Outcome
from sandbox.types import IsolationTier, Limits

_log = logging.getLogger(__name__)


class RunsJobs(Protocol):
    """Whatever can run a job to its end."""

    tier: IsolationTier

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run one job."""
        ...


def rate(
    runner: RunsJobs, code: str, filename: str, limits: Limits, cancelled: threading.Event | None = None
) -> float | None:
    """Return pylint's rating of the code, at most 10 and possibly below zero; None when there is none."""
    job = Job("lint", "lint", {"code": code, "filename": filename}, limits)
    try:
        outcome = runner.run(job, cancelled)
    except ExecutionCancelledError:
        raise
    except SandboxError as error:
        _log.warning("no lint score: %s", error)
        return None
    record = outcome.find("score")
    return None if record is None or record["value"] is None else round(float(record["value"]), 2)
