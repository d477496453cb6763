"""Projects of the lens beyond their plain life: progress, expiry, several keys, any metadata, large bodies."""

import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from mcp_server.contract import IndexProgress, IndexReport, IndexRequest
from rag.index import Retrieval
from rag.settings import RagSettings
from shim.doors.atlas.lens import DOOR
from shim.doors.atlas.lens import project_wire as wire
from tests.retrieving import ScriptedRetrieval
from tests.stack import Exchange, connected_gateway, door_app, door_client, open_door, scripted_capabilities

SYNC = "/v1/projects/sync"
FILES = [{"path": "main.py", "content": "def main():\n    return 1\n"}]
PROJECT = {"project_name": "demo", "project_hash": "v1", "files": FILES}
STEPS = (IndexProgress("reading", 1, 4), IndexProgress("chunking", 2, 4), IndexProgress("embedding", 3, 4))


def key(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


async def sync(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    response = await client.post(SYNC, json={**PROJECT, **changes}, headers=headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def listed(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return list((await client.get("/v1/projects", headers=headers)).json()["projects"])


async def test_a_streamed_sync_tells_its_stages_and_then_the_same_answer(tmp_path: Path) -> None:
    retrieval = ScriptedRetrieval(tmp_path, STEPS)
    async with open_door(DOOR, tmp_path, retrieval=retrieval) as client:
        response = await client.post(SYNC, json={**PROJECT, "stream": True})
        status = (await listed(client))[0]
    *progress, result, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    first = json.loads(progress[0].removeprefix("data: "))
    assert first == {"stage": "reading", "done": 1, "total": 4}
    name, data = result.split("\n")
    answer = json.loads(data.removeprefix("data: "))
    assert name == "event: result"
    assert (answer["status"], answer["stats"]) == ("synced", status["stats"])


async def test_what_is_refused_before_any_progress_is_a_400_of_the_stream_too(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        response = await client.post(SYNC, json={**PROJECT, "project_hash": "x" * 1001, "stream": True})
    assert response.status_code == 400
    assert response.json()["param"] == "project_hash"


async def test_a_failure_after_progress_is_one_event_in_the_envelope(tmp_path: Path) -> None:
    class Failing(ScriptedRetrieval):
        def index(self, request: IndexRequest, on_progress: Any = None, cancelled: Any = None) -> IndexReport:
            on_progress(STEPS[0])
            return super().index(replace(request, documents=None), None, cancelled)

    async with open_door(DOOR, tmp_path, retrieval=Failing(tmp_path)) as client:
        response = await client.post(SYNC, json={**PROJECT, "stream": True})
    _, failure, done, _ = response.text.split("\n\n")
    assert set(json.loads(failure.removeprefix("data: "))) == {"detail", "code", "param"}
    assert done == "data: [DONE]"


@pytest.mark.parametrize("wait", [False, True])
async def test_a_sync_waits_for_dense_vectors_only_when_asked(tmp_path: Path, *, wait: bool) -> None:
    retrieval = ScriptedRetrieval(tmp_path)
    async with open_door(DOOR, tmp_path, retrieval=retrieval) as client:
        await sync(client, **({"wait_for_dense": True} if wait else {}))
    assert retrieval.indexed[-1].wait_for_dense is wait


async def test_errors_name_the_fields_of_the_door(tmp_path: Path) -> None:
    twice = [*FILES, *FILES]
    async with open_door(DOOR, tmp_path) as client:
        for changes, param in (
            ({"files": twice}, "files"),
            ({"project_hash": "x" * 1001}, "project_hash"),
            ({"metadata": {"x": "y" * 100_000}}, "metadata"),
            ({"metadata": "x"}, "metadata"),
            ({"files": [{"path": "a.py"}]}, "files.0.content"),
        ):
            response = await client.post(SYNC, json={**PROJECT, **changes})
            assert (response.status_code, response.json()["param"]) == (400, param)


async def test_metadata_of_any_form_comes_back_as_it_was(tmp_path: Path) -> None:
    metadata = {"owner": "someone", "n": 1, "nested": {"list": [None, True, 1.5, "é"]}}
    async with open_door(DOOR, tmp_path) as client:
        await sync(client, metadata=metadata)
        assert (await listed(client))[0]["metadata"] == metadata


async def test_metadata_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        content = b'{"project_name": "demo", "files": [], "metadata": {"n": NaN}}'
        response = await client.post(SYNC, content=content, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["param"]) == (400, "metadata")


async def test_a_project_expires_after_its_last_sync_for_its_owner_and_from_disk(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, project_ttl_s=0) as client:
        identifier = (await sync(client, key("mine")))["project_id"]
        assert (await listed(client, key("mine")))[0]["expires_at"] is None
    retrieval = ScriptedRetrieval(tmp_path)
    async with open_door(DOOR, tmp_path, retrieval=retrieval, project_ttl_s=1e-6) as client:
        for method, path in (("GET", "/status"), ("DELETE", "")):
            response = await client.request(method, f"/v1/projects/{identifier}{path}", headers=key("mine"))
            assert response.status_code == 404
        chat = {"messages": [{"role": "user", "content": "x"}], "project_id": identifier}
        assert (await client.post("/v1/chat/completions", json=chat, headers=key("mine"))).status_code == 404
        assert await listed(client, key("yours")) == []
        assert retrieval.list_collections().collections == ()


async def test_only_projects_expire_and_never_the_one_being_synced(tmp_path: Path) -> None:
    retrieval = ScriptedRetrieval(tmp_path)
    retrieval.index(IndexRequest("mine", documents=()))
    async with open_door(DOOR, tmp_path, retrieval=retrieval, project_ttl_s=1e-6) as client:
        assert (await sync(client))["status"] == "synced"
        assert (await sync(client))["status"] == "already_synced"
        assert await listed(client) == []
    again = Retrieval(RagSettings(home=tmp_path, dense=False))
    assert [status.collection for status in again.list_collections().collections] == ["mine"]


async def test_a_sync_without_changes_puts_the_expiry_off(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, project_ttl_s=60) as client:
        await sync(client)
        (before,) = await listed(client)
        while datetime.now(UTC) <= datetime.fromisoformat(before["updated_at"]) + timedelta(milliseconds=1):
            await anyio.lowlevel.checkpoint()
        assert (await sync(client))["status"] == "already_synced"
        (after,) = await listed(client)
    assert after["updated_at"] > before["updated_at"]
    expected = datetime.fromisoformat(after["updated_at"]) + timedelta(seconds=60)
    assert datetime.fromisoformat(after["expires_at"]) == expected


async def test_each_of_several_keys_has_its_own_projects_and_others_are_refused(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, api_key="first", api_keys=("second", "third")) as client:
        synced = {name: (await sync(client, key(name)))["project_id"] for name in ("first", "second")}
        for name, expected in (("first", [synced["first"]]), ("second", [synced["second"]]), ("third", [])):
            assert [project["project_id"] for project in await listed(client, key(name))] == expected
        for headers in ({}, key("fourth"), key("")):
            assert (await client.get("/v1/projects", headers=headers)).status_code == 401


class GatedRetrieval(ScriptedRetrieval):
    """Holds each indexing until its gate opens, and counts those inside."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)

    def one_entered(self) -> bool:
        return self.entered.acquire(timeout=5)

    def index(self, request: IndexRequest, on_progress: Any = None, cancelled: Any = None) -> IndexReport:
        self.entered.release()
        assert self.gate.wait(5)
        return super().index(request, on_progress, cancelled)


@asynccontextmanager
async def gated(home: Path) -> AsyncIterator[tuple[GatedRetrieval, Any]]:
    retrieval = GatedRetrieval(home)
    async with connected_gateway(scripted_capabilities(home, retrieval=retrieval)) as gateway:
        try:
            yield retrieval, gateway
        finally:
            retrieval.gate.set()


async def test_large_syncs_beyond_the_limit_wait_unread_while_small_ones_go_on(tmp_path: Path) -> None:
    def body(name: str, size: int) -> dict[str, Any]:
        return {"project_name": name, "files": [{"path": "a.py", "content": "x" * size}]}

    async with gated(tmp_path) as (retrieval, gateway), anyio.create_task_group() as group:
        app = door_app(DOOR, gateway, max_body_bytes=2000, max_large_bodies=1)
        large, waiting = (Exchange(app, SYNC, body(name, 3000)) for name in "ab")

        small = Exchange(app, SYNC, body("c", 3), [(b"content-length", b"100")])
        group.start_soon(large.run)
        assert await anyio.to_thread.run_sync(retrieval.one_entered)
        group.start_soon(waiting.run)
        group.start_soon(small.run)
        assert await anyio.to_thread.run_sync(retrieval.one_entered)
        assert not retrieval.entered.acquire(blocking=False)
        retrieval.gate.set()
        for exchange in (large, waiting, small):
            await exchange.until(lambda e: e.is_complete)
            assert exchange.status == 200
            exchange.leave()


async def test_a_large_body_within_the_limits_is_synced(tmp_path: Path) -> None:
    files = [{"path": f"{i}.md", "content": "word\n" * 2000} for i in range(20)]
    capabilities = scripted_capabilities(tmp_path)
    async with (
        connected_gateway(capabilities) as gateway,
        door_client(DOOR, gateway, max_body_bytes=10_000) as client,
    ):
        assert (await sync(client, files=files))["stats"]["loc_indexed"] == 40_000


class FirstIndexing(Retrieval):
    """Holds an indexing at its first step of a stage until its gate opens, and says when it is there."""

    def __init__(self, home: Path, stage: str) -> None:
        super().__init__(RagSettings(home=home, dense=False))
        self.gate = threading.Event()
        self.is_held = threading.Event()
        self._stage = stage

    def index(self, request: IndexRequest, on_progress: Any = None, cancelled: Any = None) -> IndexReport:
        def held(step: IndexProgress) -> None:
            if step.stage == self._stage:
                self.is_held.set()
                assert self.gate.wait(5)
            if on_progress is not None:
                on_progress(step)

        return super().index(request, held, cancelled)


@pytest.mark.parametrize("stage", ["reading", "chunking"])
async def test_a_project_whose_first_index_is_being_made_is_indexing_and_not_a_404(tmp_path: Path, stage: str) -> None:
    retrieval = FirstIndexing(tmp_path, stage)
    async with open_door(DOOR, tmp_path, retrieval=retrieval) as client, anyio.create_task_group() as group:
        identifier = wire.project_id("demo", "mine")
        path = f"/v1/projects/{identifier}/status"
        assert (await client.get(path, headers=key("mine"))).status_code == 404
        group.start_soon(sync, client, key("mine"))
        assert await anyio.to_thread.run_sync(retrieval.is_held.wait, 5)
        response = await client.get(path, headers=key("mine"))
        assert (await client.get(path, headers=key("yours"))).status_code == 404
        retrieval.gate.set()
        status = response.json()
    assert response.status_code == 200
    assert (status["status"], status["project_name"]) == ("indexing", "demo")
    assert status["progress"] == {"stage": stage, "done": 0, "total": 1}
    assert status["stats"] == {"files_indexed": 0, "chunks_created": 0, "loc_indexed": 0}


async def test_a_project_that_is_ready_has_no_progress(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        identifier = (await sync(client))["project_id"]
        status = (await client.get(f"/v1/projects/{identifier}/status")).json()
    assert (status["status"], status["progress"]) == ("ready", None)
