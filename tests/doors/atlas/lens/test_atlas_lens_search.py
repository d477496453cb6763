"""The search of a project over HTTP: every field reaches the core, every field of a hit comes back, to its key only."""

from pathlib import Path
from typing import Any

import httpx

from mcp_server.contract import RetrieveRequest
from shim.doors.atlas.lens import DOOR
from tests.retrieving import ScriptedRetrieval
from tests.stack import open_door

FILES = [
    {"path": "src/bread.py", "content": "def bake_bread(flour):\n    return oven(flour)\n"},
    {"path": "src/net.go", "content": "package net\n\nfunc OpenSocket(host string) {\n\tconnect(host)\n}\n"},
]


async def synced(client: httpx.AsyncClient, headers: dict[str, str] | None = None) -> str:
    body = {"project_name": "demo", "files": FILES}
    response = await client.post("/v1/projects/sync", json=body, headers=headers)
    return str(response.json()["project_id"])


async def search(client: httpx.AsyncClient, project: str, **fields: Any) -> httpx.Response:
    return await client.post(f"/v1/projects/{project}/search", json=fields)


async def test_a_hit_has_its_place_its_text_its_score_and_its_ranks(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        project = await synced(client)
        answer = (await search(client, project, query="bake the bread")).json()
    assert (answer["project_id"], answer["query"], answer["truncated"]) == (project, "bake the bread", False)
    score = answer["results"][0].pop("score")
    assert score > 0
    assert answer["results"][0] == {
        "path": "src/bread.py",
        "start_line": 1,
        "end_line": 2,
        "language": "python",
        "kind": "function",
        "symbol": "bake_bread",
        "text": "def bake_bread(flour):\n    return oven(flour)",
        "dense_rank": None,
        "sparse_rank": 1,
        "static_rank": None,
        "matched_lines": [],
    }


async def test_every_field_of_a_search_reaches_the_core(tmp_path: Path) -> None:
    retrieval = ScriptedRetrieval(tmp_path)
    fields = {
        "query": "connect.*host",
        "max_results": 3,
        "max_tokens": 50,
        "mode": "regex",
        "path_glob": "src/*",
        "language": "go",
        "kind": "function",
        "include_neighbours": True,
    }
    async with open_door(DOOR, tmp_path, retrieval=retrieval) as client:
        project = await synced(client)
        answer = (await search(client, project, **fields)).json()
    assert retrieval.asked == [RetrieveRequest(collection=project, **fields)]
    assert [(hit["path"], hit["matched_lines"]) for hit in answer["results"]] == [("src/net.go", [4])]


async def test_what_cannot_be_searched_for_is_a_400_that_names_the_field(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        project = await synced(client)
        for param, value in (
            ("query", " "),
            ("max_results", 0),
            ("max_tokens", 100_001),
            ("mode", "fuzzy"),
            ("path_glob", "!x"),
            ("kind", "module"),
        ):
            response = await search(client, project, **{"query": "bread", param: value})
            assert (response.status_code, response.json()["param"]) == (400, param)


async def test_a_project_of_another_key_cannot_be_searched(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        project = await synced(client, {"authorization": "Bearer someone-else"})
        response = await search(client, project, query="bread")
    assert (response.status_code, response.json()["code"]) == (404, "collection_not_found")
