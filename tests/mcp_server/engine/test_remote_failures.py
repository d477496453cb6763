"""The engine over a remote model when servers fail: refusals, nonsense, silence, death, and several at once."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcp_server.engine.types import (
    Delta,
    GenerationRequest,
    SchedulingParams,
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
    ASK,
    CUT,
    HELLO,
    Answer,
    RawUpstream,
    Received,
    Wait,
    answer,
    chunk,
    collector,
    gone,
    stream,
)

Connect = Callable[..., Any]
pytestmark = pytest.mark.anyio


class ManualClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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


async def test_what_came_before_a_failure_is_delivered_before_it_is_raised(connect: Connect) -> None:
    seen, on_delta = collector()
    with pytest.raises(UpstreamError):
        await (await connect(RawUpstream(stream(chunk("a"), chunk("b"), "nonsense")))).generate(ASK, on_delta)
    assert "".join(delta.text for delta in seen) == "ab"


async def test_an_event_without_end_is_refused(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcp_server.engine.remote.answer.MAX_EVENT_BYTES", 1000)
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
