"""Texts and the server itself at the llama-server door: tokens, templates, vectors, ranking, models, slots, errors."""

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mcp_server.contract import (
    EngineStatistics,
    ModelProperties,
    ModelStatistics,
    SlotStatistics,
    UpstreamStatistics,
)
from mcp_server.errors import ContextLengthError, NotSupportedError, QueueFullError
from shim.dialects.openai_embeddings import normalized
from shim.doors.atlas.llama import DOOR
from tests.doors.official import assert_official
from tests.fakes import EMBEDDING_DIMENSIONS, SCRIPTED_CONTEXT_TOKENS, SCRIPTED_MODEL, Reply, ScriptedEngine
from tests.stack import closed_door, open_door

HI = [{"role": "user", "content": "hi"}]
SLOTS = (
    SlotStatistics(0, "decode", 7, 10, 14, 4, 3, 0),
    SlotStatistics(1, "idle", None, n_retained_tokens=99),
)
STATISTICS = EngineStatistics(
    n_running=1,
    n_waiting=2,
    models=(
        ModelStatistics(
            SCRIPTED_MODEL,
            n_running=1,
            n_requests=4,
            n_prompt_tokens=100,
            n_cached_tokens=20,
            n_completion_tokens=50,
            n_steps=25,
            n_batched_tokens=150,
            n_preempted=1,
            n_drafted_tokens=10,
            n_accepted_tokens=6,
            n_drafts=5,
            n_tokens_max=14,
            prefill_s=2.0,
            decode_s=5.0,
            first_token_s=1.0,
            n_first_tokens=4,
            n_prefix_hits=3,
            n_prefix_evictions=2,
            n_cells=1000,
            n_cells_used=400,
            n_retained_tokens=300,
            slots=SLOTS,
        ),
    ),
    upstreams=(UpstreamStatistics("far", "http://far/v1", is_healthy=False, n_requests=9, n_failed=4),),
)


class Measured(ScriptedEngine):
    """Has counted something."""

    def statistics(self) -> EngineStatistics:
        return replace(STATISTICS, loaded_models=super().statistics().loaded_models)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of this file from one event loop, so that the door is built once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(
        DOOR, tmp_path_factory.mktemp("home"), engine=Measured(models=("other",)), models=("other",)
    ) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, **fields: Any) -> Any:
    response = await client.post(path, json=fields)
    assert response.status_code == 200, response.text
    return response.json()


