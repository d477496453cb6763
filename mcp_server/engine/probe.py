"""`python -m mcp_server.engine.probe`: loads the embedded quantised model and decodes a batch of several tokens.

A wrong build of the native library ends the process at the first such batch, so `cinque doctor` and the tests run
this in a process of its own. Prints one line that says what was used.
"""

import sys
from importlib import metadata

import anyio

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import GenerationRequest, Message, SamplingParams

QUESTION = "Write a Python function add(a, b) that returns their sum."  # a prompt of many tokens, hence a batch
N_TOKENS = 16


async def probe() -> str:
    """Generate a few tokens with the embedded model; return what was used."""
    settings = EngineSettings()
    catalog = ModelCatalog(settings)
    engine = AsyncEngine(settings, catalog)
    embedded = next(model for model in catalog.list() if model.source == "embedded")
    request = GenerationRequest(
        messages=(Message("user", QUESTION),),
        model=embedded.model_id,
        sampling=SamplingParams(max_tokens=N_TOKENS, temperature=0.0),
    )
    try:
        result = await engine.generate(request)
    finally:
        await engine.aclose()
    speed = result.usage.completion_tokens / max(result.timings.decode_ms, 1e-9) * 1000
    version = metadata.version("llama-cpp-python")
    return f"llama-cpp-python {version}, {speed:.0f} tokens/s with {embedded.model_id}"


if __name__ == "__main__":
    sys.stdout.write(anyio.run(probe) + "\n")
