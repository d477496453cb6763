"""Native models and contexts with their failures made readable, and the batch that is filled through NumPy.

Both the generating context and the embedding one are made here. Knows the layout of llama.cpp's parameters and
nothing of sequences or text.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcp_server.engine import llama
from mcp_server.engine.gguf_file import GgufHeader
from mcp_server.engine.llama import native
from mcp_server.engine.settings import EngineSettings, count_physical_cores
from mcp_server.errors import ModelLoadError

SMALL_MODEL_BYTES = 64 << 20  # of weights; 2 threads on busy cores decode 6 MB ones up to 60 times slower than 1
UBATCH_TOKENS = 512  # tokens computed in one native pass; more costs memory for activations


@dataclass(frozen=True)
class ContextSize:
    """How a context is laid out."""

    n_cells: int  # of the KV cache, all sequences together
    n_batch: int  # tokens that one call may have
    n_slots: int
    n_ubatch: int = UBATCH_TOKENS
    pooling: int | None = None  # llama.cpp's number; hidden states so pooled instead of logits


def load_model(path: Path, header: GgufHeader, settings: EngineSettings) -> Any:
    """Load weights and give the native model.

    Raises:
        ModelLoadError: llama.cpp cannot run this file; the message has its reason.
    """
    llama.forget_log()
    params = native.llama_model_default_params()
    params.n_gpu_layers = settings.gpu_layers
    model = native.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        reason = llama.last_errors() or "no reason given"
        msg = f"{path} cannot be loaded (architecture {header.architecture}): {reason}. Choose another model or build."
        raise ModelLoadError(msg)
    return model


def make_context(model: Any, size: ContextSize, settings: EngineSettings) -> Any:
    """Make a context of a loaded model.

    Raises:
        ModelLoadError: There is not enough memory for it, or the model cannot be used this way.
    """
    llama.forget_log()
    params = native.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_seq_max = size.n_cells, size.n_batch, size.n_slots
    params.n_ubatch = min(size.n_batch, size.n_ubatch)
    params.n_threads = params.n_threads_batch = _count_threads(model, settings)
    params.flash_attn_type = _flash_attention(settings)
    params.kv_unified = size.pooling is None  # prefixes are shared by reference; split caches would copy them
    if size.pooling is not None:
        params.embeddings, params.pooling_type = True, size.pooling
    else:
        params.n_outputs_max = size.n_slots  # rows of logits; the default would reserve one for every token
    context = native.llama_init_from_model(model, params)
    if not context:
        reason = llama.last_errors() or "no reason given"
        msg = f"No context of {size.n_cells} tokens can be made: {reason}. Lower CINQUE_ENGINE_KV_CACHE_TOKENS."
        raise ModelLoadError(msg)
    return context


class Batch:
    """A `llama_batch` over arrays of ours: filled by slices, reused for every step, one sequence id a token."""

    def __init__(self, n_tokens: int) -> None:
        self._tokens = np.zeros(n_tokens, np.int32)  # (n_tokens,), as all of these
        self._positions = np.zeros(n_tokens, np.int32)
        self._n_ids = np.ones(n_tokens, np.int32)
        self._ids = np.zeros(n_tokens, np.int32)
        self._id_pointers = self._ids.ctypes.data + self._ids.itemsize * np.arange(n_tokens, dtype=np.uintp)
        self._outputs = np.zeros(n_tokens, np.int8)
        self.native = native.llama_batch()
        fields: dict[str, Any] = {name: kind for name, kind, *_ in native.llama_batch._fields_}
        for name, array in (
            ("token", self._tokens),
            ("pos", self._positions),
            ("n_seq_id", self._n_ids),
            ("seq_id", self._id_pointers),
            ("logits", self._outputs),
        ):
            setattr(self.native, name, array.ctypes.data_as(fields[name]))

    def clear(self) -> None:
        """Empty the batch."""
        self.native.n_tokens = 0

    def add(self, tokens: Items[int], start: int, slot: int, *, n_outputs: int) -> int:
        """Add consecutive tokens of one slot, the last `n_outputs` of them with results; give the last one's row."""
        begin = int(self.native.n_tokens)
        end = begin + len(tokens)
        self._tokens[begin:end] = tokens
        self._positions[begin:end] = np.arange(start, start + len(tokens))
        self._ids[begin:end] = slot
        self._outputs[begin:end] = 0
        self._outputs[end - n_outputs : end] = 1
        self.native.n_tokens = end
        return end - 1


def _count_threads(model: Any, settings: EngineSettings) -> int:
    """Use every core, but one for a small model: its threads would wait for each other longer than they compute."""
    if settings.threads:
        return settings.threads
    return 1 if native.llama_model_size(model) < SMALL_MODEL_BYTES else count_physical_cores()


def _flash_attention(settings: EngineSettings) -> int:
    """Choose for the device: 8 sequences decode at 47 instead of 112 tokens/s with it on a CPU."""
    if settings.flash_attention == "on":
        return int(native.LLAMA_FLASH_ATTN_TYPE_ENABLED)
    if settings.flash_attention == "auto" and native.llama_supports_gpu_offload():
        return int(native.LLAMA_FLASH_ATTN_TYPE_AUTO)
    return int(native.LLAMA_FLASH_ATTN_TYPE_DISABLED)