async def error_of(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert (error["code"], error["type"]) == (status, kind)
    return error


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health_needs_no_key_and_says_ok(path: str, tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, api_key="secret") as client:
        response = await client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    async with closed_door(DOOR, api_key="secret") as client:
        error = await error_of(await client.get(path), 503, "unavailable_error")
        assert error["reason"] == "backend_unavailable"
        await error_of(await client.get("/props"), 401, "authentication_error")


async def test_tokens_have_pieces_of_text_or_bytes(client: httpx.AsyncClient) -> None:
    plain = await post(client, "/tokenize", content="hi there")
    assert [type(token) for token in plain["tokens"]] == [int, int]
    pieces = await post(client, "/tokenize", content="hi there", with_pieces=True)
    assert pieces["tokens"] == [
        {"id": token, "piece": text} for token, text in zip(plain["tokens"], ["hi", " there"], strict=True)
    ]
    assert await post(client, "/detokenize", tokens=plain["tokens"]) == {"content": "hi there"}


async def test_a_piece_that_is_half_a_character_is_its_bytes(tmp_path: Path) -> None:
    class Halves(ScriptedEngine):
        async def tokenize(self, request: Any) -> Any:
            return replace(await super().tokenize(request), tokens=(1, 2), pieces=((0xC3,), (0xA1,)))

    async with open_door(DOOR, tmp_path, engine=Halves()) as client:
        tokens = await post(client, "/tokenize", content="á", with_pieces=True)
    assert tokens == {"tokens": [{"id": 1, "piece": [0xC3]}, {"id": 2, "piece": [0xA1]}]}


async def test_a_template_is_applied_without_generating(client: httpx.AsyncClient) -> None:
    assert await post(client, "/apply-template", messages=HI) == {"prompt": "hi"}
    counted = await post(client, "/v1/chat/completions/input_tokens", messages=HI)
    assert counted == {"object": "response.input_tokens", "input_tokens": 1}


@pytest.mark.parametrize(("norm", "power"), [(1, 1), (2, 2), (None, 2), (3, 3)])
@pytest.mark.parametrize(("path", "name"), [("/embedding", "content"), ("/embeddings", "input")])
async def test_a_vector_is_scaled_by_the_norm_asked_for(
    client: httpx.AsyncClient, path: str, name: str, norm: int | None, power: int
) -> None:
    fields = {} if norm is None else {"embd_normalize": norm}
    (entry,) = await post(client, path, **{name: "a b c d"}, **fields)
    (vector,) = entry["embedding"]
    assert (entry["index"], len(vector)) == (0, EMBEDDING_DIMENSIONS)
    assert sum(abs(x) ** power for x in vector) == pytest.approx(1)


async def test_a_vector_keeps_its_length_or_fills_16_bits(client: httpx.AsyncClient) -> None:
    ((raw,), (largest,)) = [
        (await post(client, "/embedding", content="a b c", embd_normalize=norm))[0]["embedding"] for norm in (-1, 0)
    ]
    assert math.hypot(*raw) > 1.5
    assert max(map(abs, largest)) == pytest.approx(32760)


def test_norms_bear_large_numbers_and_zeros() -> None:
    assert normalized([1e300, 1e300], 100) == pytest.approx([2**-0.01] * 2)
    assert normalized([0.0, 0.0], 2) == [0.0, 0.0]


async def test_without_pooling_each_token_has_a_vector(client: httpx.AsyncClient) -> None:
    first, second = await post(client, "/embedding", content=["a b c", "d"], pooling="none")
    assert [len(first["embedding"]), len(second["embedding"])] == [3, 1]


@pytest.mark.parametrize("path", ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])
async def test_documents_are_ranked_best_first(client: httpx.AsyncClient, path: str) -> None:
    documents = ["hi", "it is a bear", "the giant panda is a bear"]
    body = await post(client, path, query="giant panda", documents=documents, top_n=2)
    assert [result["index"] for result in body["results"]] == [2, 0]
    assert body["results"][0]["relevance_score"] > body["results"][1]["relevance_score"]
    assert (body["object"], body["model"]) == ("list", SCRIPTED_MODEL)


async def test_texts_are_ranked_in_the_form_of_tei(client: httpx.AsyncClient) -> None:
    body = await post(client, "/rerank", query="b", texts=["a", "b"], return_text=True)
    assert [(entry["index"], entry["text"]) for entry in body] == [(1, "b"), (0, "a")]


async def test_a_model_that_cannot_rank_says_so(tmp_path: Path) -> None:
    class Plain(ScriptedEngine):
        async def rerank(self, request: Any) -> Any:
            del request
            msg = "scripted has no ranking head"
            raise NotSupportedError(msg, param="model")

    async with open_door(DOOR, tmp_path, engine=Plain()) as client:
        response = await client.post("/rerank", json={"query": "a", "documents": ["b"]})
    await error_of(response, 501, "not_supported_error")


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
async def test_models_are_official_and_say_what_a_loaded_one_is(client: httpx.AsyncClient, path: str) -> None:
    body = (await client.get(path)).json()
    assert_official(body, "ListModelsResponse")
    loaded, other = body["data"]
    assert (loaded["id"], loaded["owned_by"], loaded["status"]) == (SCRIPTED_MODEL, "llamacpp", {"value": "loaded"})
    assert loaded["meta"].items() >= {"n_ctx_train": SCRIPTED_CONTEXT_TOKENS, "n_vocab": 1 << 16, "size": 1}.items()
    assert (other["meta"], other["status"]) == (None, {"value": "unloaded"})
    assert [model["name"] for model in body["models"]] == [SCRIPTED_MODEL, "other"]


