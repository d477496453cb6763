"""Instant vectors: the mean of a text's token vectors, from a table distilled from the default dense model.

Thousands of texts a second on one core, loaded in a tenth of a second, with nothing to fetch: the table and its
tokenizer are files of this package (`static_model/`), made by `training/static_embedding/distil.py`. Word order is
lost, so ranking by it is worse than by `embedding`; it stands in while those vectors are still being made, and its
vectors cannot be compared with them. Needs NumPy and the tokenizers library only, both on first use.
"""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]

STATIC_DIMENSIONS: Final = 256

# Raise when the table, the tokenizer or `split_identifiers` changes: vectors of another version are not comparable.
STATIC_VERSION: Final = 1

_FOLDER: Final = Path(__file__).with_name("static_model")

# A text past this says nothing new about itself, and a chunk is shorter.
_MAX_CHARS: Final = 6_000

# Texts whose tokens are summed in one go: bounds memory to some 30 MB, and more would not be faster.
_TEXTS_PER_STEP: Final = 64

# A capital that begins a word: `parseHTTPHeader` is parse HTTP Header. The tokenizer lower-cases, and would never know.
_WORD_BEGINS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class _Model(NamedTuple):
    tokenizer: Any
    rows: NDArray[np.int8]  # (n_tokens, d)
    scales: Vectors  # (n_tokens, 1)


class StaticEmbedder:
    """An `Embedder` without a network of neurons. Any number of threads may call it at once."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._model: _Model | None = None

    @property
    def name(self) -> str:
        """Identity of the vectors; loads nothing."""
        return f"cinque-static-{STATIC_DIMENSIONS}-v{STATIC_VERSION}"

    @property
    def dimensions(self) -> int:
        """Numbers in a vector; loads nothing."""
        return STATIC_DIMENSIONS

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, in order, as (n, 256) float32, rows L2-normalised; a text without a known token gets row one."""
        model = self._loaded()
        vectors = np.zeros((len(texts), STATIC_DIMENSIONS), dtype=np.float32)
        for start in range(0, len(texts), _TEXTS_PER_STEP):
            step = texts[start : start + _TEXTS_PER_STEP]
            encoded = model.tokenizer.encode_batch_fast(
                [split_identifiers(text[:_MAX_CHARS]) for text in step], add_special_tokens=False
            )
            for row, encoding in enumerate(encoded, start=start):
                vectors[row] = _sum_of(model, encoding.ids)
        return _normalised(vectors)

    def _loaded(self) -> _Model:
        with self._lock:
            if self._model is None:
                self._model = _load(self._folder)
            return self._model


def split_identifiers(text: str) -> str:
    """Put a space between the words of camelCase names."""
    return _WORD_BEGINS.sub(" ", text)


def quantise(vectors: Vectors) -> tuple[NDArray[np.int8], Vectors]:
    """Turn rows (n, d) into int8 and one scale each, (n, 1), so that `rows * scales` are the vectors again."""
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127
    rows = np.rint(vectors / np.where(scales, scales, 1)).astype(np.int8)
    return rows, scales.astype(np.float32)


def _sum_of(model: _Model, ids: Sequence[int]) -> Vectors:
    """Add up the vectors of tokens, each as often as it stands there; (d,)."""
    tokens, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
    weights = model.scales[tokens, 0] * counts.astype(np.float32)
    total: Vectors = (weights @ model.rows[tokens].astype(np.float32)).astype(np.float32)
    return total


def _normalised(vectors: Vectors) -> Vectors:
    """Give rows length one; a row of zeros becomes the first unit vector, which is near nothing in particular."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[lengths[:, 0] == 0, 0] = 1
    result: Vectors = (vectors / np.where(lengths, lengths, 1)).astype(np.float32)
    return result


def _load(folder: Path) -> _Model:
    tokenizers = _tokenizers()
    with np.load(folder / "table.npz", allow_pickle=False) as arrays:
        rows, scales = arrays["rows"], arrays["scales"].astype(np.float32)
    return _Model(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")), rows, scales)


def _tokenizers() -> ModuleType:
    import tokenizers  # noqa: PLC0415 - loaded on first use: 0.05 s

    module: ModuleType = tokenizers
    return module
