"""The dense model on OpenVINO: bf16 where the processor computes in it (AMX, AVX512-BF16), else float32.

Three to four times as fast as torch in bf16, with the same vectors to three digits. The only importer of openvino, on
first use. OpenVINO's package reports its use to its makers through another package; that package is hidden from it.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from rag.text_model import Runtime, TokenNumbers, Vectors

MODEL_FILE: Final = "openvino.xml"
FILES: Final = (MODEL_FILE, "openvino.bin")

# Units for bf16 multiply tiles of 16 rows: 16 tokens take less time than 9, and few shapes have to be prepared.
_TILE: Final = 16


class OpenvinoNetwork:
    """A converted model in memory. Raises RuntimeError when the folder holds none."""

    def __init__(self, folder: Path) -> None:
        self._core = _openvino().Core()
        self._model = self._core.read_model(str(folder / MODEL_FILE))
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._settings = {
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # both lanes would be pinned to the same cores
            "INFERENCE_PRECISION_HINT": "bf16" if "BF16" in capabilities else "f32",
        }

    def runtime(self, threads: int) -> Runtime:
        """See `Network.runtime`."""
        settings = {**self._settings, "INFERENCE_NUM_THREADS": threads}
        request = self._core.compile_model(self._model, "CPU", settings).create_infer_request()
        return _Runtime(request, _TILE if settings["INFERENCE_PRECISION_HINT"] == "bf16" else 1)


class _Runtime:
    def __init__(self, request: Any, tile: int) -> None:
        self._request = request
        self._tile = tile

    def run(self, ids: TokenNumbers, mask: TokenNumbers) -> Vectors:
        padding = ((0, 0), (0, -ids.shape[1] % self._tile))
        padded = {0: np.pad(ids, padding), 1: np.pad(mask, padding)}
        # The request overwrites its output in the next run.
        return np.array(self._request.infer(padded)[0], dtype=np.float32)


def convert(network: Any, example: tuple[Any, Any], folder: Path) -> None:
    """Write a torch module of two inputs, token numbers and mask, in OpenVINO's form; weights as float16."""
    openvino = _openvino()
    model = openvino.convert_model(network, example_input=example)
    openvino.save_model(model, str(folder / MODEL_FILE), compress_to_fp16=True)


def _openvino() -> ModuleType:
    # None makes an import fail, and OpenVINO goes on without: no event is sent, no file of consent written.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is allowed there, and documented
    return importlib.import_module("openvino")
