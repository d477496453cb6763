"""Handlers of projects: sync, search, status, list, delete; each key's own, and gone some time after the last sync.

A project of another key, and one that has expired, is the same as none: 404. Expired ones are deleted by the next
sync or list of anybody.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from mcp_server.contract import ErrorCode, IndexProgress, IndexReport, IndexRequest, IndexStatus
from shim.doors.atlas.envelope import render_error
from shim.doors.atlas.lens import project_wire as wire
from shim.doors.atlas.lens import search_wire
from shim.doors.door import Call
from shim.errors import ApiError
from shim.gateway import OnIndexProgress
from shim.streaming import DONE, Emit, EventStream, sse, sse_json

FIELDS = {"documents": "files", "title": "project_name", "fingerprint": "project_hash"}  # of `index`, as named here


async def sync_project(call: Call[wire.SyncRequest]) -> wire.SyncResponse | Response:
    """Index a project's files; only those that changed are read and embedded.

    An equal `project_hash` is `already_synced` at once. With `stream: true` progress comes as server-sent events
    `{"stage", "done", "total"}`, then the answer as the event `result`, then `data: [DONE]`.
    """
    request = wire.index_request(call.body, call.key)
    await _remove_expired(call, but=request.collection)
    if call.body.stream:
        return _stream(call, request)
    return wire.sync_response(await _index(call, request))


async def search_project(call: Call[search_wire.SearchRequest]) -> search_wire.SearchResponse:
    """Find what answers a query in a project, best first, within the limits that the caller gives. No model answers."""
    project = await own_project(call, call.request.path_params["project_id"])
    result = await call.gateway.retrieve(search_wire.retrieve_request(call.body, project.collection))
    return search_wire.search_response(result)


async def get_project_status(call: Call[None]) -> wire.ProjectStatus:
    """Describe one project's index, and how much of it has dense vectors."""
    project = await own_project(call, call.request.path_params["project_id"])
    return wire.project_status(project, _ttl(call))


async def list_projects(call: Call[None]) -> wire.ProjectList:
    """List the projects of the caller's key."""
    owner = wire.owner_of(call.key)
    alive = await _remove_expired(call)
    own = [status for status in alive if status.metadata.get(wire.OWNER) == owner]
    return wire.ProjectList(projects=[wire.project_status(status, _ttl(call)) for status in own])


async def delete_project(call: Call[None]) -> wire.DeleteResponse:
    """Delete a project's index."""
    project = await own_project(call, call.request.path_params["project_id"])
    result = await call.gateway.delete_collection(project.collection)
    return wire.DeleteResponse(deleted=result.deleted, project_id=project.collection)


async def own_project(call: Call[Any], project_id: str) -> IndexStatus:
    """Return the project when it is the caller's.

    Raises:
        ApiError: collection_not_found, also for another key's project: its existence is nobody else's business.
    """
    msg = f"there is no project {project_id!r}; sync it first"
    missing = ApiError(ErrorCode.COLLECTION_NOT_FOUND, msg, param="project_id")
    try:
        status = await call.gateway.index_status(project_id)
    except ApiError as error:
        if error.code in {ErrorCode.INVALID_REQUEST, ErrorCode.COLLECTION_NOT_FOUND}:  # or no project can have the name
            raise missing from error
        raise
    if status.metadata.get(wire.OWNER) != wire.owner_of(call.key) or _is_expired(status, _ttl(call)):
        raise missing
    return status


async def _index(
    call: Call[wire.SyncRequest], request: IndexRequest, on_progress: OnIndexProgress | None = None
) -> IndexReport:
    """Index; what is wrong with a field is told by the field's name here."""
    try:
        return await call.gateway.index(request, on_progress)
    except ApiError as error:
        if error.param not in FIELDS:
            raise
        raise ApiError(error.code, error.message, param=FIELDS[error.param]) from error


def _stream(call: Call[wire.SyncRequest], request: IndexRequest) -> EventStream:
    async def produce(emit: Emit) -> None:
        async def on_progress(step: IndexProgress) -> None:
            await emit([sse(wire.SyncProgress.model_validate(step, from_attributes=True).model_dump_json())])

        answer = wire.sync_response(await _index(call, request, on_progress))
        await emit([sse(answer.model_dump_json(), event="result"), DONE])

    return EventStream(produce, lambda error: sse_json(render_error(error)) + DONE)


async def _remove_expired(call: Call[Any], but: str = "") -> tuple[IndexStatus, ...]:
    """Delete every key's expired projects but that of the name *but*; return the collections that stay."""
    collections = await call.gateway.list_collections()
    expired = [status for status in collections if status.collection != but and _is_expired(status, _ttl(call))]
    for status in expired:
        try:
            if _is_expired(
                await call.gateway.index_status(status.collection), _ttl(call)
            ):  # nobody synced it meanwhile
                await call.gateway.delete_collection(status.collection)
        except ApiError as error:  # another request was faster
            if error.code != ErrorCode.COLLECTION_NOT_FOUND:
                raise
    return tuple(status for status in collections if status not in expired)


def _ttl(call: Call[Any]) -> timedelta:
    return timedelta(seconds=call.services.settings.project_ttl_s)


def _is_expired(status: IndexStatus, ttl: timedelta) -> bool:
    """Whether *status* is of a project that nobody synced for *ttl*; 0 is for ever, and other collections stay."""
    if not ttl or wire.OWNER not in status.metadata or status.state == "indexing":
        return False
    return datetime.now(UTC) - datetime.fromisoformat(status.updated_at) > ttl
