"""`python -m mcp_server.engine.probe`: loads the embedded quantised model and decodes a batch of several tokens.

A wrong build of the native library ends the process at the first such batch, so `cinque doctor` and the tests run
this in a process of its own. Prints one line of JSON, a `ProbeReport`, that says what was used.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import anyio

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import GenerationRequest, Message, ModelProperties, SamplingParams

QUESTION = "Write a Python function add(a, b) that returns their sum."  # a prompt of many tokens, hence a batch
N_TOKENS = 16
REPORTED = ("cache_type_k", "cache_type_v", "gpu_layers", "mmap", "mlock", "split_mode")  # settings worth telling


@dataclass(frozen=True)
class ProbeReport:
    """What was found and used."""

    version: str  # of llama-cpp-python
    model_id: str  # that was tried
    tokens_per_s: float
    supports_gpu: bool
    devices: tuple[dict[str, Any], ...]  # each a `devices.Device`
    features: tuple[str, ...]
    n_threads: int
    n_slots: int
    kv_layout: str
    flash_attention: bool
    settings: dict[str, Any]  # of the engine, by name


async def probe() -> ProbeReport:
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
        properties = await engine.describe(embedded.model_id)
    finally:
        await engine.aclose()
    speed = result.usage.completion_tokens / max(result.timings.decode_ms, 1e-9) * 1000
    return _report(properties, settings, speed)


def _report(properties: ModelProperties, settings: EngineSettings, speed: float) -> ProbeReport:
    from mcp_server.engine.native import devices  # noqa: PLC0415  # loads the native library; see LAZY of the house rules

    return ProbeReport(
        version=metadata.version("llama-cpp-python"),
        model_id=properties.model_id,
        tokens_per_s=speed,
        supports_gpu=devices.supports_gpu(),
        devices=tuple(dataclasses.asdict(device) for device in devices.devices()),
        features=devices.features(),
        n_threads=properties.n_threads,
        n_slots=properties.n_slots,
        kv_layout=properties.kv_layout,
        flash_attention=properties.flash_attention,
        settings=settings.model_dump(include=set(REPORTED)),
    )


def main() -> None:
    """Print the report."""
    sys.stdout.write(json.dumps(dataclasses.asdict(anyio.run(probe))) + "\n")


if __name__ == "__main__":
    main()
