"""Handlers of the ATLAS lens: scores, projects, health."""

from starlette.responses import JSONResponse, Response

from mcp_server.contract import ErrorCode, IndexStatus
from shim.doors.atlas.lens import wire
from shim.doors.door import Call, Endpoint
from shim.errors import ApiError

UNAVAILABLE = 503


async def gx_score(call: Call[wire.ScoreRequest]) -> wire.ScoreResponse:
    """Score code by cost field and quality, without running it."""
    return wire.score_response(await call.gateway.score(call.body.text))


async def analyze_sandbox_result(call: Call[wire.AnalyzeRequest]) -> wire.AnalyzeResponse:
    """Explain why a run failed, and write the prompt that asks a model to repair it; executes nothing."""
    body = call.body
    found = await call.gateway.analyze_failure(wire.failure_report(body), include_gx=body.include_gx)
    return wire.analyze_response(body, found)


async def sync_project(call: Call[wire.SyncRequest]) -> wire.SyncResponse:
    """Index a project's files; only those that changed are read and embedded."""
    request = wire.index_request(call.body, call.key)
    return wire.sync_response(await call.gateway.index(request))


async def get_project_status(call: Call[None]) -> wire.ProjectStatus:
    """Describe one project's index."""
    return wire.project_status(await _own_project(call))


async def list_projects(call: Call[None]) -> wire.ProjectList:
    """List the projects of the caller's key."""
    owner = wire.owner_of(call.key)
    collections = await call.gateway.list_collections()
    return wire.ProjectList(
        projects=[wire.project_status(status) for status in collections if status.metadata.get(wire.OWNER) == owner]
    )


async def delete_project(call: Call[None]) -> wire.DeleteResponse:
    """Delete a project's index."""
    project = await _own_project(call)
    result = await call.gateway.delete_collection(project.collection)
    return wire.DeleteResponse(deleted=result.deleted, project_id=project.collection)


async def _own_project(call: Call[None]) -> IndexStatus:
    """Return the project of the path when it is the caller's.

    Raises:
        ApiError: collection_not_found, also for another key's project: its existence is nobody else's business.
    """
    name = call.request.path_params["project_id"]
    missing = ApiError(ErrorCode.COLLECTION_NOT_FOUND, f"there is no project {name!r}; sync it first")
    try:
        status = await call.gateway.index_status(name)
    except ApiError as error:
        if error.code == ErrorCode.INVALID_REQUEST:  # a name that no project can have
            raise missing from error
        raise
    if status.metadata.get(wire.OWNER) != wire.owner_of(call.key):
        raise missing
    return status


async def health(call: Call[None]) -> Response:
    """Say whether scoring and retrieval answer; 503 when not."""
    try:
        status = await call.gateway.status()
    except ApiError as error:
        body = wire.Health(status="unhealthy", lens_enabled=False, retrieval=False, detail=error.message)
        return JSONResponse(body.model_dump(), status_code=UNAVAILABLE)
    retrieval = status.retrieval
    body = wire.Health(
        status="healthy" if retrieval.ready else "unhealthy",
        lens_enabled=status.lens_ready,
        retrieval=retrieval.ready,
        detail=retrieval.detail,
    )
    return JSONResponse(body.model_dump(), status_code=200 if retrieval.ready else UNAVAILABLE)


ENDPOINTS = (
    Endpoint(
        "POST",
        "/internal/lens/gx-score",
        gx_score,
        "Score code",
        body=wire.ScoreRequest,
        response=wire.ScoreResponse,
    ),
    Endpoint(
        "POST",
        "/internal/sandbox/analyze",
        analyze_sandbox_result,
        "Explain a failed run",
        body=wire.AnalyzeRequest,
        response=wire.AnalyzeResponse,
    ),
    Endpoint(
        "POST",
        "/v1/projects/sync",
        sync_project,
        "Sync a project",
        body=wire.SyncRequest,
        response=wire.SyncResponse,
        max_body_bytes=lambda settings: settings.max_sync_body_bytes,
    ),
    Endpoint(
        "GET",
        "/v1/projects/{project_id}/status",
        get_project_status,
        "Status of a project",
        response=wire.ProjectStatus,
    ),
    Endpoint("GET", "/v1/projects", list_projects, "List projects", response=wire.ProjectList),
    Endpoint("DELETE", "/v1/projects/{project_id}", delete_project, "Delete a project", response=wire.DeleteResponse),
    Endpoint("GET", "/health", health, "Health", response=wire.Health, is_open=True),
)
