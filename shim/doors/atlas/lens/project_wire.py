"""Projects on the wire, with the documented counts.

A project belongs to the key that synced it: its id is made from name and key, and another key neither lists nor
deletes it. Without keys everything belongs to the one local user. What is the caller's own metadata may be any JSON.
"""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from mcp_server.contract import Document, IndexReport, IndexRequest, IndexStatus

OWNER = "lens:owner"  # members of a collection's metadata
GIVEN = "lens:metadata"
ID_HEX_DIGITS = 16
SKIPPED_SHOWN = 3  # enough to see the pattern; the rest would be the size of the request


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
    metadata: dict[str, Any] | None = Field(default=None, description="Yours; kept and returned as it is")

    @field_validator("metadata")
    @classmethod
    def _is_json(cls, metadata: dict[str, Any] | None) -> dict[str, Any] | None:
        json.dumps(metadata, allow_nan=False)  # a ValueError: what JSON cannot hold would not come back as it was
        return metadata

    wait_for_dense: bool = Field(
        default=False, description="Answer when every chunk has its dense vector, not as soon as words can be searched"
    )
    stream: bool = Field(default=False, description="Answer with server-sent events: progress, then the result")


class SyncProgress(BaseModel):
    """How far one stage of a sync is."""

    stage: Literal["reading", "chunking", "weighing", "model", "embedding", "committing"]
    done: int
    total: int


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
    status: Literal["ready", "indexing", "embedding"] = Field(
        description="embedding: it can be searched; behind, dense vectors fill in or their model is converted"
    )
    progress: SyncProgress | None = Field(
        default=None, description="How far what goes on is; null when it is ready, or where that is not known"
    )
    stats: ProjectStats
    dense_chunks: int
    pending_chunks: int = Field(description="Chunks that have no dense vector yet")
    embedding_model: str
    created_at: str
    updated_at: str
    expires_at: str | None = Field(description="When it is deleted unless it is synced before; null: never")
    metadata: dict[str, Any]


class ProjectList(BaseModel):
    """Every project of the caller's key."""

    projects: list[ProjectStatus]


class DeleteResponse(BaseModel):
    """A project that is gone."""

    deleted: bool
    project_id: str


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
        metadata={OWNER: owner_of(key), GIVEN: json.dumps(body.metadata or {})},
        wait_for_dense=body.wait_for_dense,
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


def project_status(status: IndexStatus, ttl: timedelta) -> ProjectStatus:
    """Translate one collection, which expires *ttl* after its last sync, or never when that is 0."""
    expires_at = datetime.fromisoformat(status.updated_at) + ttl if ttl and status.updated_at else None
    return ProjectStatus(
        project_id=status.collection,
        project_name=status.title,
        project_hash=status.fingerprint,
        status=status.state,
        progress=status.progress and SyncProgress.model_validate(status.progress, from_attributes=True),
        stats=ProjectStats(files_indexed=status.n_files, chunks_created=status.n_chunks, loc_indexed=status.n_lines),
        dense_chunks=status.n_dense,
        pending_chunks=status.n_pending,
        embedding_model=status.embedding_model,
        created_at=status.created_at,
        updated_at=status.updated_at,
        expires_at=expires_at and expires_at.isoformat(timespec="milliseconds"),
        metadata=json.loads(status.metadata.get(GIVEN, "{}")),
    )
