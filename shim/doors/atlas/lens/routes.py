"""The endpoints of the ATLAS lens, and the handlers of its scores, analyses and health."""

from starlette.responses import JSONResponse, Response

from shim.dialects.openai_models import ModelsPage
from shim.doors.atlas.lens import chat, chat_wire, project_wire, projects, search_wire, wire
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
        projects.sync_project,
        "Sync a project",
        body=project_wire.SyncRequest,
        response=project_wire.SyncResponse,
        event=project_wire.SyncProgress,
        max_body_bytes=lambda settings: settings.max_sync_body_bytes,
    ),
    Endpoint(
        "POST",
        "/v1/projects/{project_id}/search",
        projects.search_project,
        "Search a project",
        body=search_wire.SearchRequest,
        response=search_wire.SearchResponse,
    ),
    Endpoint(
        "GET",
        "/v1/projects/{project_id}/status",
        projects.get_project_status,
        "Status of a project",
        response=project_wire.ProjectStatus,
    ),
    Endpoint("GET", "/v1/projects", projects.list_projects, "List projects", response=project_wire.ProjectList),
    Endpoint(
        "DELETE",
        "/v1/projects/{project_id}",
        projects.delete_project,
        "Delete a project",
        response=project_wire.DeleteResponse,
    ),
    Endpoint(
        "POST",
        "/v1/chat/completions",
        chat.chat_completions,
        "Chat completion, grounded in a project",
        body=chat_wire.LensChatRequest,
        response=chat_wire.LensChatCompletion,
        event=chat_wire.LensChunk,
    ),
    Endpoint("GET", "/v1/models", chat.list_models, "List models", response=ModelsPage),
    Endpoint("GET", "/health", health, "Health", response=wire.Health, is_open=True),
)
