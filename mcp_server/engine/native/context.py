"""Native models and contexts with their failures made readable, and the batch that is filled through NumPy.

Both the generating context and the embedding one are made here. Knows the layout of llama.cpp's parameters and
nothing of sequences or text.
"""

import ctypes
from collections.abc import Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from mcp_server.engine.machine import count_physical_cores
from mcp_server.engine.models.gguf_file import GgufHeader
from mcp_server.engine.native import llama
from mcp_server.engine.native.llama import native
from mcp_server.engine.settings import CacheType, EngineSettings
from mcp_server.errors import ModelLoadError

SMALL_MODEL_BYTES = 64 << 20  # of weights; 2 threads on busy cores decode 6 MB ones up to 60 times slower than 1
QUANTISED = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")  # number formats that values need flash attention for

CPU_PASS_TOKENS = 256  # 528 tokens take 1.83 s instead of 2.13 with 512 (0.5B model), 0.11 instead of 0.13 (embedded)
GPU_PASS_TOKENS = 512  # llama.cpp's own

GGML_TYPE_BF16 = 30  # of ggml.h; the binding has no name for it
_CACHE_TYPES = {name: getattr(native, f"GGML_TYPE_{name.upper()}", GGML_TYPE_BF16) for name in get_args(CacheType)}
_SPLIT_MODES = {name: getattr(native, f"LLAMA_SPLIT_MODE_{name.upper()}") for name in ("none", "layer", "row")}
_NUMA = {name: getattr(native, f"GGML_NUMA_STRATEGY_{name.upper()}") for name in ("distribute", "isolate", "numactl")}
_LOAD_MODES = {
    (True, False): native.LLAMA_LOAD_MODE_AUTO,
    (True, True): native.LLAMA_LOAD_MODE_MMAP_MLOCK,
    (False, True): native.LLAMA_LOAD_MODE_MLOCK,
    (False, False): native.LLAMA_LOAD_MODE_NONE,
}  # by mmap and mlock


@dataclass(frozen=True)
class ContextSize:
    """How a context is laid out."""

    n_cells: int  # of the KV cache, all sequences together
    n_batch: int  # tokens that one call may have
    n_slots: int
    n_ubatch: int = 0  # tokens that one native pass may have; 0: as set
    pooling: int | None = None  # llama.cpp's number; hidden states so pooled instead of logits
    is_unified: bool = True  # one pool of cells; False: as many for each slot, as always for hidden states
    n_outputs: int = 0  # rows of logits that one batch may have; 0: one a slot


def load_model(path: Path, header: GgufHeader, settings: EngineSettings) -> Any:
    """Load weights and give the native model.

    Raises:
        ModelLoadError: llama.cpp cannot run this file; the message has its reason.
    """
    llama.forget_log()
    params = native.llama_model_default_params()
    devices = _place_on_devices(params, settings)  # kept alive until the weights are loaded
    params.load_mode = _LOAD_MODES[settings.mmap, settings.mlock]
    if settings.numa != "off":
        native.llama_numa_init(_NUMA[settings.numa])
    model = native.llama_model_load_from_file(str(path).encode(), params)
    del devices
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
    params.n_ubatch = min(size.n_batch, size.n_ubatch or count_pass_tokens(settings))
    params.n_threads = count_threads(model, settings)
    params.n_threads_batch = settings.threads_batch or params.n_threads
    params.flash_attn_type = _flash_attention(settings)
    params.type_k, params.type_v = _CACHE_TYPES[settings.cache_type_k], _CACHE_TYPES[settings.cache_type_v]
    params.kv_unified = size.is_unified and size.pooling is None
    if size.pooling is not None:
        params.embeddings, params.pooling_type = True, size.pooling
    else:
        params.n_outputs_max = size.n_outputs or size.n_slots  # the default would reserve a row for every token
    context = native.llama_init_from_model(model, params)
    if not context:
        reason = llama.last_errors() or "no reason given"
        msg = f"No context of {size.n_cells} tokens can be made: {reason}. Lower CINQUE_ENGINE_N_SLOTS or "
        msg += "CINQUE_ENGINE_MAX_CONTEXT_TOKENS."
        raise ModelLoadError(msg)
    return context


class BatchPart(Protocol):
    """Consecutive tokens of one slot."""

    @property
    def slot(self) -> int:
        """Whose they are."""
        ...

    @property
    def start(self) -> int:
        """The first one's position."""
        ...

    @property
    def tokens(self) -> list[int]:
        """Their ids."""
        ...

    @property
    def n_outputs(self) -> int:
        """Of the last ones, how many get logits."""
        ...


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

    def fill(self, parts: Iterable[BatchPart]) -> None:
        """Make these the whole batch."""
        tokens: list[int] = []
        positions: list[int] = []
        ids: list[int] = []
        outputs: list[int] = []
        for part in parts:
            n_tokens, n_outputs = len(part.tokens), part.n_outputs
            tokens += part.tokens
            if n_tokens == 1:
                positions.append(part.start)
                ids.append(part.slot)
                outputs.append(n_outputs)
            else:
                positions += range(part.start, part.start + n_tokens)
                ids += [part.slot] * n_tokens
                outputs += [0] * (n_tokens - n_outputs)
                outputs += [1] * n_outputs
        end = len(tokens)
        self._tokens[:end], self._positions[:end], self._ids[:end], self._outputs[:end] = (
            tokens,
            positions,
            ids,
            outputs,
        )
        self.native.n_tokens = end

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


def count_threads(model: Any, settings: EngineSettings) -> int:
    """Use every core, but one for a small model: its threads would wait for each other longer than they compute."""
    if settings.threads:
        return settings.threads
    return 1 if native.llama_model_size(model) < SMALL_MODEL_BYTES else count_physical_cores()


def count_pass_tokens(settings: EngineSettings) -> int:
    """Give how many tokens one native pass may have."""
    if settings.ubatch_tokens:
        return settings.ubatch_tokens
    return GPU_PASS_TOKENS if native.llama_supports_gpu_offload() else CPU_PASS_TOKENS


def uses_flash_attention(settings: EngineSettings) -> bool:
    """Tell whether flash attention is on: 8 sequences decode at 47 instead of 112 tokens/s with it on a CPU."""
    if settings.flash_attention == "auto":
        return settings.cache_type_v in QUANTISED or bool(native.llama_supports_gpu_offload())
    return settings.flash_attention == "on"


def _flash_attention(settings: EngineSettings) -> int:
    is_on = uses_flash_attention(settings)
    return int(native.LLAMA_FLASH_ATTN_TYPE_ENABLED if is_on else native.LLAMA_FLASH_ATTN_TYPE_DISABLED)


def _place_on_devices(params: Any, settings: EngineSettings) -> Any:
    """Say what goes to which GPU; give the array that the parameters point to."""
    params.n_gpu_layers, params.main_gpu = settings.gpu_layers, settings.main_gpu
    params.split_mode = _SPLIT_MODES[settings.split_mode]
    n_devices = max(int(native.llama_max_devices()), len(settings.tensor_split))
    shares = (ctypes.c_float * n_devices)(*settings.tensor_split)
    if settings.tensor_split:
        params.tensor_split = shares
    return shares
