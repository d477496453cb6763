"""Convert a sentence-transformers model for the backends that are installed, and measure which is the fastest here.

Runs as a process of its own, `python -m rag.conversion REQUEST`, so that torch's memory and noise end with it;
`converted_model` starts it and keeps what it makes. It ends when its standard input does, which its starter holds open.
A backend whose vectors are not those of torch is left out.
"""

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from rag import onnx_model, openvino_model, torch_model
from rag.chunking import chunk_document, text_to_embed
from rag.text_model import Network, TextModel, TokenModel, open_tokenizer
from rag.types import Document

RESULT_FILE: Final = "result.json"
TOKENIZER_FILE: Final = "tokenizer.json"

# Mean cosine with torch's vectors from which a backend's count as the same vectors.
MIN_AGREEMENT: Final = 0.99

_PROBE_TEXTS: Final = 32
_WARM_UP_TEXTS: Final = 2
_ROUNDS: Final = 2
_MAX_FAILURE_CHARS: Final = 500


@dataclass(frozen=True)
class ConversionRequest:
    """What to convert, into which empty folder, and for which backends; torch may be chosen only where it is one."""

    source: str
    folder: str
    backends: tuple[str, ...]
    threads: int
    batch_size: int


@dataclass(frozen=True)
class ConversionResult:
    """The backend to use, "" for none, and what was seen: texts/s and mean cosine with torch of every one tried."""

    backend: str
    max_tokens: int
    pad_token: int
    texts_per_s: dict[str, float]
    agreement: dict[str, float]
    failures: dict[str, str]


def convert(request: ConversionRequest) -> ConversionResult:
    """Convert into the request's folder, measure, remove what lost, and choose."""
    folder, source = Path(request.folder), Path(request.source)
    model = torch_model.load(source)
    lanes: dict[str, TextModel] = {
        "torch": torch_model.TorchModel(model, threads=request.threads, batch_size=request.batch_size)
    }
    failures: dict[str, str] = {}
    usual = torch_model.is_usual(model)
    if usual:
        model.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_FILE))
    for backend in (name for name in request.backends if name != "torch"):
        if not usual:
            failures[backend] = "the model needs more than token numbers, and only torch runs it"
            continue
        try:
            _CONVERTERS[backend](source, model, folder)
            lanes[backend] = _lane(backend, model, request)
        except (ImportError, RuntimeError, ValueError, TypeError, OSError, KeyError, AttributeError) as error:
            failures[backend] = f"{type(error).__name__}: {error}"[:_MAX_FAILURE_CHARS]
    rates, agreement = measure(lanes, probe_texts(), _ROUNDS if len(request.backends) > 1 else 1)
    for name in lanes:
        if agreement[name] < MIN_AGREEMENT:
            failures[name] = f"its vectors are not those of torch: their mean cosine is {agreement[name]:.3f}"
    fit = [name for name in lanes if name in request.backends and name not in failures]
    best = max(fit, key=rates.__getitem__, default="")
    _remove_others(folder, best)
    pad_token = model.tokenizer.pad_token_id if usual else 0
    return ConversionResult(best, model.max_seq_length, pad_token, rates, agreement, failures)


def measure(
    lanes: dict[str, TextModel], texts: Sequence[str], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the texts/s of every lane, measured in turns, and its mean cosine with the lane of torch."""
    vectors = {}
    fastest = dict.fromkeys(lanes, float("inf"))
    for lane in lanes.values():
        lane.embed(texts[:_WARM_UP_TEXTS])
    for _ in range(rounds):
        for name, lane in lanes.items():
            started = time.perf_counter()
            vectors[name] = lane.embed(texts)
            fastest[name] = min(fastest[name], time.perf_counter() - started)
    agreement = {name: float(np.mean(np.sum(made * vectors["torch"], axis=1))) for name, made in vectors.items()}
    return {name: len(texts) / seconds for name, seconds in fastest.items()}, agreement


def probe_texts() -> list[str]:
    """Take chunks of this package's own code, spread over it: real texts, which are always there."""
    texts = [
        text_to_embed(chunk)
        for file in sorted(Path(__file__).parent.glob("*.py"))
        for chunk in chunk_document(Document(file.name, file.read_text(encoding="utf-8")))
    ]
    return texts[:: max(1, len(texts) // _PROBE_TEXTS)][:_PROBE_TEXTS]


def _to_openvino(_source: Path, model: Any, folder: Path) -> None:
    openvino_model.convert(*torch_model.network(model), folder)


def _to_onnx(source: Path, _model: Any, folder: Path) -> None:
    # The exporter knows no fused attention whose mask may be absent.
    wrapped, example = torch_model.network(torch_model.load(source, attention="eager"))
    exported = folder / "float32.onnx"
    torch_model.export_onnx(wrapped, example, exported)
    onnx_model.quantise(exported, folder)
    exported.unlink()


NETWORKS: Final[dict[str, Callable[[Path], Network]]] = {
    "openvino": openvino_model.OpenvinoNetwork,
    "onnx": onnx_model.OnnxNetwork,
}
_CONVERTERS: Final[dict[str, Callable[[Path, Any, Path], None]]] = {"openvino": _to_openvino, "onnx": _to_onnx}
_FILES: Final = {"openvino": openvino_model.FILES, "onnx": (onnx_model.MODEL_FILE,), "torch": ()}


def _lane(backend: str, model: Any, request: ConversionRequest) -> TokenModel:
    folder = Path(request.folder)
    return TokenModel(
        open_tokenizer(folder / TOKENIZER_FILE, model.max_seq_length),
        NETWORKS[backend](folder).runtime(request.threads),
        pad_token=model.tokenizer.pad_token_id,
        batch_size=request.batch_size,
    )


def _remove_others(folder: Path, best: str) -> None:
    for backend, names in _FILES.items():
        for name in names if backend != best else ():
            (folder / name).unlink(missing_ok=True)


def end_with_parent() -> None:
    """End this process when standard input ends: whoever started it holds the other end, and is gone, even killed."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def main() -> None:
    """Read the request from the command line, and write the result into its folder."""
    end_with_parent()
    warnings.simplefilter("ignore")  # of tracing and deprecation, meant for who writes a model
    values = json.loads(sys.argv[1])
    request = ConversionRequest(**{**values, "backends": tuple(values["backends"])})
    result = convert(request)
    (Path(request.folder) / RESULT_FILE).write_text(json.dumps(vars(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
