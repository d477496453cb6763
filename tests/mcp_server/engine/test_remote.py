"""The engine over a remote model: what it sends to a server, and what it makes of good answers."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_server.engine.remote.engine import RemoteEngine
from mcp_server.engine.remote.settings import RemoteModel, RemoteSettings
from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    GenerationRequest,
    Infill,
    InfillFile,
    Message,
    OutputParams,
    RerankRequest,
    SamplingParams,
    SchedulingParams,
    TemplateParams,
    TokenizeRequest,
    Tool,
    ToolCall,
    ToolUse,
)
from mcp_server.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    NotSupportedError,
    UpstreamError,
)
from tests.upstreams import (
    ASK,
    HELLO,
    Answer,
    RawUpstream,
    Received,
    Wait,
    answer,
    chunk,
    collector,
    listening,
    stream,
    usage,
)

Connect = Callable[..., Any]
pytestmark = pytest.mark.anyio

# -- what is sent ------------------------------------------------------------------------------------------------------


async def test_messages_become_a_streamed_chat_completion(connect: Connect) -> None:
    upstream = RawUpstream(HELLO)
    result = await (await connect(upstream)).generate(ASK)
    (received,) = upstream.received
    assert (received.method, received.path) == ("POST", "/v1/chat/completions")
    assert received.body == {
        "model": "their-name",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "top_p": 0.95,
    }
    assert (result.model, result.completions[0].text, result.completions[0].finish_reason) == ("far", "Hello", "stop")
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (5, 2)
    assert result.timings.prefill_ms >= 0


async def test_what_is_asked_is_sent_under_the_names_that_servers_know(connect: Connect) -> None:
    upstream = RawUpstream(HELLO)
    sampling = SamplingParams(
        max_tokens=9, top_k=5, repetition_penalty=1.1, seed=3, stop=("x",), n_logprobs=0, json_schema={"type": "object"}
    )
    calls = (ToolCall("c1", "add", "{}"),)
    messages = (Message("assistant", "", "thought", calls), Message("tool", "3", tool_call_id="c1"))
    request = GenerationRequest(
        messages,
        sampling=sampling,
        tool_use=ToolUse((Tool("add", "Adds", {"type": "object"}),), name="add", parallel=False),
        template=TemplateParams({"enable_thinking": False}),
        scheduling=SchedulingParams(cache_prompt=False),
    )
    await (await connect(upstream)).generate(request)
    body = upstream.received[0].body
    wanted = {
        "max_tokens": 9,
        "top_k": 5,
        "repeat_penalty": 1.1,
        "repetition_penalty": 1.1,
        "seed": 3,
        "stop": ["x"],
        "logprobs": True,
        "top_logprobs": 1,
        "cache_prompt": False,
        "chat_template_kwargs": {"enable_thinking": False},
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
    }
    assert wanted.items() <= body.items()
    function = {"name": "add", "description": "Adds", "parameters": {"type": "object"}}
    assert body["tools"] == [{"type": "function", "function": function}]
    said, answered = body["messages"]
    assert (said["reasoning_content"], said["content"], said["tool_calls"][0]["id"]) == ("thought", None, "c1")
    assert (answered["role"], answered["tool_call_id"]) == ("tool", "c1")


async def test_a_prompt_and_token_ids_become_completions_and_the_prompt_is_echoed_on_wish(connect: Connect) -> None:
    upstream = RawUpstream(stream({"choices": [{"text": " there", "index": 0, "finish_reason": "length"}]}))
    engine = await connect(upstream)
    echo = OutputParams(echo=True)
    seen, on_delta = collector()
    result = await engine.generate(GenerationRequest(prompt="hello", output=echo), on_delta)
    await engine.generate(GenerationRequest(prompt_token_ids=(1, 2)))
    assert [received.path for received in upstream.received] == ["/v1/completions"] * 2
    assert [received.body["prompt"] for received in upstream.received] == ["hello", [1, 2]]
    assert result.completions[0].text == "hello there" == "".join(delta.text for delta in seen)
    assert result.completions[0].finish_reason == "length"


async def test_a_gap_goes_to_infill_and_where_there_is_none_becomes_a_completion_with_a_suffix(
    connect: Connect,
) -> None:
    native = stream({"content": "pass", "stop": False}, {"content": "", "stop": True, "tokens_predicted": 1})
    request = GenerationRequest(infill=Infill("def f():", "\nf()", " #", (InfillFile("a.py", "x"),)))
    llama = RawUpstream(native)
    assert (await (await connect(llama)).generate(request)).completions[0].text == "pass"
    assert (llama.received[0].path, llama.received[0].body["input_prefix"]) == ("/infill", "def f():")

    other = RawUpstream(
        answer({"detail": "Not Found"}, 404), stream({"choices": [{"text": "x", "finish_reason": "stop"}]})
    )
    plain = GenerationRequest(infill=Infill("def f():", "\nf()", " #"))
    assert (await (await connect(other)).generate(plain)).completions[0].text == "x"
    body = other.received[1].body
    assert (body["prompt"], body["suffix"]) == ("def f(): #", "\nf()")
    assert "input_prefix" not in body
    with pytest.raises(NotSupportedError):
        await (await connect(RawUpstream(answer({"detail": "Not Found"}, 404)))).generate(request)


async def test_the_key_is_read_from_the_environment_and_never_told(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = RawUpstream(HELLO, answer({"error": {"message": "bad key"}}, 401))
    engine = await connect(upstream, api_key_env="FAR_KEY")
    with pytest.raises(UpstreamError, match="FAR_KEY"):
        await engine.generate(ASK)
    monkeypatch.setenv("FAR_KEY", "s3cret")
    await engine.generate(ASK)
    assert upstream.received[0].headers["authorization"] == "Bearer s3cret"
    with pytest.raises(UpstreamError, match=r"bad key.*FAR_KEY") as caught:
        await engine.generate(ASK)
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_a_url_may_end_in_v1_or_not(ending: str) -> None:
    upstream = RawUpstream(HELLO)
    async with listening(upstream):
        engine = RemoteEngine(RemoteModel("far", (upstream.url + ending,)), RemoteSettings())
        await engine.generate(ASK)
        await engine.aclose()
    assert upstream.received[0].path == "/v1/chat/completions"
    assert upstream.received[0].body["model"] == "far"


# -- what comes back ---------------------------------------------------------------------------------------------------


async def test_what_arrives_while_the_consumer_is_busy_comes_as_one_delta(connect: Connect) -> None:
    wait = Wait()
    upstream = RawUpstream(stream(chunk("a"), wait, chunk("b"), chunk("c"), chunk("d", "stop"), usage(1, 4)))
    engine = await connect(upstream)
    texts: list[str] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        texts.append("".join(delta.text for delta in deltas))
        if len(texts) == 1:
            wait.go.set()
            while engine.statistics().upstreams[0].n_in_flight:  # until all has arrived
                await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        result = await engine.generate(ASK, on_delta)
    assert texts == ["a", "bcd"]
    assert result.completions[0].text == "abcd"


async def test_reasoning_and_tool_calls_come_apart_from_the_text(connect: Connect) -> None:
    first = {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a":'}}
    upstream = RawUpstream(
        stream(
            chunk(reasoning_content="hm"),
            chunk("So"),
            chunk(tool_calls=[first]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": " 1}"}}]),
            chunk(finish="tool_calls"),
            usage(1, 9, prompt_tokens_details={"cached_tokens": 1}),
        )
    )
    seen, on_delta = collector()
    result = await (await connect(upstream)).generate(ASK, on_delta)
    (completion,) = result.completions
    assert (completion.reasoning, completion.text, completion.finish_reason) == ("hm", "So", "stop")
    assert completion.tool_calls == (ToolCall("c1", "add", '{"a": 1}'),)
    assert "".join(call.arguments for delta in seen for call in delta.tool_calls) == '{"a": 1}'
    assert sum(delta.n_tokens for delta in seen) == result.usage.completion_tokens == 9
    assert result.usage.cached_tokens == 1


async def test_reasoning_that_is_wanted_in_the_text_is_put_there(connect: Connect) -> None:
    upstream = RawUpstream(stream(chunk(reasoning_content="hm"), chunk("So"), chunk(finish="stop")))
    request = GenerationRequest(ASK.messages, output=OutputParams(reasoning="inline"))
    (completion,) = (await (await connect(upstream)).generate(request)).completions
    assert (completion.text, completion.reasoning) == ("<think>\nhm\n</think>\n\nSo", "")
    assert upstream.received[0].body["reasoning_format"] == "none"


async def test_token_ids_are_taken_from_logprobs_where_the_server_gives_them_nowhere_else(connect: Connect) -> None:
    entry = {"id": 7, "token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    part = chunk("a", "stop")
    part["choices"][0]["logprobs"] = {"content": [entry]}
    request = GenerationRequest(ASK.messages, output=OutputParams(return_token_ids=True))
    (completion,) = (await (await connect(RawUpstream(stream(part)))).generate(request)).completions
    assert completion.token_ids == (7,)
    assert completion.logprobs is None


async def test_a_server_that_does_not_stream_is_understood(connect: Connect) -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]} | {
        "usage": {"prompt_tokens": 5, "completion_tokens": 2}
    }
    result = await (await connect(RawUpstream(answer(whole)))).generate(ASK)
    assert (result.completions[0].text, result.usage.completion_tokens) == ("Hello", 2)


@pytest.mark.parametrize("way", ["together", "ignored", "refused"])
async def test_n_completions_come_whether_the_server_takes_n_or_not(connect: Connect, way: str) -> None:
    def choose(received: Received) -> Answer:
        n = received.body.get("n", 1)
        if n == 1 or way == "ignored":
            return stream(chunk(str(received.body["seed"]), "stop"), usage(4, 1))
        if way == "refused":
            return answer({"error": {"message": "n > 1 is not supported"}}, 400)
        texts = [chunk(str(received.body["seed"] + i), "stop", i) for i in range(n)]
        return stream(*texts, usage(4, 1))  # as llama-server, which tells what one of them cost

    upstream = RawUpstream(choose=choose)
    engine = await connect(upstream)
    request = GenerationRequest(ASK.messages, n=3, sampling=SamplingParams(seed=5))
    seen, on_delta = collector()
    for _ in range(2):
        result = await engine.generate(request, on_delta)
        assert [(one.index, one.text) for one in result.completions] == [(0, "5"), (1, "6"), (2, "7")]
        assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (4, 3)
    assert len(upstream.received) == {"together": 2, "ignored": 6, "refused": 7}[way]  # the second time it is known
    assert {delta.index for delta in seen} == {0, 1, 2}


# -- everything else ---------------------------------------------------------------------------------------------------


async def test_a_server_without_an_endpoint_cannot_do_that(connect: Connect) -> None:
    engine = await connect(RawUpstream(answer({"detail": "Not Found"}, 404)))
    for ask in (
        lambda: engine.tokenize(TokenizeRequest("a")),
        lambda: engine.detokenize((1,)),
        lambda: engine.render(ASK),
        lambda: engine.rerank(RerankRequest("a", ("b",))),
        lambda: engine.embed(EmbeddingRequest(("a",))),
    ):
        with pytest.raises(NotSupportedError):
            await ask()


@pytest.mark.parametrize(
    "body", [{}, {"data": []}, {"data": [{"embedding": "x"}]}, {"data": [{"embedding": ["x"]}]}, {"data": [{}]}]
)
async def test_nonsense_instead_of_embeddings_is_an_upstream_error(connect: Connect, body: Any) -> None:
    with pytest.raises(UpstreamError):
        await (await connect(RawUpstream(answer(body)))).embed(EmbeddingRequest(("a",)))


async def test_a_model_is_described_by_what_its_server_tells(connect: Connect) -> None:
    entry = {"id": "other-name", "meta": {"n_vocab": 9, "n_ctx_train": 4096, "n_params": 7, "size": 5, "n_embd": 3}}
    props = {"default_generation_settings": {"n_ctx": 2048}, "total_slots": 4, "chat_template": "{{ tools }}"}
    upstream = RawUpstream(choose=lambda received: answer(props if received.path == "/props" else {"data": [entry]}))
    engine = await connect(upstream)
    told = await engine.describe()
    assert (told.model_id, told.n_vocab, told.context_tokens, told.trained_context_tokens) == ("far", 9, 2048, 4096)
    assert (told.n_slots, told.has_native_tools, told.n_embedding) == (4, True, 3)
    assert (await engine.load()).context_tokens == 2048
    assert await engine.unload()
    assert not await engine.unload()


async def test_a_model_that_its_server_does_not_list_is_not_found(connect: Connect) -> None:
    upstream = RawUpstream(answer({"data": [{"id": "a"}, {"id": "b"}]}))
    with pytest.raises(ModelNotFoundError, match=r"their-name.*a, b"):
        await (await connect(upstream)).load()


async def test_half_a_character_and_what_is_no_number_do_no_harm(connect: Connect) -> None:
    upstream = RawUpstream(HELLO)
    engine = await connect(upstream)
    await engine.generate(GenerationRequest((Message("user", "a\ud800b"),)))
    assert upstream.received[0].body["messages"][0]["content"] == "a?b"
    with pytest.raises(InvalidRequestError):
        await engine.generate(GenerationRequest(ASK.messages, sampling=SamplingParams(temperature=float("nan"))))
