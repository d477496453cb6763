"""What every `Engine` keeps, run against the real one and the scripted fake, so that the fake can be trusted."""

import json
import math
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.backends import BackendRouter
from mcp_server.engine.remote.engine import RemoteEngine
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    Engine,
    GenerationRequest,
    Message,
    Model,
    ModelSource,
    SamplingParams,
    TokenizeRequest,
    Tool,
    ToolUse,
    join_deltas,
)
from mcp_server.errors import CinqueError, InvalidRequestError, ModelNotFoundError
from tests.fakes import SCRIPTED_CONTEXT_TOKENS, Calls, ScriptedEngine
from tests.upstreams import EngineUpstream, serving

pytestmark = pytest.mark.anyio

ASK = (Message("user", "Write a Python function add(a, b) that returns their sum."),)
SCRIPT = ("def add(a, b):\n    total = a + b\n    return total\n",)
LOCAL_KINDS = ("real", "scripted", "routed")
KINDS = (*LOCAL_KINDS, "remote", "routed-remote")


@pytest.fixture(params=KINDS)
async def any_engine(request: pytest.FixtureRequest, make_settings: Any) -> AsyncIterator[Engine]:
    """Each engine there is; "routed" ones are reached through the router, as the tools reach them."""
    with ExitStack() as opened:
        kind, script = request.param if isinstance(request.param, tuple) else (request.param, SCRIPT)
        engine = make_engine(kind, script, make_settings(), opened)
        yield engine
        await engine.aclose()


def make_engine(kind: str, script: Any, settings: EngineSettings, opened: ExitStack) -> Engine:
    if kind == "real":
        return AsyncEngine(settings)
    if kind == "scripted":
        return ScriptedEngine(script)
    url = opened.enter_context(serving(EngineUpstream(ScriptedEngine(script), SCRIPTED_CONTEXT_TOKENS)))
    remote = RemoteModel("scripted", (url,), is_default=kind == "routed-remote")
    if kind == "remote":
        return RemoteEngine(remote)
    return BackendRouter(ScriptedEngine(script), TwoModels(remote))


class TwoModels:
    """A catalogue of one local and one remote model."""

    def __init__(self, remote: RemoteModel) -> None:
        self._remote = replace(remote, model_id="far") if not remote.is_default else remote

    def remotes(self) -> tuple[RemoteModel, ...]:
        return (self._remote,)

    def resolve(self, name: str | None) -> Model:
        near = _model("near" if self._remote.is_default else "scripted", "local")
        far = _model(self._remote.model_id, "remote")
        if name is None:
            return far if self._remote.is_default else near
        for model in (near, far):
            if model.model_id == name:
                return model
        msg = f"There is no model {name!r} here; available: near, far."
        raise ModelNotFoundError(msg, param="model")


def _model(name: str, source: ModelSource) -> Model:
    return Model(name, "", source, size_bytes=0, created_at=0, is_default=False, is_loaded=False)


def greedy(**changes: Any) -> SamplingParams:
    return SamplingParams(temperature=0, **changes)


async def test_deltas_join_to_the_text_of_the_completion(any_engine: Engine) -> None:
    seen: list[Delta] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        seen.extend(deltas)

    result = await any_engine.generate(GenerationRequest(ASK, sampling=greedy()), on_delta)
    (completion,) = result.completions
    assert completion.text
    assert "".join(delta.text for delta in seen) == completion.text
    assert sum(delta.n_tokens for delta in seen) == result.usage.completion_tokens
    assert result.usage.prompt_tokens > 0
    assert completion.finish_reason == "stop"


@pytest.mark.parametrize(
    "any_engine", [(kind, [[Calls("now")]]) for kind in LOCAL_KINDS], indirect=True, ids=LOCAL_KINDS
)
async def test_a_tool_call_comes_whole_and_in_deltas_that_join_to_it(any_engine: Engine) -> None:
    seen: list[Delta] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        seen.extend(deltas)

    use = ToolUse((Tool("now"),), choice="required", parallel=False)
    result = await any_engine.generate(GenerationRequest(ASK, tool_use=use, sampling=greedy()), on_delta)
    (completion,) = result.completions
    (call,) = completion.tool_calls
    assert (call.name, json.loads(call.arguments), completion.text, completion.finish_reason) == ("now", {}, "", "stop")
    (joined,) = join_deltas(seen)
    (delta,) = joined.tool_calls
    assert (delta.position, delta.call_id, delta.name, delta.arguments) == (0, call.call_id, "now", call.arguments)
    assert joined.n_tokens == result.usage.completion_tokens


async def test_n_completions_come_in_the_order_of_their_index(any_engine: Engine) -> None:
    result = await any_engine.generate(GenerationRequest(ASK, n=3, sampling=greedy()))
    assert [completion.index for completion in result.completions] == [0, 1, 2]
    assert len({completion.text for completion in result.completions}) == 1


