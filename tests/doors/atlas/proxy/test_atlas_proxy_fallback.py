"""What the ATLAS proxy does not have, the llama-server door answers; and no request asks for more than it needs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shim.dialects.llama_errors import LlamaError
from shim.dialects.openai_errors import ErrorEnvelope
from shim.doors import DOORS
from shim.doors.atlas.llama import DOOR as LLAMA
from shim.doors.atlas.proxy import DOOR as PROXY
from shim.gateway import Gateway
from tests.fakes import SCRIPTED_MODEL, ScriptedEngine
from tests.stack import connected_gateway, door_client, scripted_capabilities

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    engine = ScriptedEngine(["one two"], models=("other",))
    async with connected_gateway(scripted_capabilities(tmp_path, engine=engine, models=("other",))) as gateway:
        yield gateway


@pytest.fixture
async def proxy(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with door_client(PROXY, gateway, LLAMA) as client:
        yield client


def calls(gateway: Gateway) -> int:
    return gateway.statistics().n_calls


def test_every_fallback_is_a_door() -> None:
    names = {door.name for door in DOORS}
    assert {door.fallback for door in DOORS} - {None} <= names
    assert PROXY.fallback == LLAMA.name


async def test_an_unmatched_path_keeps_its_method_and_body(proxy: httpx.AsyncClient) -> None:
    body = (await proxy.post("/completion", json={"prompt": "hi", "n_predict": 1})).json()
    assert (body["content"], body["stop_type"]) == ("one", "limit")
    assert (await proxy.get("/props")).json()["model_alias"] == SCRIPTED_MODEL
    refused = await proxy.post("/props")
    assert refused.status_code == 501
    LlamaError.model_validate_json(refused.content, strict=True)


async def test_an_unmatched_path_keeps_its_query(proxy: httpx.AsyncClient) -> None:
    assert (await proxy.get("/props?model=other")).json()["model_alias"] == "other"


async def test_an_unmatched_path_can_stream(proxy: httpx.AsyncClient) -> None:
    response = await proxy.post("/v1/completions", json={"prompt": "hi", "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")


async def test_the_paths_of_the_proxy_stay_its_own(proxy: httpx.AsyncClient) -> None:
    answer = (await proxy.post("/v1/chat/completions", json={"messages": HI})).json()
    assert answer["atlas_verification"] == "not_verified"
    assert "inference" in (await proxy.get("/health")).json()
    assert "meta" not in (await proxy.get("/v1/models")).json()["data"][0]


async def test_a_method_of_the_other_door_alone_reaches_it(proxy: httpx.AsyncClient) -> None:
    assert (await proxy.post("/models/load", json={"model": "other"})).json() == {"success": True}
    refused = await proxy.delete("/v1/chat/completions")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_a_path_of_neither_is_a_404(proxy: httpx.AsyncClient) -> None:
    response = await proxy.post("/no/such/path", content=b"not even JSON")
    assert response.status_code == 404
    ErrorEnvelope.model_validate_json(response.content, strict=True)


async def test_an_unmatched_path_stands_behind_the_guard_of_the_proxy(gateway: Gateway) -> None:
    async with door_client(PROXY, gateway, LLAMA, api_key="secret") as client:
        response = await client.get("/props")
        assert response.status_code == 401
        ErrorEnvelope.model_validate_json(response.content, strict=True)
        assert (await client.get("/props", headers={"x-api-key": "secret"})).status_code == 200


async def test_a_forwarded_request_is_counted_once_and_at_the_proxy(proxy: httpx.AsyncClient) -> None:
    response = await proxy.get("/props")
    assert len(response.headers.get_list("x-request-id")) == 1
    families = text_string_to_metric_families((await proxy.get("/metrics")).text)
    counted = {
        (sample.labels["door"], sample.labels["path"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "cinque_http_requests_total"
    }
    assert counted == {(PROXY.name, "/props"): 1.0}


@pytest.mark.parametrize("model", [None, "", "default", SCRIPTED_MODEL, "other"])
async def test_a_chat_is_one_call_of_a_tool(proxy: httpx.AsyncClient, gateway: Gateway, model: str | None) -> None:
    before = calls(gateway)
    assert (await proxy.post("/v1/chat/completions", json={"messages": HI, "model": model})).status_code == 200
    assert calls(gateway) - before == 1


@pytest.mark.parametrize(("model", "answering"), [(None, SCRIPTED_MODEL), ("other", "other"), ("gpt", SCRIPTED_MODEL)])
async def test_a_stream_looks_its_model_up_only_once(
    proxy: httpx.AsyncClient, gateway: Gateway, model: str | None, answering: str
) -> None:
    async def chat() -> tuple[int, set[Any]]:
        before = calls(gateway)
        response = await proxy.post("/v1/chat/completions", json={"messages": HI, "model": model, "stream": True})
        chunks = [json.loads(event.removeprefix("data: ")) for event in response.text.split("\n\n")[:-2]]
        return calls(gateway) - before, {chunk["model"] for chunk in chunks}

    n_failed = int(model == "gpt")  # asked for by its name first, in case that it is here by now
    assert await chat() == (2 + n_failed, {answering})
    assert await chat() == (1 + n_failed, {answering})


@pytest.mark.parametrize("path", ["/v1/chat/completions"])
async def test_the_proxy_takes_the_options_of_llama_cpp(proxy: httpx.AsyncClient, path: str) -> None:
    response = await proxy.post(path, json={"messages": HI, "lora": [{"id": 0, "scale": 1}]})
    assert (response.status_code, "lora" in response.text) == (400, True)
