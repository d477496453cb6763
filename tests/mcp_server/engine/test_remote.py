"""The engine over a remote model, against servers that do as told: good, slow, wrong, dying, and several at once."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_server.engine.remote import RemoteEngine
from mcp_server.engine.remote_settings import RemoteModel, RemoteSettings
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
    CinqueError,
    ContextLengthError,
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    NotSupportedError,
    QueueFullError,
    UpstreamError,
)
from tests.upstreams import (
    CUT,
    Answer,
    RawUpstream,
    Received,
    Wait,
    answer,
    chunk,
    listening,
    stream,
    unused_url,
    usage,
)

pytestmark = pytest.mark.anyio

ASK = GenerationRequest((Message("user", "hello"),), sampling=SamplingParams(temperature=0))
HELLO = stream(chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage(5, 2))
Connect = Callable[..., Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make an engine over scripted servers; they listen, and the engine lives, as long as the test."""
    async with AsyncExitStack() as opened:

        async def make(*upstreams: RawUpstream, clock: Any = None, **settings: Any) -> RemoteEngine:
            key = settings.pop("api_key_env", None)
            for upstream in upstreams:
                if not upstream.url:
                    await opened.enter_async_context(listening(upstream))
            model = RemoteModel("far", tuple(upstream.url for upstream in upstreams), "their-name", key)
            made = RemoteSettings(**settings)
            engine = RemoteEngine(model, made, clock=clock) if clock else RemoteEngine(model, made)
            opened.push_async_callback(engine.aclose)
            return engine

        yield make


def gone() -> RawUpstream:
    """A server that nobody started."""
    upstream = RawUpstream()
    upstream.url = unused_url()
    return upstream


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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


def collector() -> tuple[list[Delta], Any]:
    seen: list[Delta] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        seen.extend(deltas)

    return seen, on_delta


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
        return stream(*texts, usage(4, n))

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


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, {"error": {"message": "top_k is odd", "param": "top_k"}}, InvalidRequestError, "top_k is odd"),
        (422, {"detail": [{"loc": ["body"]}]}, InvalidRequestError, "loc"),
        (400, {"error": {"type": "exceed_context_size_error", "message": "9 > 8"}}, ContextLengthError, "9 > 8"),
        (400, {"message": "maximum context length is 8"}, ContextLengthError, "8"),
        (404, {"error": {"message": "model 'their-name' not found"}}, ModelNotFoundError, "their-name"),
        (404, "nothing here", NotSupportedError, "nothing here"),
        (403, {"error": "no"}, UpstreamError, "api_key_env"),
        (429, {"error": {"message": "slow down"}}, QueueFullError, "slow down"),
        (503, {"error": {"message": "full", "code": "queue_full"}}, QueueFullError, "full"),
        (503, {"error": {"message": "Loading model", "code": 503}}, UpstreamError, "Loading model"),
        (500, "<html>" + "x" * 9999, UpstreamError, "500"),
        (307, "", UpstreamError, "307"),
    ],
)
async def test_a_refusal_is_our_error_in_the_words_of_the_server(
    connect: Connect, status: int, body: Any, error: type[CinqueError], words: str
) -> None:
    with pytest.raises(CinqueError, match=words) as caught:
        await (await connect(RawUpstream(answer(body, status)))).generate(ASK)
    assert error.code == caught.value.code
    assert len(caught.value.message) < 900


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (stream(chunk("a"), "{not json", done=False), "not json"),
        (stream(chunk("a"), "[]", done=False), "cannot be read"),
        (stream({"choices": [{"index": -1}]}), "cannot be read"),
        (stream({"choices": "x"}), "cannot be read"),
        (stream(chunk("a"), CUT), "broke off"),
        (stream(chunk("a"), done=False), "before the answer was whole"),
        (stream(), "before the answer was whole"),
        ((CUT,), "broke off"),
        ((b"garbage\r\n\r\n", CUT), "broke off"),
        (stream(chunk("a"), {"error": {"message": "out of memory", "code": 500}}), "out of memory"),
        (answer("hello", kind="text/html"), "cannot be read"),
    ],
    ids=["no JSON", "no object", "index", "choices", "cut", "ended", "empty", "silent", "garbage", "error", "html"],
)
async def test_a_broken_answer_is_an_upstream_error_and_counts_as_a_failure(
    connect: Connect, script: Answer, words: str
) -> None:
    upstream = RawUpstream(script)
    engine = await connect(upstream)
    with anyio.fail_after(5), pytest.raises(UpstreamError, match=words):
        await engine.generate(ASK, collector()[1])
    assert len(upstream.received) == 1 or script[0] == b"garbage\r\n\r\n"  # never sent again: it may be at work
    statistics = engine.statistics()
    assert (statistics.upstreams[0].n_failed, statistics.n_running, statistics.n_aborted) == (1, 0, 1)


