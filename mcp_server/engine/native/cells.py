"""The cells of one native context: cut, copied, saved and restored by slot.

Under a unified layout a copy is metadata. Under a split one llama.cpp would copy whole buffers, and later than it is
asked to; so a copy there is a state written and read back at once, which costs time in the tokens held: 12 ms for 512
tokens of a 0.5B model. Knows nothing of what the cells mean. All calls come from the thread that owns the context.
"""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from mcp_server.engine.native.llama import native

State = npt.NDArray[np.uint8]  # (n_bytes,)


class NativeMemory:
    """What `kv_cache.CellMemory` asks for, of one context."""

    def __init__(self, context: Any, *, is_split: bool) -> None:
        self._context = context
        self._memory = native.llama_get_memory(context)
        self._is_split = is_split
        self._scratch: State = np.empty(0, np.uint8)  # reused by copies; grows to the longest one

    @property
    def is_there(self) -> bool:
        """Tell whether the model keeps a memory at all."""
        return bool(self._memory)

    def remove(self, slot: int, start: int) -> bool:
        """Drop the cells of a slot from a position on; False when the memory can only drop all of them."""
        return bool(native.llama_memory_seq_rm(self._memory, slot, start, -1))

    def copy(self, source: int, target: int, n_tokens: int) -> bool:
        """Give an empty slot the first cells of another; False when it stays empty."""
        if not self._is_split:
            native.llama_memory_seq_cp(self._memory, source, target, 0, n_tokens)
            return True
        size = native.llama_state_seq_get_size(self._context, source)
        if len(self._scratch) < size:
            self._scratch = np.empty(size, np.uint8)
        state = self._scratch[:size]
        self._write(source, state)
        return self.restore(target, state) and self.remove(target, n_tokens)

    def save(self, slot: int) -> State:
        """Copy what a slot holds to host memory."""
        state = np.empty(native.llama_state_seq_get_size(self._context, slot), np.uint8)
        self._write(slot, state)
        return state

    def restore(self, slot: int, state: State) -> bool:
        """Put a saved state into an empty slot; False when there is no room and it stays empty."""
        if native.llama_state_seq_set_data(self._context, _pointer(state), len(state), slot):
            return True
        self.remove(slot, 0)
        return False

    def count(self, slot: int) -> int:
        """Count the positions that a slot holds."""
        return int(native.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def _write(self, slot: int, state: State) -> None:
        native.llama_state_seq_get_data(self._context, _pointer(state), len(state), slot)


def _pointer(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
