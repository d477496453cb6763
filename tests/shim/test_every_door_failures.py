"""What every door answers when the fault is ours: the MCP server is down, a queue is full, a defect."""

import json
import logging
from pathlib import Path

import httpx
import pytest

from mcp_server.engine.types import Engine
from mcp_server.errors import EngineError, QueueFullError
from mcp_server.telemetry import JsonLines
from sandbox.errors import SandboxBusyError
from shim.doors import DOORS
from shim.doors.door import Door, Endpoint
from tests.fakes import ScriptedEngine
from tests.stack import ScriptedSandbox, closed_door, open_door, path_of, smallest_body

SECRET = "the secret inside"  # noqa: S105 - what no client may read
BY_NAME = {door.name: door for door in DOORS}
HEALTH = [(door, endpoint) for door in DOORS for endpoint in door.endpoints if endpoint.path == "/health"]
WORK = [
    (door, endpoint)
    for door in DOORS
    for endpoint in door.endpoints
    if endpoint.path != "/health" and not endpoint.is_static
]
GENERATES = [(BY_NAME["atlas-proxy"], "/v1/chat/completions")]
EXECUTES = [(BY_NAME["atlas-sandbox"], "/execute")]


def broken(error: Exception) -> tuple[Engine, ScriptedSandbox]:
    """Make an engine and a sandbox that answer everything with *error*."""
    return ScriptedEngine([error]), ScriptedSandbox([error])


def assert_refused(response: httpx.Response, door: Door, status: int) -> None:
    assert response.status_code == status, response.text
    door.error.model_validate_json(response.content, strict=True)
    assert SECRET not in response.text
    assert "Traceback" not in response.text


async def post(client: httpx.AsyncClient, door: Door, path: str, **more: object) -> httpx.Response:
    endpoint = next(endpoint for endpoint in door.endpoints if endpoint.path == path)
    return await client.post(path, json={**smallest_body(endpoint), **more}, headers={"x-request-id": "the-id"})


@pytest.mark.parametrize(("door", "endpoint"), WORK, ids=lambda value: getattr(value, "name", None) or value.path)
async def test_without_the_server_every_endpoint_is_a_503(door: Door, endpoint: Endpoint) -> None:
    async with closed_door(door, retry_after_s=7) as client:
        body = smallest_body(endpoint) if endpoint.body else None
        response = await client.request(endpoint.method, path_of(endpoint), json=body)
        assert_refused(response, door, 503)
        assert response.headers["retry-after"] == "7"
        assert "backend_unavailable" in response.text


@pytest.mark.parametrize(("door", "endpoint"), HEALTH, ids=lambda value: getattr(value, "name", None) or value.path)
async def test_health_tells_the_truth(door: Door, endpoint: Endpoint, tmp_path: Path) -> None:
    assert endpoint.response is not None
    async with open_door(door, tmp_path) as client:
        well = await client.get("/health")
    async with closed_door(door) as client:
        down = await client.get("/health")
    assert (well.status_code, down.status_code) == (200, 503)
    assert well.json()["status"] != down.json()["status"]
    for response in (well, down):
        endpoint.response.model_validate_json(response.content, strict=True)


@pytest.mark.parametrize(("door", "path"), [*GENERATES, *EXECUTES], ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("error", [QueueFullError("256 requests wait"), SandboxBusyError("8 jobs wait")], ids=repr)
async def test_a_full_queue_is_a_503_in_the_envelope_of_the_door(
    door: Door, path: str, error: Exception, tmp_path: Path
) -> None:
    engine, sandbox = broken(error)
    async with open_door(door, tmp_path, engine=engine, sandbox=sandbox) as client:
        response = await post(client, door, path)
        assert_refused(response, door, 503)
        assert response.headers["retry-after"] == "1"
        assert str(error) in response.text


@pytest.mark.parametrize(("door", "path"), [*GENERATES, *EXECUTES], ids=lambda value: getattr(value, "name", value))
async def test_a_failure_with_a_code_of_ours_keeps_its_message(door: Door, path: str, tmp_path: Path) -> None:
    engine, sandbox = broken(EngineError("llama_decode returned -3"))
    async with open_door(door, tmp_path, engine=engine, sandbox=sandbox) as client:
        response = await post(client, door, path)
        assert_refused(response, door, 500)
        assert "retry-after" not in response.headers
        assert "llama_decode returned -3" in response.text


@pytest.mark.parametrize(("door", "path"), [*GENERATES, *EXECUTES], ids=lambda value: getattr(value, "name", value))
async def test_a_defect_is_a_500_that_only_the_log_explains(
    door: Door, path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(JsonLines())
    engine, sandbox = broken(RuntimeError(SECRET))
    async with open_door(door, tmp_path, engine=engine, sandbox=sandbox) as client:
        assert_refused(await post(client, door, path), door, 500)
    (line,) = [json.loads(line) for line in caplog.text.splitlines() if "traceback" in line]
    assert line["request_id"] == "the-id"
    assert f"RuntimeError: {SECRET}" in line["traceback"]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_a_defect_in_a_handler_is_a_500_under_the_request_id(
    door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    caplog.handler.setFormatter(JsonLines())
    endpoint = next(
        endpoint
        for endpoint in door.endpoints
        if not endpoint.body and endpoint.path != "/health" and not endpoint.is_static
    )

    async with closed_door(door) as client:
        monkeypatch.setattr("shim.gateway.Gateway._wait_for_link", defect)  # every handler calls through it
        response = await client.request(endpoint.method, path_of(endpoint), headers={"x-request-id": "the-id"})
    assert_refused(response, door, 500)
    assert "the-id" in response.text
    (line,) = [json.loads(line) for line in caplog.text.splitlines()]
    assert (line["request_id"], line["door"]) == ("the-id", door.name)
    assert SECRET in line["traceback"]


async def defect(_: object) -> None:
    raise RuntimeError(SECRET)