async def test_a_model_is_loaded_and_unloaded_by_name(client: httpx.AsyncClient) -> None:
    for path in ("/models/load", "/models/unload"):
        assert await post(client, path, model="other") == {"success": True}
        await error_of(await client.post(path, json={"model": "absent"}), 404, "not_found_error")


async def test_properties_have_the_documented_members(client: httpx.AsyncClient) -> None:
    body = (await client.get("/props")).json()
    settings = body["default_generation_settings"]
    assert settings["n_ctx"] == SCRIPTED_CONTEXT_TOKENS
    assert settings["params"].items() >= {"temperature": 0.8, "repeat_last_n": 64, "n_predict": -1}.items()
    assert settings["params"].items() >= {"stop": [], "grammar": "", "stream": False, "n_probs": 0}.items()
    assert (body["total_slots"], body["model_alias"], body["is_sleeping"]) == (8, SCRIPTED_MODEL, False)
    assert body["chat_template"].startswith("{% for")
    assert body["modalities"] == {"vision": False, "audio": False, "video": False}
    assert (await client.get("/props", params={"model": "other"})).json()["model_alias"] == "other"


async def test_properties_cannot_be_changed(client: httpx.AsyncClient) -> None:
    await error_of(await client.post("/props", json={}), 501, "not_supported_error")


async def test_slots_tell_what_each_does(client: httpx.AsyncClient) -> None:
    busy, idle, *others = (await client.get("/slots")).json()
    assert len(others) == 6
    assert (busy["id"], busy["id_task"], busy["is_processing"], busy["n_ctx"]) == (0, 7, True, SCRIPTED_CONTEXT_TOKENS)
    assert busy["next_token"] == {"has_next_token": True, "n_remain": -1, "n_decoded": 4}
    assert (busy["n_prompt_tokens"], busy["n_prompt_tokens_processed"], busy["n_prompt_tokens_cache"]) == (10, 7, 3)
    assert (idle["id_task"], idle["is_processing"], idle["n_retained_tokens"]) == (-1, False, 99)
    assert (await client.get("/slots?fail_on_no_slot=1")).status_code == 200


async def test_slots_of_another_server_are_its_own(tmp_path: Path) -> None:
    class Remote(ScriptedEngine):
        async def describe(self, model: str | None = None) -> ModelProperties:
            return replace(await super().describe(model), path="http://far/v1")

    async with open_door(DOOR, tmp_path, engine=Remote()) as client:
        error = await error_of(await client.get("/slots"), 501, "not_supported_error")
        assert "http://far/v1" in error["message"]


async def test_no_free_slot_is_a_503_when_asked_for(tmp_path: Path) -> None:
    class Full(Measured):
        def statistics(self) -> EngineStatistics:
            busy = tuple(SlotStatistics(i, "decode", i) for i in range(8))
            return replace(STATISTICS, models=(ModelStatistics(SCRIPTED_MODEL, slots=busy),))

    async with open_door(DOOR, tmp_path, engine=Full()) as client:
        await error_of(await client.get("/slots?fail_on_no_slot=1"), 503, "unavailable_error")
        assert (await client.get("/slots")).status_code == 200


@pytest.mark.parametrize("action", ["save", "restore", "erase"])
async def test_a_slot_is_not_saved_restored_or_erased(client: httpx.AsyncClient, action: str) -> None:
    error = await error_of(await client.post(f"/slots/0?action={action}"), 501, "not_supported_error")
    assert "cache_prompt" in error["message"]


@pytest.mark.parametrize("path", ["/slots/0", "/slots/0?action=dance", "/slots/8?action=erase", "/slots/x?action=save"])
async def test_a_wrong_slot_or_action_is_a_400(client: httpx.AsyncClient, path: str) -> None:
    await error_of(await client.post(path), 400, "invalid_request_error")