async def test_max_tokens_ends_a_completion_with_length(any_engine: Engine) -> None:
    result = await any_engine.generate(GenerationRequest(ASK, sampling=greedy(max_tokens=3)))
    assert result.completions[0].finish_reason == "length"
    assert result.usage.completion_tokens == 3


async def test_no_tokens_at_all_are_a_completion_of_length_zero(any_engine: Engine) -> None:
    result = await any_engine.generate(GenerationRequest(ASK, n=2, sampling=greedy(max_tokens=0)))
    assert [(one.text, one.finish_reason) for one in result.completions] == [("", "length")] * 2
    assert result.usage.prompt_tokens > 0
    assert result.usage.completion_tokens == 0


async def test_a_stop_string_ends_the_text_and_is_not_part_of_it(any_engine: Engine) -> None:
    whole = (await any_engine.generate(GenerationRequest(ASK, sampling=greedy()))).completions[0].text
    stop = whole[len(whole) // 2 :][:5]
    streamed: list[str] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        streamed.extend(delta.text for delta in deltas)

    result = await any_engine.generate(GenerationRequest(ASK, sampling=greedy(stop=(stop, "never"))), on_delta)
    assert result.completions[0].text == whole[: whole.index(stop)] == "".join(streamed)
    assert result.completions[0].finish_reason == "stop"


async def test_logprobs_come_for_every_token_when_asked_for_and_only_then(any_engine: Engine) -> None:
    plain = await any_engine.generate(GenerationRequest(ASK, sampling=greedy(max_tokens=4)))
    asked = await any_engine.generate(GenerationRequest(ASK, sampling=greedy(max_tokens=4, n_logprobs=2)))
    assert plain.completions[0].logprobs is None
    logprobs = asked.completions[0].logprobs
    assert logprobs is not None
    assert [len(logprob.top) for logprob in logprobs] == [2] * 4
    assert all(logprob.logprob <= 0 for logprob in logprobs)
    assert b"".join(bytes(logprob.bytes_) for logprob in logprobs).decode() == asked.completions[0].text


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (GenerationRequest(), InvalidRequestError),
        (GenerationRequest(ASK, prompt="and this"), InvalidRequestError),
        (GenerationRequest(prompt=""), InvalidRequestError),
        (GenerationRequest(ASK, n=0), InvalidRequestError),
        (GenerationRequest(ASK, model="no-such-model"), ModelNotFoundError),
    ],
    ids=["nothing", "both", "empty", "none", "unknown"],
)
async def test_a_request_that_cannot_be_used_is_refused_with_the_field_at_fault(
    any_engine: Engine, request_: GenerationRequest, error: type[CinqueError]
) -> None:
    with pytest.raises(error) as caught:
        await any_engine.generate(request_)
    assert caught.value.param


async def test_equal_texts_have_equal_vectors_of_length_one(any_engine: Engine) -> None:
    result = await any_engine.embed(EmbeddingRequest(("sort a list", "open a file", "sort a list")))
    first, other, again = result.embeddings
    assert first == again != other
    assert {len(vector) for vector in result.embeddings} == {result.dimensions}
    assert all(math.isclose(math.hypot(*vector), 1, rel_tol=1e-5) for vector in result.embeddings)
    assert result.usage.prompt_tokens > 0


@pytest.mark.parametrize("texts", [(), ("a", "")])
async def test_nothing_to_embed_is_refused(any_engine: Engine, texts: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await any_engine.embed(EmbeddingRequest(texts))
    assert caught.value.param == "input"


async def test_tokenizing_counts_the_tokens_it_gives(any_engine: Engine) -> None:
    result = await any_engine.tokenize(TokenizeRequest("def add(a, b):"))
    assert result.n_tokens == len(result.tokens) > 1
    assert (await any_engine.tokenize(TokenizeRequest(""))).tokens == ()


async def test_a_text_too_long_to_tokenize_is_refused(any_engine: Engine) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await any_engine.tokenize(TokenizeRequest("\u00fc" * (1 << 19) + "x"))
    assert caught.value.param == "text"


async def test_a_cancelled_request_leaves_nothing_running(any_engine: Engine) -> None:
    first_delta = anyio.Event()

    async def on_delta(_: tuple[Delta, ...]) -> None:
        first_delta.set()
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(any_engine.generate, GenerationRequest(ASK, n=2), on_delta)
            await first_delta.wait()
            group.cancel_scope.cancel()
        await any_engine.tokenize(TokenizeRequest("the answer comes after the abort"))
    assert (any_engine.statistics().n_running, any_engine.statistics().n_waiting) == (0, 0)


async def test_a_preloaded_model_is_known_with_its_context(any_engine: Engine) -> None:
    loaded = await any_engine.load()
    assert loaded in any_engine.statistics().loaded_models
    assert loaded.context_tokens == 1024
    with pytest.raises(ModelNotFoundError):
        await any_engine.load("no-such-model")


async def test_closing_twice_is_closing_once(any_engine: Engine) -> None:
    await any_engine.aclose()
    await any_engine.aclose()
