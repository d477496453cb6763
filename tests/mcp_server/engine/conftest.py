<<<<<<< HEAD
"""Real engines on the embedded model (6 MB, loads in 0.1 s), each with a data folder of its own; remote ones."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
=======
"""Real engines on the embedded model (6 MB, loads in 0.1 s), each with a data folder of its own; and its samplers."""

from collections.abc import AsyncIterator, Callable, Iterator
>>>>>>> sampling
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_server.engine.async_engine import AsyncEngine
<<<<<<< HEAD
from mcp_server.engine.remote import RemoteEngine
from mcp_server.engine.remote_settings import RemoteModel, RemoteSettings
from mcp_server.engine.settings import EngineSettings
from tests.stepped import TINY, Stepped
from tests.upstreams import RawUpstream, listening
=======
from mcp_server.engine.catalog import ModelCatalog
from mcp_server.engine.grammar import Grammar
from mcp_server.engine.model_runner import ModelRunner
from mcp_server.engine.sampler import TokenSampler
from mcp_server.engine.scheduler import Chunk
from mcp_server.engine.sequence import Detokenizer, Sequence
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import SamplingParams
>>>>>>> sampling

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


<<<<<<< HEAD
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
=======
class Drawer:
    """A real context whose row of logits a test writes, so that it knows the distribution that is drawn from."""

    def __init__(self, runner: ModelRunner) -> None:
        self.runner, self.vocabulary = runner, runner.vocabulary
        self.n_vocab = runner.vocabulary.n_tokens
        self._open: list[TokenSampler] = []
        runner.remove(0, 0)
        sequence = Sequence(0, 0, [1], 1, 1, self.sampler(), Detokenizer())
        rows = runner.run([Chunk(sequence, 0, 0, [1], wants_logits=True)])
        assert rows is not None
        (self.row,) = rows

    def sampler(
        self, *, seed: int = 1, grammar: Grammar | None = None, prompt: tuple[int, ...] = (), **sampling: Any
    ) -> TokenSampler:
        self._open.append(
            TokenSampler(self.vocabulary, SamplingParams(**sampling), seed=seed, grammar=grammar, prompt=prompt)
        )
        return self._open[-1]

    def write(self, logits: Any) -> None:
        self.runner.logits(self.row)[:] = logits

    def draw(self, sampler: TokenSampler, logits: Any = None, n: int = 1) -> list[int | None]:
        drawn = []
        for _ in range(n):
            if logits is not None:
                self.write(logits)
            drawn.append(sampler.sample(self.runner.context, self.row))
        return drawn

    def flat(self, **likely: float) -> Any:
        """Logits of -50 but for those named `t10=3.0`, as if the vocabulary had no others."""
        logits = np.full(self.n_vocab, -50, np.float32)
        for name, value in likely.items():
            logits[int(name[1:])] = value
        return logits

    def accepts(self, grammar: Grammar, text: str | bytes) -> bool:
        """Tell whether a grammar allows this text, byte by byte, and then an end."""
        logits = self.flat()
        sampler = self.sampler(grammar=grammar, temperature=0)
        by_piece = {piece: token for token, piece in enumerate(self.vocabulary.pieces) if len(piece) == 1}
        data = text if isinstance(text, bytes) else text.encode()
        for token in (*(by_piece[bytes([byte])] for byte in data), self.vocabulary.end_tokens[0]):
            logits[:] = -50
            logits[token] = 0
            if self.draw(sampler, logits) != [token]:
                return False
        return True

    def close(self) -> None:
        for sampler in self._open:
            sampler.close()


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
>>>>>>> sampling
