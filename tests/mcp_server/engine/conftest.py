"""Real engines on the embedded model (6 MB, loads in 0.1 s), each with a data folder of its own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.settings import EngineSettings

MakeSettings = Callable[..., EngineSettings]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def make_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    for name in ("CINQUE_HOME", "CINQUE_ENGINE_MODEL", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)

    def make(**changes: Any) -> EngineSettings:
        return EngineSettings(**({"home": tmp_path / "home", "kv_cache_tokens": 2048} | changes))

    return make


@pytest.fixture
async def engine(make_settings: MakeSettings) -> AsyncIterator[AsyncEngine]:
    engine = AsyncEngine(make_settings())
    yield engine
    await engine.aclose()
