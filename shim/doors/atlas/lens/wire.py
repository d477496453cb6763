"""The lens' JSON: scores, and projects with the documented counts.

A project belongs to the key that synced it: its id is made from name and key, and another key neither lists nor
deletes it. Without keys everything belongs to the one local user.
"""

import hashlib
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from mcp_server.contract import (
    AnalyzedFailure,
    Document,
    FailureReport,
    IndexReport,
    IndexRequest,
    IndexStatus,
    Score,
    Verdict,
)

OWNER = "owner"  # member of a collection's metadata
ID_HEX_DIGITS = 16
STDOUT_CHARS = 4000  # as /execute
STDERR_CHARS = 2000  # as /execute
SKIPPED_SHOWN = 3  # enough to see the pattern; the rest would be the size of the request


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


class ProjectFile(BaseModel):
    """One file of a project."""

    path: str = Field(min_length=1, description="Path relative to the project's root")
    content: str
    hash: str | None = Field(default=None, description="SHA-256 of the content in hex; checked when given")

    @model_validator(mode="after")
    def _hash_fits(self) -> Self:
        if self.hash is not None and self.hash.lower() != hashlib.sha256(self.content.encode()).hexdigest():
            msg = f"hash of {self.path!r} is not the SHA-256 of its content; the file was changed on its way"
            raise ValueError(msg)
        return self


class SyncRequest(BaseModel):
    """A whole project: files that are not in it leave the index."""

    project_name: str = Field(min_length=1, max_length=200)
    project_hash: str = Field(default="", description="Your hash of the whole; equal to the last one: nothing to do")
    files: list[ProjectFile]
    metadata: dict[str, str] | None = None


class ProjectStats(BaseModel):
    """Size of an index."""

    files_indexed: int
    chunks_created: int
    loc_indexed: int


class SyncResponse(BaseModel):
    """What the sync did."""

    project_id: str
    status: Literal["synced", "already_synced"]
    stats: ProjectStats
    sync_time_ms: int
    message: str


class ProjectStatus(BaseModel):
    """One indexed project."""

    project_id: str
    project_name: str
    project_hash: str
    status: Literal["ready", "indexing"]
    stats: ProjectStats
    dense_chunks: int
    embedding_model: str
    created_at: str
    updated_at: str
    metadata: dict[str, str]


class ProjectList(BaseModel):
    """Every project of the caller's key."""

    projects: list[ProjectStatus]


class DeleteResponse(BaseModel):
    """A project that is gone."""

    deleted: bool
    project_id: str


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


def owner_of(key: str) -> str:
    """Return the name under which *key*'s projects are kept; the key itself is not stored."""
    return hashlib.sha256(key.encode()).hexdigest()[:ID_HEX_DIGITS] if key else "local"


def project_id(name: str, key: str) -> str:
    """Return the id of the project *name* of *key*."""
    return "proj_" + hashlib.sha256(f"{name}\0{key}".encode()).hexdigest()[:ID_HEX_DIGITS]


def index_request(body: SyncRequest, key: str) -> IndexRequest:
    """Translate a sync."""
    return IndexRequest(
        collection=project_id(body.project_name, key),
        documents=tuple(Document(path=file.path, content=file.content) for file in body.files),
        fingerprint=body.project_hash,
        title=body.project_name,
        metadata={**(body.metadata or {}), OWNER: owner_of(key)},
    )


def sync_response(report: IndexReport) -> SyncResponse:
    """Translate what an indexing did."""
    changes = f"{report.n_files_changed} files changed, {report.n_files_deleted} deleted, {report.n_skipped} skipped"
    if report.skipped:
        shown = "; ".join(f"{skipped.path}: {skipped.reason}" for skipped in report.skipped[:SKIPPED_SHOWN])
        changes += f" (first of them: {shown})"
    return SyncResponse(
        project_id=report.collection,
        status="already_synced" if report.already_synced else "synced",
        stats=ProjectStats(files_indexed=report.n_files, chunks_created=report.n_chunks, loc_indexed=report.n_lines),
        sync_time_ms=report.duration_ms,
        message="nothing has changed since the last sync" if report.already_synced else changes,
    )


def project_status(status: IndexStatus) -> ProjectStatus:
    """Translate one collection."""
    return ProjectStatus(
        project_id=status.collection,
        project_name=status.title,
        project_hash=status.fingerprint,
        status=status.state,
        stats=ProjectStats(files_indexed=status.n_files, chunks_created=status.n_chunks, loc_indexed=status.n_lines),
        dense_chunks=status.n_dense,
        embedding_model=status.embedding_model,
        created_at=status.created_at,
        updated_at=status.updated_at,
        metadata={key: value for key, value in status.metadata.items() if key != OWNER},
    )
