"""The gateway's connection: it comes and goes, falls silent, is lost during a call, and calls wait for the next."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from mcp.client._memory import InMemoryTransport

from mcp_server.app import build_server
from mcp_server.contract import Delta, ExecutionRequest, GenerationRequest, Message, TokenizeRequest
from shim.errors import ApiError, BackendUnavailableError
from shim.gateway import Gateway
from shim.metrics import Metrics
from tests.fakes import Reply, ScriptedEngine
from tests.stack import scripted_capabilities

HELLO = GenerationRequest(messages=(Message("user", "hi"),))


async def ignore(_: tuple[Delta, ...]) -> None:
    pass


async def test_a_call_while_disconnected_waits_for_the_connection(tmp_path: Path) -> None:
    gateway = Gateway(restart_wait_s=60)
    capabilities = scripted_capabilities(tmp_path)
    answers: list[str] = []

    async def call() -> None:
        answers.append((await gateway.generate(HELLO)).model)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            async with gateway.connected(InMemoryTransport(build_server(capabilities))):
                while gateway.statistics().n_in_flight:
                    await anyio.lowlevel.checkpoint()
    capabilities.retrieval.close()
    assert answers == ["scripted"]


async def test_a_call_that_no_connection_comes_for_is_unavailable() -> None:
    gateway = Gateway(restart_wait_s=0)
    with pytest.raises(BackendUnavailableError) as caught:
        await gateway.list_models()
    assert caught.value.is_retryable
    assert not gateway.statistics().is_connected


@pytest.mark.parametrize("on_deltas", [None, ignore], ids=["whole", "streamed"])
async def test_a_connection_lost_during_a_call_is_unavailable(on_deltas: Any, tmp_path: Path) -> None:
    engine = ScriptedEngine([Reply(("a", "b"), gate=anyio.Event(), gate_at=1)])
    failures: list[ApiError] = []
    gateway = Gateway(restart_wait_s=0)

    async def call() -> None:
        try:
            await gateway.generate(HELLO, on_deltas)
        except ApiError as error:
            failures.append(error)

    capabilities = scripted_capabilities(tmp_path, engine=engine)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:  # noqa: SIM117 - the connection ends first, then the call
            async with gateway.connected(InMemoryTransport(build_server(capabilities))):
                group.start_soon(call)
                await engine.wait_until_running(1)
    capabilities.retrieval.close()
    (failure,) = failures
    assert isinstance(failure, BackendUnavailableError)
    assert not gateway.statistics().is_connected


async def test_a_call_that_changes_nothing_is_made_again_when_its_connection_is_lost(tmp_path: Path) -> None:
    gateway = Gateway(restart_wait_s=60)
    capabilities = scripted_capabilities(tmp_path)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            async with gateway.connected(silent_transport()):
                group.start_soon(gateway.tokenize, TokenizeRequest("one"))
                group.start_soon(raises_unavailable, gateway.execute(ExecutionRequest("x")))
                await anyio.wait_all_tasks_blocked()
                assert gateway.statistics().n_in_flight == 2
            async with gateway.connected(InMemoryTransport(build_server(capabilities))):
                while gateway.statistics().n_in_flight:
                    await anyio.lowlevel.checkpoint()
    capabilities.retrieval.close()
    assert (gateway.statistics().n_calls, gateway.statistics().n_failed) == (2, 1)


async def raises_unavailable(call: Awaitable[object]) -> None:
    with pytest.raises(BackendUnavailableError, match="stopped during this"):
        await call


@asynccontextmanager
async def silent_transport() -> AsyncIterator[Any]:
    """Connect to a server that hears everything and answers nothing."""
    answers, read = anyio.create_memory_object_stream[Any](0)
    write, questions = anyio.create_memory_object_stream[Any](1000)
    with answers, read, write, questions:
        yield read, write


async def test_a_status_that_does_not_come_is_unavailable() -> None:
    gateway = Gateway(status_timeout_s=0.01)
    with anyio.fail_after(5):
        async with gateway.connected(silent_transport()):
            with pytest.raises(BackendUnavailableError, match=r"did not answer within 0\.01 s"):
                await gateway.status()
            assert (gateway.statistics().n_failed, gateway.statistics().n_in_flight) == (1, 0)
            page = (await Metrics(gateway).render()).decode()
    assert "cinque_mcp_server_up 0.0" in page
    assert "cinque_gateway_calls 1.0" in page


async def test_a_ping_is_answered_while_every_thread_of_the_server_works(tmp_path: Path) -> None:
    gateway, capabilities = Gateway(), scripted_capabilities(tmp_path)
    async with gateway.connected(InMemoryTransport(build_server(capabilities))):
        limiter = anyio.to_thread.current_default_thread_limiter()
        for n in range(n_threads := int(limiter.total_tokens)):
            limiter.acquire_on_behalf_of_nowait(n)
        with anyio.fail_after(5):
            await gateway.ping()
        for n in range(n_threads):
            limiter.release_on_behalf_of(n)
    capabilities.retrieval.close()


async def test_without_a_server_no_ping_is_answered() -> None:
    with pytest.raises(BackendUnavailableError):
        await Gateway(restart_wait_s=0).ping()


async def test_a_gateway_that_is_told_of_the_end_lets_calls_wait() -> None:
    gateway = Gateway(restart_wait_s=0)
    async with gateway.connected(silent_transport()):
        gateway.disconnect()
        gateway.disconnect()
        with pytest.raises(BackendUnavailableError, match="is not up"):
            await gateway.generate(HELLO)


async def test_a_gateway_connects_again(tmp_path: Path) -> None:
    gateway = Gateway(restart_wait_s=0)
    capabilities = scripted_capabilities(tmp_path)
    for _ in range(2):
        async with gateway.connected(InMemoryTransport(build_server(capabilities))):
            assert (await gateway.generate(HELLO)).model == "scripted"
    capabilities.retrieval.close()
    assert gateway.statistics().n_calls == 2
