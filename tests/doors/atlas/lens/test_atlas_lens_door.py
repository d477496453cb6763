"""The ATLAS lens: scores of a machine without weights, and projects that belong to the key that synced them."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server.contract import Score
from rag.index import Retrieval
from rag.settings import RagSettings
from shim.doors.atlas.lens import DOOR
from tests.stack import closed_door, connected_gateway, door_client, open_door, scripted_capabilities

MAIN = "def main():\n    return 1\n"
NOTES = "# Notes\n\nNothing yet.\n"
PROJECT = {
    "project_name": "demo",
    "project_hash": "v1",
    "files": [{"path": "main.py", "content": MAIN}, {"path": "notes.md", "content": NOTES}],
    "metadata": {"branch": "main"},
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(DOOR, tmp_path) as client:
        yield client


def key(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {name}"}


async def sync(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    response = await client.post("/v1/projects/sync", json={**PROJECT, **changes}, headers=headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_lens_without_weights_says_so_and_stays_neutral(client: httpx.AsyncClient) -> None:
    body = (await client.post("/internal/lens/gx-score", json={"text": "def f(): pass"})).json()
    assert body.pop("latency_ms") >= 0
    assert body == {
        "cx_energy": 0.0,
        "cx_normalized": 0.5,
        "gx_score": 0.5,
        "verdict": "unavailable",
        "gx_available": False,
        "enabled": False,
    }


async def test_health_has_the_documented_members(client: httpx.AsyncClient) -> None:
    body = (await client.get("/health")).json()
    assert (body["status"], body["service"]) == ("healthy", "geometric-lens")
    assert (body["lens_enabled"], body["retrieval"]) == (False, True)


async def test_health_is_a_503_while_the_server_is_down() -> None:
    async with closed_door(DOOR) as client:
        response = await client.get("/health")
        assert response.status_code == 503
        assert (response.json()["status"], response.json()["service"]) == ("unhealthy", "geometric-lens")


async def test_a_project_is_synced_described_listed_and_deleted(client: httpx.AsyncClient) -> None:
    synced = await sync(client)
    identifier = synced["project_id"]
    assert synced["status"] == "synced"
    assert synced["stats"] == {"files_indexed": 2, "chunks_created": 2, "loc_indexed": 5}
    assert synced["sync_time_ms"] >= 0
    status = (await client.get(f"/v1/projects/{identifier}/status")).json()
    assert (status["project_id"], status["project_name"], status["project_hash"]) == (identifier, "demo", "v1")
    assert (status["status"], status["stats"]) == ("ready", synced["stats"])
    assert status["metadata"] == {"branch": "main"}
    assert (await client.get("/v1/projects")).json() == {"projects": [status]}
    deleted = await client.delete(f"/v1/projects/{identifier}")
    assert deleted.json() == {"deleted": True, "project_id": identifier}
    assert (await client.get("/v1/projects")).json() == {"projects": []}
    assert (await client.get(f"/v1/projects/{identifier}/status")).status_code == 404
    assert (await client.delete(f"/v1/projects/{identifier}")).status_code == 404


async def test_an_equal_hash_is_already_synced(client: httpx.AsyncClient) -> None:
    first, second = await sync(client), await sync(client, files=[])
    assert (second["status"], second["project_id"]) == ("already_synced", first["project_id"])
    assert second["stats"] == first["stats"]
    assert "nothing has changed" in second["message"]


async def test_a_second_sync_reads_only_what_changed(client: httpx.AsyncClient) -> None:
    first = await sync(client)
    files = [{"path": "main.py", "content": MAIN}, {"path": "new.py", "content": "x = 1\n"}]
    second = await sync(client, project_hash="v2", files=files)
    assert (second["status"], second["project_id"]) == ("synced", first["project_id"])
    assert second["stats"]["files_indexed"] == 2
    assert "1 files changed, 1 deleted, 0 skipped" in second["message"]


async def test_without_a_hash_every_sync_looks_at_the_files(client: httpx.AsyncClient) -> None:
    await sync(client, project_hash="")
    again = await sync(client, project_hash="", files=[{"path": "main.py", "content": "x = 2\n"}])
    assert (again["status"], again["stats"]["files_indexed"]) == ("synced", 1)


async def test_a_project_of_no_files_is_one(client: httpx.AsyncClient) -> None:
    synced = await sync(client, files=[])
    assert synced["stats"] == {"files_indexed": 0, "chunks_created": 0, "loc_indexed": 0}


async def test_a_key_sees_only_its_own_projects(client: httpx.AsyncClient) -> None:
    mine, yours = await sync(client, key("mine")), await sync(client, key("yours"), project_hash="other")
    assert mine["project_id"] != yours["project_id"]
    for headers, own, other in ((key("mine"), mine, yours), (key("yours"), yours, mine)):
        listed = (await client.get("/v1/projects", headers=headers)).json()["projects"]
        assert [project["project_id"] for project in listed] == [own["project_id"]]
        for method, path in (("GET", "/status"), ("DELETE", "")):
            url = f"/v1/projects/{other['project_id']}{path}"
            missing = await client.request(method, url, headers=headers)
            assert missing.status_code == 404
            assert missing.json()["code"] == "collection_not_found"
    assert (await client.get("/v1/projects")).json() == {"projects": []}


async def test_no_key_is_stored_or_shown(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await sync(client, key("a-very-secret-key"), metadata={"owner": "someone else"})
    listed = await client.get("/v1/projects", headers=key("a-very-secret-key"))
    assert len(listed.json()["projects"]) == 1
    assert "secret" not in listed.text
    stored = everything_in(tmp_path)
    assert b"main.py" in stored
    assert b"a-very-secret-key" not in stored


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_a_hash_that_does_not_fit_its_content_is_refused(client: httpx.AsyncClient) -> None:
    right = {"path": "main.py", "content": MAIN, "hash": hashlib.sha256(MAIN.encode()).hexdigest().upper()}
    wrong = {"path": "b.py", "content": "x", "hash": "0" * 64}
    assert (await sync(client, files=[right]))["status"] == "synced"
    response = await client.post("/v1/projects/sync", json={**PROJECT, "files": [right, wrong]})
    assert response.status_code == 400
    assert response.json()["param"] == "files.1"
    assert "'b.py'" in response.json()["detail"]


async def test_a_path_that_leaves_the_project_never_is_an_error_of_ours(client: httpx.AsyncClient) -> None:
    for path in ("../up.py", "/etc/passwd", "a/../../b.py", "nul\0.py", "C:\\x.py"):
        files = [{"path": path, "content": "x = 1\n"}]
        response = await client.post("/v1/projects/sync", json={**PROJECT, "files": files})
        assert response.status_code in {200, 400}, path


async def test_a_project_needs_a_name_of_a_sane_length(client: httpx.AsyncClient) -> None:
    for name in ("", "x" * 201):
        response = await client.post("/v1/projects/sync", json={**PROJECT, "project_name": name})
        assert response.status_code == 400
        assert response.json()["param"] == "project_name"


async def test_any_name_makes_a_project(client: httpx.AsyncClient) -> None:
    for name in ("a", "x" * 200, "Ünï / ..\\ \0 🙂"):
        identifier = (await sync(client, project_name=name))["project_id"]
        status = (await client.get(f"/v1/projects/{identifier}/status")).json()
        assert status["project_name"] == name


@pytest.mark.parametrize(("method", "path"), [("GET", "/status"), ("DELETE", "")])
async def test_a_project_that_is_not_there_is_a_404(client: httpx.AsyncClient, method: str, path: str) -> None:
    for identifier in ("absent", "a%00b", "x" * 300, "%ff", "a b"):
        response = await client.request(method, f"/v1/projects/{identifier}{path}")
        assert response.status_code == 404, identifier


@asynccontextmanager
async def limited(home: Path, **limits: int) -> AsyncIterator[httpx.AsyncClient]:
    """Open the door over a retrieval of small *limits*."""
    retrieval = Retrieval(RagSettings(home=home, dense=False, **limits))
    capabilities = replace(scripted_capabilities(home / "other"), retrieval=retrieval)
    async with connected_gateway(capabilities) as gateway, door_client(DOOR, gateway) as client:
        yield client


@pytest.mark.parametrize("limits", [{"max_files": 1}, {"max_lines": 3}, {"max_bytes": 30}], ids=str)
async def test_a_project_beyond_a_limit_is_a_400_with_both_numbers(limits: dict[str, int], tmp_path: Path) -> None:
    async with limited(tmp_path, **limits) as client:
        response = await client.post("/v1/projects/sync", json=PROJECT)
        assert response.status_code == 400
        assert response.json()["code"] == "limit_exceeded"
        assert str(next(iter(limits.values()))) in response.json()["detail"]
        assert (await client.get("/v1/projects")).json() == {"projects": []}


async def test_projects_outlive_the_server(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        synced = await sync(client)
    async with open_door(DOOR, tmp_path) as client:
        assert (await sync(client))["status"] == "already_synced"
        assert (await client.get(f"/v1/projects/{synced['project_id']}/status")).status_code == 200


TRACEBACK = """\
Traceback (most recent call last):
  File "/sandbox/work/solution.py", line 4, in <module>
    f([])
  File "/sandbox/work/solution.py", line 2, in f
    return totl + 1
           ^^^^
