"""The router: which engine a request reaches, what becomes of one whose entry changes, and what all of them count."""

from dataclasses import replace
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.backends import ROUTE_KEPT_S, BackendRouter
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.engine.types import EmbeddingRequest, Engine, GenerationRequest, Message, Model, TokenizeRequest
from mcp_server.errors import ModelNotFoundError
from tests.fakes import Reply, ScriptedEngine
from tests.upstreams import HELLO, RawUpstream, answer, listening

pytestmark = pytest.mark.anyio

FAR = RemoteModel("far", ("http://far.example",), aliases=("cloud",))


def ask(model: str | None = None) -> GenerationRequest:
    return GenerationRequest((Message("user", "hello"),), model=model)


class Models:
    """A catalogue of one local model and of whatever remote ones a test says."""

    def __init__(self, *remotes: RemoteModel) -> None:
        self.found = remotes
        self.n_resolved = 0

    def remotes(self) -> tuple[RemoteModel, ...]:
        return self.found

    def resolve(self, name: str | None) -> Model:
        self.n_resolved += 1
        near = Model("near", "near.gguf", "local", size_bytes=1, created_at=0, is_default=True, is_loaded=False)
        default = next((remote for remote in self.found if remote.is_default), None)
        for remote in self.found:
            if name in (remote.model_id, *remote.aliases) or (name is None and remote is default):
                return replace(near, model_id=remote.model_id, path=remote.urls[0], source="remote")
        if name in (None, "near"):
            return near
        msg = "available: near, far"
        raise ModelNotFoundError(msg, param="model")


class Bench:
    """A router over scripted engines, which a test can look at."""

    def __init__(self, *remotes: RemoteModel) -> None:
        self.models = Models(*remotes)
        self.local = ScriptedEngine(["here"], models=["near"])
        self.made: list[ScriptedEngine] = []
        self.now = 0.0
        self.replies: list[Any] = ["there"]
        self.router = BackendRouter(self.local, self.models, self.make, clock=lambda: self.now)

    def make(self, model: RemoteModel) -> Engine:
        self.made.append(ScriptedEngine(self.replies, models=[model.model_id]))
        return self.made[-1]

    async def text(self, model: str | None = None) -> str:
        return (await self.router.generate(ask(model))).completions[0].text


async def test_a_request_reaches_the_engine_that_has_its_model() -> None:
    bench = Bench(FAR)
    assert [await bench.text(name) for name in (None, "near", "far", "cloud")] == ["here", "here", "there", "there"]
    assert [request.model for request in bench.local.requests] == [None, "near"]
    assert [request.model for request in bench.made[0].requests] == ["far", "far"]  # an alias is known here only
    assert len(bench.made) == 1


async def test_the_default_model_may_be_remote() -> None:
    bench = Bench(replace(FAR, is_default=True))
    assert (await bench.text(), await bench.text("near")) == ("there", "here")


async def test_every_other_question_is_routed_too() -> None:
    bench = Bench(FAR)
    await bench.router.embed(EmbeddingRequest(("a",), model="far"))
    await bench.router.tokenize(TokenizeRequest("b", model="cloud"))
    assert (await bench.router.describe("far")).model_id == "far"
    assert (await bench.router.render(ask("far"))).model == "far"
    await bench.router.load("far", -1)
    assert (bench.made[0].tokenized, bench.made[0].keep_alives) == (["b"], [-1])
    assert not bench.local.embedding_requests


async def test_an_unknown_model_is_not_found_with_all_that_are() -> None:
    with pytest.raises(ModelNotFoundError, match="near, far"):
        await Bench(FAR).text("absent")


async def test_without_remote_models_the_catalogue_is_not_searched() -> None:
    bench = Bench()
    assert (await bench.text(), bench.models.n_resolved) == ("here", 0)
    assert bench.router.statistics() == bench.local.statistics()


async def test_a_name_is_looked_up_again_when_the_file_changes_or_a_moment_has_passed() -> None:
    bench = Bench(FAR)
    for _ in range(3):
        await bench.text("near")
    assert bench.models.n_resolved == 1
    bench.models.found = (FAR, replace(FAR, model_id="new", aliases=()))
    await bench.text("near")
    assert bench.models.n_resolved == 2
    bench.now += ROUTE_KEPT_S
    await bench.text("near")
    assert bench.models.n_resolved == 3


async def test_a_changed_entry_gets_a_new_engine_and_the_old_one_finishes_its_requests() -> None:
    bench = Bench(FAR)
    gate = anyio.Event()
    bench.replies = [Reply(("the", "re"), gate=gate, gate_at=1)]
    texts: list[str] = []

    async def generate() -> None:
        texts.append(await bench.text("far"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(generate)
            while not bench.made or not bench.made[0].statistics().n_running:
                await anyio.lowlevel.checkpoint()
            bench.replies = ["anew"]
            bench.models.found = (replace(FAR, urls=("http://other.example",)),)
            assert await bench.text("far") == "anew"
            assert not bench.made[0].is_closed
            gate.set()
    assert texts == ["there"]
    bench.models.found = (FAR,)
    await bench.text("far")
    assert [engine.is_closed for engine in bench.made] == [True, True, False]


async def test_statistics_add_up_and_closing_closes_all() -> None:
    bench = Bench(FAR)
    await bench.text("far")
    await bench.text("near")
    counted = bench.router.statistics()
    assert (counted.n_requests, counted.n_completion_tokens) == (2, 2)
    assert len(counted.loaded_models) == 2
    await bench.router.aclose()
    await bench.router.aclose()
    assert bench.local.is_closed
    assert bench.made[0].is_closed


async def test_models_toml_mixes_local_and_remote_models(make_settings: Any) -> None:
    settings = make_settings()
    settings.home.mkdir(parents=True)
    upstream = RawUpstream(choose=lambda received: answer({"data": []}) if received.method == "GET" else HELLO)
    async with listening(upstream):
        entry = f'[[models]]\nid = "far"\nurl = "{upstream.url}/v1"\nmodel = "big"\naliases = ["cloud"]\n'
        (settings.home / "models.toml").write_text(entry, encoding="utf-8")
        catalog = ModelCatalog(settings)
        router = BackendRouter(AsyncEngine(settings, catalog), catalog)
        assert (await router.generate(ask("cloud"))).model == "far"
        assert upstream.received[0].body["model"] == "big"
        tiny = await router.tokenize(TokenizeRequest("def f():"))
        assert tiny.model == "cinque-tiny-v0"
        with pytest.raises(ModelNotFoundError, match="far"):
            await router.generate(ask("absent"))
        (seen,) = router.statistics().upstreams
        assert (seen.model_id, seen.n_requests, seen.is_healthy) == ("far", 1, True)
        await router.aclose()