async def test_there_are_no_adapters(client: httpx.AsyncClient) -> None:
    assert (await client.get("/lora-adapters")).json() == []
    await error_of(await client.post("/lora-adapters", json=[{"id": 0, "scale": 1}]), 501, "not_supported_error")


@pytest.mark.parametrize("name", [SCRIPTED_MODEL, "other"])
async def test_one_model_is_described(client: httpx.AsyncClient, name: str) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    assert (await client.get(f"/v1/models/{name}")).json() in listed
    await error_of(await client.get("/v1/models/no/such"), 404, "not_found_error")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/completion", {"prompt": "hi there you"}),
        ("/v1/completions", {"prompt": [1, 2, 3]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi there you"}]}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi there you"}], "stream": True}),
    ],
)
async def test_a_prompt_that_does_not_fit_is_told_with_both_numbers(
    path: str, body: dict[str, Any], tmp_path: Path
) -> None:
    engine = ScriptedEngine([ContextLengthError("too long", param="prompt")])
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        error = await error_of(await client.post(path, json=body), 400, "exceed_context_size_error")
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (3, SCRIPTED_CONTEXT_TOKENS)


async def test_the_first_failure_of_several_prompts_is_the_answer(tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, engine=ScriptedEngine(["a", QueueFullError("full")])) as client:
        response = await client.post("/completion", json={"prompt": ["a", "b", "c"]})
    error = await error_of(response, 503, "unavailable_error")
    assert (error["reason"], error["message"]) == ("queue_full", "full")


async def test_a_failure_after_the_first_token_is_an_event(tmp_path: Path) -> None:
    engine = ScriptedEngine([Reply(("one", " two"), error=QueueFullError("lost"))])
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        response = await client.post("/completion", json={"prompt": "a", "stream": True})
    assert response.status_code == 200
    assert '"type":"unavailable_error"' in response.text.split("\n\n")[-2]


async def test_a_request_that_is_left_is_aborted(tmp_path: Path) -> None:
    engine = ScriptedEngine([Reply(("one", " two"), gate=anyio.Event())])
    async with open_door(DOOR, tmp_path, engine=engine) as client:
        with anyio.move_on_after(0.05):
            await client.post("/completion", json={"prompt": ["a", "b"]})
        with anyio.fail_after(5):
            await engine.wait_until_running(0)


def value(text: str, name: str, **labels: str) -> float:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    (found,) = [sample.value for sample in samples if sample.name == name and sample.labels == labels]
    return float(found)


async def test_metrics_of_each_model_and_by_the_names_of_llama_cpp(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    of_model = {
        "sequences_running": 1,
        "batch_size_mean": 6,
        "prompt_tokens_per_second": 40,
        "completion_tokens_per_second": 10,
        "time_to_first_token_mean_seconds": 0.25,
        "cells_used": 400,
        "cached_prompt_tokens_total": 20,
        "preemptions_total": 1,
        "prefix_hits_total": 3,
        "prefix_evictions_total": 2,
        "drafted_tokens_total": 10,
        "accepted_tokens_total": 6,
    }
    for name, expected in of_model.items():
        assert value(text, f"cinque_model_{name}", model=SCRIPTED_MODEL) == expected, name
    llama = {
        "prompt_tokens_total": 80,
        "prompt_seconds_total": 2,
        "prompt_tokens_seconds": 40,
        "tokens_predicted_total": 50,
        "tokens_predicted_seconds_total": 5,
        "predicted_tokens_seconds": 10,
        "requests_processing": 1,
        "requests_deferred": 2,
        "n_tokens_max": 14,
        "spec_decode_num_drafts_total": 5,
        "n_decode_total": 25,
        "n_busy_slots_per_decode": 2,
        "spec_decode_num_draft_tokens_total": 10,
        "spec_decode_num_accepted_tokens_total": 6,
    }
    for name, expected in llama.items():
        assert value(text, f"llamacpp:{name}") == expected, name
    assert value(text, "cinque_upstream_healthy", model="far", url="http://far/v1") == 0
    assert value(text, "cinque_upstream_failed_requests_total", model="far", url="http://far/v1") == 4
