"""How the cells of one context are laid out, decided from the file's header before anything native is made.

Split: every sequence has cells of its own, so attention walks over its own tokens only; a shared prefix is copied.
Unified: all sequences share one pool, so attention walks over everybody's tokens; a shared prefix is stored once.
On a CPU split decodes up to five times as fast; it needs memory for `n_slots` whole contexts. Sizes are estimates of
the attention cache; recurrent states, which do not grow with the text, are not in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mcp_server.engine.machine import count_memory_bytes
from mcp_server.engine.settings import CacheType, EngineSettings

CELL_PADDING = 256  # tokens; llama.cpp rounds each sequence's cells up to as many
MEMORY_SHARE = 8  # one part in as many of the memory goes to a split cache unless the setting says otherwise

_BYTES_A_NUMBER: Mapping[CacheType, float] = {
    "f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32,
    "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip


@dataclass(frozen=True)
class KVPlan:
    """The cells of one context."""

    layout: Literal["split", "unified"]
    n_cells: int  # all sequences together
    n_bytes: int  # estimated


def plan_kv(metadata: Mapping[str, Any], settings: EngineSettings, context_tokens: int) -> KVPlan:
    """Choose the layout for sequences of `context_tokens` and count its cells and bytes."""
    token_bytes = count_token_bytes(metadata, settings)
    n_split = settings.n_slots * -(-context_tokens // CELL_PADDING) * CELL_PADDING
    budget = settings.kv_cache_bytes or count_memory_bytes() // MEMORY_SHARE
    if settings.kv_layout == "split" or (settings.kv_layout == "auto" and n_split * token_bytes <= budget):
        return KVPlan("split", n_split, int(n_split * token_bytes))
    n_unified = min(max(settings.kv_cache_tokens, context_tokens), settings.n_slots * context_tokens)
    return KVPlan("unified", n_unified, int(n_unified * token_bytes))


def count_token_bytes(metadata: Mapping[str, Any], settings: EngineSettings) -> float:
    """Estimate the cache that one token of one sequence takes, over all layers."""
    architecture = metadata.get("general.architecture", "")

    def number(key: str, default: int) -> int:
        value = metadata.get(f"{architecture}.{key}", default)
        return max(value) if isinstance(value, list) else int(value)

    n_heads = number("attention.head_count", 1) or 1
    n_layers, n_kv_heads = number("block_count", 1), number("attention.head_count_kv", n_heads)
    head = number("embedding_length", 0) // n_heads
    key_bytes = number("attention.key_length", head) * _BYTES_A_NUMBER[settings.cache_type_k]
    value_bytes = number("attention.value_length", head) * _BYTES_A_NUMBER[settings.cache_type_v]
    return n_layers * n_kv_heads * (key_bytes + value_bytes)
