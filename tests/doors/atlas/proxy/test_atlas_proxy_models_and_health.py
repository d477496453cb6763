"""Models and health of the ATLAS proxy."""

from dataclasses import replace
from pathlib import Path

from mcp_server.contract import ExecutionRequest
from shim.doors.atlas.proxy import DOOR
from tests.stack import (
    PASSED,
    ScriptedSandbox,
    closed_door,
    connected_gateway,
    door_client,
    open_door,
    scripted_capabilities,
)


async def test_models_are_listed_in_the_form_of_openai(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, models=("other",)) as client:
        for path in ("/v1/models", "/models"):
            body = (await client.get(path)).json()
            assert body["object"] == "list"
            assert [model["id"] for model in body["data"]] == ["scripted", "other"]
            for model in body["data"]:
                assert model == {
                    "id": model["id"],
                    "object": "model",
                    "created": 1_700_000_000,
                    "owned_by": "cinque",
                }


async def test_one_model_is_described_and_an_unknown_one_is_a_404(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, models=("owner/name",)) as client:
        for name in ("scripted", "owner/name"):
            assert (await client.get(f"/v1/models/{name}")).json()["id"] == name
        refusal = await client.get("/v1/models/nobody")
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (404, "model_not_found")


async def test_health_has_the_documented_members(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path) as client:
        assert (await client.get("/health")).json() == {
            "status": "ok",
            "inference": True,
            "lens": False,
            "sandbox": True,
            "port": "8090",
            "stats": {"requests": 0, "repairs": 0, "sandbox_passes": 0, "sandbox_fails": 0},
        }


async def test_health_counts_what_was_done(tmp_path: Path) -> None:
    failed = replace(PASSED, success=False)
    capabilities = scripted_capabilities(tmp_path, sandbox=ScriptedSandbox([PASSED, failed, failed]))
    async with connected_gateway(capabilities) as gateway, door_client(DOOR, gateway) as client:
        for stream in (True, False):
            await client.post("/v1/chat/completions", json={"messages": [{"role": "user"}], "stream": stream})
        await client.post("/v1/chat/completions", json={"messages": []})
        await client.get("/v1/models")
        for _ in range(3):
            await gateway.execute(ExecutionRequest("x"))
        stats = (await client.get("/health")).json()["stats"]
        assert stats == {"requests": 2, "repairs": 0, "sandbox_passes": 1, "sandbox_fails": 2}


async def test_health_is_degraded_while_the_server_is_down() -> None:
    async with closed_door(DOOR) as client:
        response = await client.get("/health")
        assert response.status_code == 503
        assert response.json()["status"] == "degraded"
        assert not any(response.json()[part] for part in ("inference", "lens", "sandbox"))
