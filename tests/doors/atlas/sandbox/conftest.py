"""The real sandbox behind the door, with few places, for the tests that a scripted one cannot answer."""

from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from sandbox.errors import SandboxUnavailableError
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from shim.gateway import Gateway
from tests.stack import connected_gateway, scripted_capabilities


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of a file from one event loop, so that its sandbox and its door are opened once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def real_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    settings = SandboxSettings(home=tmp_path_factory.mktemp("home"), max_running=2, max_waiting=3, lint=False)
    sandbox = Sandbox(settings)
    try:
        await anyio.to_thread.run_sync(sandbox._ready)
    except SandboxUnavailableError as error:
        pytest.skip(error.message)
    yield sandbox
    await anyio.to_thread.run_sync(sandbox.close)


@pytest.fixture(scope="module")
async def real_gateway(real_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    capabilities = replace(scripted_capabilities(tmp_path_factory.mktemp("rag")), sandbox=real_sandbox)
    async with connected_gateway(capabilities) as gateway:
        yield gateway
