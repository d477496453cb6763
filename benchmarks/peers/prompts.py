"""Prompts of a wanted number of tokens that no cache has seen, and the models to ask."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.models.catalog import EMBEDDED_PATH
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import TokenizeRequest
from tests.random_models import random_model

WORDS = tuple(
    word
    for line in (
        "return value list name index string number key item result count path file line error state node table",
        "first last open close read write sort find split join merge check print round total start stop left right",
    )
    for word in line.split()
)
END_TEXTS = ("<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "</s>")
SHAPES = {  # name on the command line -> vocabulary and shape
    "0.5b": (
        "qwen2",
        {"arch": "qwen2", "layers": 24, "dim": 896, "ff": 4864, "heads": 14, "kv_heads": 2, "kind": "Q4_0"},
    ),
}


class Prompts:
    """Makes prompts for one model."""

    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self._engine = engine
        self._random = random.Random(seed)  # noqa: S311 - no secret

    async def text(self, n_tokens: int) -> str:
        """Give a text of `n_tokens` tokens, or one more or less where a cut token is split anew."""
        words = " ".join(self._random.choices(WORDS, k=2 * n_tokens))
        tokens = (await self._engine.tokenize(TokenizeRequest(words))).tokens
        return (await self._engine.detokenize(tokens[:n_tokens])).text

    async def end_tokens(self) -> tuple[int, ...]:
        """Find the tokens that end an answer."""
        described = await self._engine.describe()
        texts = dict.fromkeys((described.eos_token, *END_TEXTS))
        tokens = [(await self._engine.tokenize(TokenizeRequest(text))).tokens for text in texts if text]
        return tuple(dict.fromkeys(one[0] for one in tokens if len(one) == 1))


@asynccontextmanager
async def prompts_for(model: Path, seed: int) -> AsyncIterator[Prompts]:
    """Load the model for its vocabulary only: with the smallest context, and freed at the end."""
    engine = AsyncEngine(EngineSettings(model=str(model), max_context_tokens=64, kv_cache_tokens=64, n_slots=1))
    try:
        yield Prompts(engine, seed)
    finally:
        await engine.aclose()


def find_model(name: str) -> Path:
    """Give the path of a model by its name on the command line: `embedded`, a shape, or a path."""
    if name == "embedded":
        return next(EMBEDDED_PATH.glob("*.gguf"))
    if name in SHAPES:
        vocabulary, shape = SHAPES[name]
        return random_model(vocabulary, **shape)
    return Path(name)
