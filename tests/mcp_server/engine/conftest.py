"""Real engines on the embedded model (6 MB, loads in 0.1 s), each with a data folder; remote ones; and samplers."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.model_runner import ModelRunner
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.remote.engine import RemoteEngine
from mcp_server.engine.remote.settings import RemoteModel, RemoteSettings
from mcp_server.engine.settings import EngineSettings
from tests.drawer import Drawer
from tests.stepped import TINY, Stepped
from tests.upstreams import RawUpstream, listening

MakeSettings = Callable[..., EngineSettings]
Connect = Callable[..., Any]


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


@pytest.fixture(scope="module")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsyncEngine]:
    """Give one engine to a file of tests that ask and leave nothing behind; a file says so by its own `engine`."""
    engine = AsyncEngine(EngineSettings(home=tmp_path_factory.mktemp("home"), kv_cache_tokens=2048))
    yield engine
    anyio.run(engine.aclose)


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


@pytest.fixture
def stepped(make_settings: Any) -> Iterator[Callable[..., Stepped]]:
    made: list[Stepped] = []

    def make(**changes: Any) -> Stepped:
        made.append(Stepped(make_settings(**({"model": TINY, "kv_layout": "split", "n_slots": 2} | changes))))
        return made[-1]

    yield make
    for one in made:
        one.host.close()


@pytest.fixture(scope="session")
def model_runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRunner]:
    settings = EngineSettings(home=tmp_path_factory.mktemp("home"), kv_cache_tokens=2048)
    runner = ModelRunner(Path(ModelCatalog(settings).resolve(None).path), settings)
    yield runner
    runner.close()


@pytest.fixture
def drawer(model_runner: ModelRunner) -> Iterator[Drawer]:
    drawer = Drawer(model_runner)
    yield drawer
    drawer.close()
