"""How much memory a model will take, said before it is loaded, and how much there is.

The estimate is read from the header of the file and the settings: weights, the cells of the KV cache or the states of
recurrent layers, the buffers of computation, and the vocabulary. Weights that are mapped from the file count as if they
were read; where a CPU build packs them anew, the pages of the file that stay until somebody needs the memory do not
count. Nor does what may come later: the context for embeddings, made when they are first asked for, and the states of
old prompts, which have a bound of their own (`prefix_cache_bytes`). Loads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mcp_server.engine.machine import count_memory_bytes
from mcp_server.engine.models.gguf_file import GgufHeader, read_header, split_parts
from mcp_server.engine.native.kv_layout import KVPlan, plan_kv
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Model

BUDGET_SHARE = 0.75  # of what the machine has; the rest is the system's, the doors', the sandbox's and the index's
MAX_PASS_TOKENS = 512  # of one native pass where the setting leaves it to the build; on a CPU it is half of that
MIN_OUTPUTS = 32  # rows of logits that a context has room for, however few its slots
FLOAT_BYTES = 4
ACTIVATIONS = 6  # vectors of the model's width that are held at once for each token of a pass
VOCABULARY_BYTES = 500  # a token, in native tables and caches; measured with 3,000 to 262,000 tokens: 440 to 560
FIXED_BYTES = 24 << 20  # of a context whatever the model: graphs, work buffers of threads, the batch
ESTIMATES_KEPT = 32


@dataclass(frozen=True)
class MemoryEstimate:
    """What one loaded model takes (bytes)."""

    weights_bytes: int
    kv_cache_bytes: int  # or the states of recurrent layers
    compute_bytes: int
    vocabulary_bytes: int

    @property
    def total_bytes(self) -> int:
        """Everything."""
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes + self.vocabulary_bytes + FIXED_BYTES


def estimate_memory(model: Model, settings: EngineSettings) -> MemoryEstimate:
    """Say what a model of this machine will take with these settings.

    Raises:
        ModelLoadError: A file is missing, damaged or truncated.
    """
    shape = _read_shape(model.path, model.size_bytes, model.created_at)
    context_tokens = min(settings.max_context_tokens, shape.context_tokens)
    plan = plan_kv(shape.metadata, settings, context_tokens)
    return MemoryEstimate(
        weights_bytes=shape.weights_bytes,
        kv_cache_bytes=(plan.n_bytes if shape.n_heads else 0) + settings.n_slots * shape.state_bytes,
        compute_bytes=_compute_bytes(shape, settings, plan),
        vocabulary_bytes=shape.n_vocab * VOCABULARY_BYTES,
    )


def default_budget_bytes() -> int:
    """Give the share of this machine's memory, or of its container's, that models may take together."""
    return int(BUDGET_SHARE * count_memory_bytes())


@dataclass(frozen=True)
class _Shape:
    """What of a model decides how much memory it takes."""

    metadata: Mapping[str, Any]
    weights_bytes: int
    context_tokens: int  # that it was trained for
    state_bytes: int  # of the recurrent layers, one sequence
    n_heads: int
    n_embedding: int
    n_feed_forward: int
    n_vocab: int
    has_window: bool  # some layers see a sliding window


@lru_cache(maxsize=ESTIMATES_KEPT)
def _read_shape(path: str, _size_bytes: int, _created_at: int) -> _Shape:
    """Read the headers, 0.1 s for a large vocabulary, once for each state of the file."""
    headers = [read_header(part) for part in split_parts(Path(path))]
    numbers = _Numbers(headers[0])
    return _Shape(
        metadata=headers[0].metadata,
        weights_bytes=sum(header.weights_bytes for header in headers),
        context_tokens=numbers.largest("context_length"),
        state_bytes=_state_bytes(numbers),
        n_heads=numbers.largest("attention.head_count"),
        n_embedding=numbers.largest("embedding_length"),
        n_feed_forward=numbers.largest("feed_forward_length"),
        n_vocab=headers[0].lengths.get("tokenizer.ggml.tokens", numbers.largest("vocab_size")),
        has_window=numbers.largest("attention.sliding_window") > 0,
    )


class _Numbers:
    """The numbers of one architecture in a header; whatever is no number there counts as absent."""

    def __init__(self, header: GgufHeader) -> None:
        self._metadata = header.metadata
        self._architecture = header.architecture

    def largest(self, key: str) -> int:
        """Give a number, the largest where each layer has its own; 0 when there is none."""
        value: Any = self._metadata.get(f"{self._architecture}.{key}")
        items = value if isinstance(value, list) else [value]
        return max((item for item in items if isinstance(item, int) and item >= 0), default=0)


def _state_bytes(numbers: _Numbers) -> int:
    """Count the states of Mamba's and RWKV's layers, as if every layer had one."""
    inner, state = numbers.largest("ssm.inner_size"), numbers.largest("ssm.state_size")
    groups, kernel = numbers.largest("ssm.group_count"), numbers.largest("ssm.conv_kernel")
    width, head = numbers.largest("embedding_length"), numbers.largest("wkv.head_size")
    mamba = max(0, kernel - 1) * (inner + 2 * groups * state) + inner * state
    rwkv = (2 + head) * width if head else 0
    return numbers.largest("block_count") * (mamba + rwkv) * FLOAT_BYTES


def _compute_bytes(shape: _Shape, settings: EngineSettings, plan: KVPlan) -> int:
    """Count the largest buffers of one pass.

    Without flash attention every token of the pass has a number for each head and each cell that it may see, which is
    nearly all of it.
    """
    n_prefill = max(settings.prefill_chunk_tokens, settings.idle_prefill_tokens)
    n_tokens = min(settings.n_slots + n_prefill, settings.ubatch_tokens or MAX_PASS_TOKENS)
    n_seen = plan.n_cells // settings.n_slots if plan.layout == "split" else plan.n_cells
    n_masks = 2 if shape.has_window else 1
    n_rows = n_masks if settings.flash_attention == "on" else shape.n_heads + n_masks
    attention = n_tokens * n_seen * n_rows if shape.n_heads else 0
    activations = n_tokens * (2 * shape.n_feed_forward + ACTIVATIONS * shape.n_embedding)
    logits = max(settings.n_slots, MIN_OUTPUTS) * shape.n_vocab
    # Attention and logits come one after the other and share a buffer; logits have one more, to be handed out in.
    return (max(attention, logits) + activations + logits) * FLOAT_BYTES
