"""The llama-server door over an engine that always says the same, one of each for a file of tests."""

from collections.abc import AsyncIterator

import httpx
import pytest

from shim.doors.atlas.llama import DOOR
from tests.fakes import ScriptedEngine
from tests.stack import open_door

TEXT = "one two\nthree"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of a file from one event loop, so that the door is built once."""
    return "asyncio"


@pytest.fixture(scope="module")
def engine() -> ScriptedEngine:
    return ScriptedEngine([TEXT], models=("other",))


@pytest.fixture(scope="module")
async def client(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(DOOR, tmp_path_factory.mktemp("home"), engine=engine, models=("other",)) as client:
        yield client
