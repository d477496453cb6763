"""The lens' JSON of scores, of analyses and of its health; projects and chat have theirs beside it."""

from typing import Literal

from pydantic import BaseModel, Field

from mcp_server.contract import AnalyzedFailure, FailureReport, Score, Verdict

STDOUT_CHARS = 4000  # as /execute
STDERR_CHARS = 2000  # as /execute


class ScoreRequest(BaseModel):
    """Code to judge."""

    text: str = Field(description="The code")


class ScoreResponse(BaseModel):
    """How likely it is to be correct. While `enabled` is false the numbers are neutral and mean nothing."""

    cx_energy: float
    cx_normalized: float
    gx_score: float
    verdict: str
    gx_available: bool
    enabled: bool
    latency_ms: float


class AnalyzeRequest(BaseModel):
    """A run that is to be explained: what was run, and the fields of the sandbox's answer."""

    code: str = Field(description="The program that ran")
    stdout: str = Field(default="", description="Its standard output")
    stderr: str = Field(default="", description="Its standard error, or its compiler's")
    passed: bool = Field(default=False, description="Whether it passed")
    expected_output: str | None = Field(default=None, description="What it should have printed; empty means unknown")
    include_gx: bool = Field(default=True, description="Score the code with the lens, where one is loaded")
    language: str = Field(default="python", description="Language or alias")
    verdict: Verdict | None = Field(default=None, description="Of /execute; outweighs the texts")
    error_type: str | None = Field(default=None, description="Of /execute; outweighs the texts")
    error_message: str | None = Field(default=None, description="Of /execute")


class Frame(BaseModel):
    """One call on the way to the error."""

    file: str
    line: int
    function: str
    code: str | None


class AnalyzeResponse(BaseModel):
    """Why the run failed. Scores are null, and `gx_note` says why, unless a lens is loaded and was asked."""

    passed: bool
    failure_type: str
    failure_line: int | None
    failure_message: str
    is_recoverable: bool
    severity: str
    traceback_frames: list[Frame]
    suggestion: str | None
    repair_prompt: str
    stdout: str
    stderr: str
    raw_error_class: str | None
    gx_score: float | None
    gx_available: bool
    cx_energy: float | None
    cx_normalized: float | None
    verdict: str | None = Field(description="The lens' verdict, as in gx-score")
    gx_note: str | None


class Health(BaseModel):
    """Whether scoring and retrieval answer; `lens_enabled` says whether weights are loaded."""

    status: Literal["healthy", "unhealthy"]
    service: Literal["geometric-lens"] = "geometric-lens"
    lens_enabled: bool
    retrieval: bool
    detail: str


def score_response(score: Score) -> ScoreResponse:
    """Translate a score."""
    return ScoreResponse.model_validate(score, from_attributes=True)


def failure_report(body: AnalyzeRequest) -> FailureReport:
    """Translate a run; clients send an empty `expected_output` when they expect nothing in particular."""
    return FailureReport(
        **body.model_dump(exclude={"include_gx", "expected_output"}), expected_output=body.expected_output or None
    )


def analyze_response(body: AnalyzeRequest, found: AnalyzedFailure) -> AnalyzeResponse:
    """Translate an analysis; the run's texts go back with it, cut as /execute cuts them."""
    analysis, score = found.analysis, found.score
    return AnalyzeResponse(
        passed=analysis.passed,
        failure_type=analysis.failure_type,
        failure_line=analysis.failure_line,
        failure_message=analysis.failure_message,
        is_recoverable=analysis.is_recoverable,
        severity=analysis.severity,
        traceback_frames=[Frame.model_validate(frame, from_attributes=True) for frame in analysis.traceback_frames],
        suggestion=analysis.suggestion,
        repair_prompt=analysis.repair_prompt,
        stdout=body.stdout[-STDOUT_CHARS:],
        stderr=body.stderr[-STDERR_CHARS:],
        raw_error_class=analysis.error_class,
        gx_score=score.gx_score if score else None,
        gx_available=score is not None and score.gx_available,
        cx_energy=score.cx_energy if score else None,
        cx_normalized=score.cx_normalized if score else None,
        verdict=score.verdict if score else None,
        gx_note=found.score_note or None,
    )
