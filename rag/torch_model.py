"""The dense model on torch, through sentence-transformers: runs any of its models, and is what others are made from.

The only importer of sentence_transformers, transformers and torch, on first use (4 s and 400 MB). `conversion` exports
the usual models from here; the unusual ones, with modules or prompts that a network of token numbers cannot hold, run
here only.
"""

import copy
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from rag.text_model import MAX_CHARS, MAX_TOKENS, Lanes, Vectors, normalised

_USUAL_MODULES: Final = {"Transformer", "Pooling", "Dense", "Normalize"}
_OPSET: Final = 17  # of ONNX: the newest that the exporter used here writes in full

# Two texts, one of them padded: an example without padding would lose its mask on the way.
_EXAMPLE_TOKENS: Final = 16
_EXAMPLE_PADDED_FROM: Final = 9


class TorchModel:
    """A lane that leaves everything to sentence-transformers."""

    def __init__(self, model: Any, *, threads: int, batch_size: int) -> None:
        self._model = model
        self._threads = threads
        self._batch_size = batch_size

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `TextModel.embed`."""
        _libraries().torch.set_num_threads(self._threads)  # belongs to the calling thread, too
        vectors = self._model.encode(
            [text[:MAX_CHARS] for text in texts],  # encode() sorts by length itself
            batch_size=self._batch_size,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return normalised(np.asarray(vectors, dtype=np.float32))


def open_lanes(source: Path, *, threads: int, batch_size: int) -> Lanes:
    """Load a model from its folder. Raises OSError, ValueError or KeyError when the files are not a whole model."""
    model = load(source)
    return Lanes(
        TorchModel(model, threads=threads, batch_size=1),
        partial(TorchModel, _twin(model), threads=threads, batch_size=batch_size),
    )


def load(source: Path, *, attention: str | None = None) -> Any:
    """Load a model as sentence-transformers does; `attention` names another way to compute the same attention."""
    libraries = _libraries()
    chosen = {"attn_implementation": attention} if attention else {}
    model = libraries.SentenceTransformer(str(source), device="cpu", local_files_only=True, model_kwargs=chosen).eval()
    model.max_seq_length = min(model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
    return model


def is_usual(model: Any) -> bool:
    """Tell whether token numbers and a mask are all that the model needs, so that other backends can run it."""
    tokenizer: Any = getattr(model, "tokenizer", None)
    return (
        {type(module).__name__ for module in model} <= _USUAL_MODULES
        and getattr(tokenizer, "backend_tokenizer", None) is not None
        and tokenizer.pad_token_id is not None
        and not model.default_prompt_name
        and not getattr(model[0], "do_lower_case", False)
    )


def network(model: Any) -> tuple[Any, tuple[Any, Any]]:
    """Wrap a usual model as a torch module of two inputs, token numbers and mask; and give an example of them."""
    torch = _libraries().torch

    class Network(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch has no types here
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]

    ids = torch.arange(2 * _EXAMPLE_TOKENS).reshape(2, _EXAMPLE_TOKENS) % model.tokenizer.vocab_size
    mask = torch.ones_like(ids)
    mask[1, _EXAMPLE_PADDED_FROM:] = 0
    return Network().eval(), (ids, mask)


def export_onnx(wrapped: Any, example: tuple[Any, Any], target: Path) -> None:
    """Write a `network` as a float32 ONNX file."""
    _libraries().torch.onnx.export(
        wrapped,
        example,
        str(target),
        input_names=["input_ids", "attention_mask"],
        output_names=["embedding"],
        dynamic_axes={
            "input_ids": {0: "n", 1: "tokens"},
            "attention_mask": {0: "n", 1: "tokens"},
            "embedding": {0: "n"},
        },
        opset_version=_OPSET,
        dynamo=False,  # the other exporter needs one more package
    )


def _twin(model: Any) -> Any:
    """Copy a model but for its weights, which both share: a tokenizer serves one thread at a time."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


class _Libraries:
    """What is used of the three libraries."""

    def __init__(self, sentence_transformers: ModuleType, torch: ModuleType) -> None:
        self.SentenceTransformer: Any = sentence_transformers.SentenceTransformer
        self.torch: Any = torch


def _libraries() -> _Libraries:
    """Import the libraries with their telemetry, progress bars and forked tokenizers off."""
    for variable in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(variable, "1")  # read once, while the library is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import sentence_transformers  # noqa: PLC0415 - loaded on first use: 4 s
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above; already imported by sentence_transformers

    transformers.utils.logging.disable_progress_bar()
    return _Libraries(sentence_transformers, torch)