NameError: name 'totl' is not defined
"""
MISSPELT = "def f(xs):\n    return totl + 1\ntotal = 3\nf([])\n"


class FixedScorer:
    """A lens that is loaded and gives every text the same score."""

    is_enabled = True

    def __init__(self, gx_score: float) -> None:
        self._gx_score = gx_score

    def score(self, text: str) -> Score:
        assert text
        return Score(5.2, 0.32, self._gx_score, "uncertain", gx_available=True, enabled=True, latency_ms=1.0)


async def analyze(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/internal/sandbox/analyze", json={"code": MISSPELT, **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_a_failed_run_is_explained_to_the_field(client: httpx.AsyncClient) -> None:
    body = await analyze(client, stderr=TRACEBACK, stdout="")
    assert "return totl + 1  # <-- fails here" in body.pop("repair_prompt")
    assert body == {
        "passed": False,
        "failure_type": "name",
        "failure_line": 2,
        "failure_message": "name 'totl' is not defined",
        "is_recoverable": True,
        "severity": "low",
        "traceback_frames": [
            {"file": "/sandbox/work/solution.py", "line": 4, "function": "<module>", "code": "f([])"},
            {"file": "/sandbox/work/solution.py", "line": 2, "function": "f", "code": "return totl + 1"},
        ],
        "suggestion": "`totl` is not defined on line 2: did you mean `total`?",
        "stdout": "",
        "stderr": TRACEBACK,
        "raw_error_class": "NameError",
        "gx_score": None,
        "gx_available": False,
        "cx_energy": None,
        "cx_normalized": None,
        "verdict": None,
        "gx_note": "no lens weights are loaded, so nothing is known of the code's quality",
    }


async def test_a_run_that_passed_has_nothing_to_explain(client: httpx.AsyncClient) -> None:
    body = await analyze(client, passed=True, include_gx=False)
    assert (body["passed"], body["failure_type"], body["failure_line"], body["repair_prompt"]) == (
        True,
        "none",
        None,
        "",
    )
    assert (body["suggestion"], body["gx_note"]) == (None, "no score was asked for")


async def test_an_empty_expected_output_means_that_none_is_known(client: httpx.AsyncClient) -> None:
    assert (await analyze(client, stdout="1\n", expected_output=""))["failure_type"] == "unknown"
    assert (await analyze(client, stdout="1\n", expected_output="2\n"))["failure_type"] == "output_mismatch"


async def test_the_fields_of_execute_outweigh_the_texts(client: httpx.AsyncClient) -> None:
    body = await analyze(client, stderr=TRACEBACK, verdict="TIME_LIMIT", error_type="Timeout")
    assert (body["failure_type"], body["raw_error_class"], body["is_recoverable"]) == ("timeout", "Timeout", False)


@pytest.mark.parametrize(
    ("gx_score", "fields", "expected"),
    [
        (0.05, {"stderr": TRACEBACK}, ("low", False)),
        (0.1, {"stderr": TRACEBACK}, ("low", True)),
        (0.6, {"verdict": "TIME_LIMIT"}, ("high", False)),
        (0.7, {"verdict": "TIME_LIMIT"}, ("medium", False)),
        (0.7, {"verdict": "MEMORY_LIMIT"}, ("critical", False)),
    ],
)
async def test_the_lens_weighs_in_where_it_is_loaded(
    gx_score: float, fields: dict[str, Any], expected: tuple[str, bool], tmp_path: Path
) -> None:
    capabilities = replace(scripted_capabilities(tmp_path), scorer=FixedScorer(gx_score))
    async with connected_gateway(capabilities) as gateway, door_client(DOOR, gateway) as client:
        body = await analyze(client, **fields)
        assert (body["severity"], body["is_recoverable"]) == expected
        assert (body["gx_score"], body["cx_energy"], body["cx_normalized"]) == (gx_score, 5.2, 0.32)
        assert (body["verdict"], body["gx_available"], body["gx_note"]) == ("uncertain", True, None)
        without = await analyze(client, **fields, include_gx=False)
        assert (without["gx_score"], without["gx_note"]) == (None, "no score was asked for")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"language": "cobol"}, "unknown_language", "language"),
        ({"verdict": "FINE"}, "invalid_request", "verdict"),
        ({"code": None}, "invalid_request", "code"),
        ({"passed": "perhaps"}, "invalid_request", "passed"),
    ],
    ids=str,
)
async def test_an_analysis_that_cannot_be_made_names_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], code: str, param: str
) -> None:
    response = await client.post("/internal/sandbox/analyze", json={"code": "x", **fields})
    assert response.status_code == 400
    assert (response.json()["code"], response.json()["param"]) == (code, param)