async def test_an_event_without_end_is_refused(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.engine.remote_answer.MAX_EVENT_BYTES", 1000)
    endless = b"7d0\r\n" + b"x" * 2000 + b"\r\n"
    with anyio.fail_after(5), pytest.raises(UpstreamError, match="1000 bytes"):
        await (await connect(RawUpstream(stream(endless, Wait())))).generate(ASK)


async def test_silence_ends_with_the_setting_that_says_how_long(connect: Connect) -> None:
    engine = await connect(RawUpstream(stream(chunk("a"), Wait())), read_timeout_s=0.05)
    with anyio.fail_after(5), pytest.raises(UpstreamError, match="CINQUE_REMOTE_READ_TIMEOUT_S"):
        await engine.generate(ASK)


async def test_a_deadline_ends_the_request_there_too(connect: Connect) -> None:
    upstream = RawUpstream(stream(chunk("a"), Wait()))
    engine = await connect(upstream)
    request = GenerationRequest(ASK.messages, scheduling=SchedulingParams(deadline_ms=50))
    with anyio.fail_after(5):
        with pytest.raises(DeadlineError, match="50 ms"):
            await engine.generate(request)
        await upstream.left.wait()


async def test_cancelling_closes_the_connection_and_is_no_failure_of_the_server(connect: Connect) -> None:
    upstream = RawUpstream(stream(chunk("a"), Wait()))
    engine = await connect(upstream)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, ASK)
            await upstream.waiting.wait()
            group.cancel_scope.cancel()
        await upstream.left.wait()
    statistics = engine.statistics()
    assert (statistics.n_running, statistics.n_aborted, statistics.upstreams[0].n_failed) == (0, 1, 0)
    assert statistics.upstreams[0].n_in_flight == 0


async def test_the_error_of_a_consumer_is_raised_as_itself(connect: Connect) -> None:
    async def on_delta(_: tuple[Delta, ...]) -> None:
        msg = "the door is closed"
        raise KeyError(msg)

    with pytest.raises(KeyError):
        await (await connect(RawUpstream(HELLO))).generate(ASK, on_delta)


async def test_more_requests_than_may_wait_are_refused(connect: Connect) -> None:
    upstream = RawUpstream(stream(Wait()))
    engine = await connect(upstream, max_connections=1, max_waiting=0)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, ASK)
            await upstream.waiting.wait()
            with pytest.raises(QueueFullError):
                await engine.generate(ASK)
            group.cancel_scope.cancel()


# -- several servers ---------------------------------------------------------------------------------------------------


async def test_the_server_with_the_fewest_requests_in_flight_is_asked(connect: Connect) -> None:
    slow, other = RawUpstream(stream(Wait())), RawUpstream(HELLO)
    engine = await connect(slow, other)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(engine.generate, ASK)
            await slow.waiting.wait()
            for _ in range(3):
                await engine.generate(ASK)
            group.cancel_scope.cancel()
    assert (len(slow.received), len(other.received)) == (1, 3)
    for _ in range(2):
        await (await connect(*(servers := (RawUpstream(HELLO), RawUpstream(HELLO))))).generate(ASK)
        assert len(servers[0].received) == 1


async def test_a_server_that_cannot_be_reached_is_passed_over(connect: Connect) -> None:
    dead, alive = gone(), RawUpstream(HELLO)
    engine = await connect(dead, alive)
    for _ in range(4):
        assert (await engine.generate(ASK)).completions[0].text == "Hello"
    first, second = engine.statistics().upstreams
    assert (first.n_failed, first.is_healthy, second.n_failed) == (3, False, 0)


async def test_without_any_server_the_error_says_what_to_do(connect: Connect) -> None:
    engine = await connect(gone(), connect_retries=1)
    with anyio.fail_after(5), pytest.raises(UpstreamError, match=r"cannot be reached.*models\.toml"):
        await engine.generate(ASK)
    assert engine.statistics().upstreams[0].n_requests == 2


async def test_a_server_that_keeps_failing_is_left_alone_for_a_growing_time_and_then_probed(connect: Connect) -> None:
    is_broken = True

    def choose(received: Received) -> Answer:
        if is_broken:
            return answer("broken", 500)
        return answer({"data": []}) if received.path == "/v1/models" else HELLO

    clock, upstream = ManualClock(), RawUpstream(choose=choose)
    engine = await connect(upstream, clock=clock, breaker_failures=2, breaker_open_s=2, breaker_max_open_s=5)
    for _ in range(2):
        with pytest.raises(UpstreamError, match="broken"):
            await engine.generate(ASK)
    for open_s in (2, 4, 5, 5):
        assert engine.statistics().upstreams[0].opens_again_in_s == open_s
        n_before = len(upstream.received)
        with pytest.raises(UpstreamError, match="not asked now"):
            await engine.generate(ASK)
        assert len(upstream.received) == n_before
        clock.now += open_s
        if open_s < 5 or is_broken:
            with pytest.raises(UpstreamError, match="not asked now"):
                await engine.generate(ASK)  # one probe, which fails
            assert [received.path for received in upstream.received[n_before:]] == ["/v1/models"]
    is_broken = False
    clock.now += 5
    assert (await engine.generate(ASK)).completions[0].text == "Hello"
    assert engine.statistics().upstreams[0].is_healthy


async def test_health_is_told_of_every_server(connect: Connect) -> None:
    dead, locked, alive = gone(), RawUpstream(answer({"error": "no"}, 401)), RawUpstream(answer({"data": []}))
    engine = await connect(dead, locked, alive, breaker_failures=1)
    told = dict(await engine.check_health())
    assert "cannot be reached" in told[dead.url]
    assert "api_key_env" in told[locked.url]
    assert told[alive.url] == ""
    assert [upstream.is_healthy for upstream in engine.statistics().upstreams] == [False, True, True]


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
