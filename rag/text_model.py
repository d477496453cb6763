"""What every backend of the dense embedder is made of: token numbers in, vectors out, one step at a time.

A backend gives two `TextModel`s, or *lanes*: one for batches, one for single texts, so that a query never waits for the
texts of an indexing. `TokenModel` is a lane for any runtime that takes token numbers; the backend of torch brings its
own. Knows nothing of files or of which backend is best. The only user of the tokenizers library beside
`static_embedding`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
TokenNumbers: TypeAlias = NDArray[np.int64]

# all-MiniLM-L6-v2 was trained on 256 tokens at most; the cost of attention grows with the square of the length.
MAX_TOKENS: Final = 256

# No token is shorter than one character, and a tokenizer need not see text whose tokens would be cut off anyway.
MAX_CHARS: Final = 16 * MAX_TOKENS


class Runtime(Protocol):
    """Runs a network on token numbers. One thread at a time."""

    def run(self, ids: TokenNumbers, mask: TokenNumbers) -> Vectors:
        """Return the pooled vectors (n, d) of n rows of tokens; `mask` is 0 where a row is padded."""


class Network(Protocol):
    """A converted model, read from its folder; whatever becomes of the folder, runtimes can be made."""

    def runtime(self, threads: int) -> Runtime:
        """Make a runtime of so many threads that it shares with no other."""


class TextModel(Protocol):
    """One lane of a backend. One thread at a time."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed at least one text, in order: (n, d) float32, rows L2-normalised."""


class Lanes(NamedTuple):
    """A backend, open: a lane for single texts, and one for batches, opened when first needed; both run at once."""

    single: TextModel
    open_batch: Callable[[], TextModel]


class TokenModel:
    """A lane over a runtime: cuts texts into tokens, and puts texts of similar length into one run."""

    def __init__(self, tokenizer: Any, runtime: Runtime, *, pad_token: int, batch_size: int) -> None:
        self._tokenizer = tokenizer
        self._runtime = runtime
        self._pad_token = pad_token
        self._batch_size = batch_size

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See `TextModel.embed`."""
        encoded = self._tokenizer.encode_batch_fast([text[:MAX_CHARS] for text in texts])
        rows: list[list[int]] = [encoding.ids for encoding in encoded]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        made = np.concatenate([self._runtime.run(ids, mask) for ids, mask in self._batches(rows, order)])
        vectors = np.empty_like(made, dtype=np.float32)
        vectors[order] = made
        return normalised(vectors)

    def _batches(self, rows: list[list[int]], order: list[int]) -> Iterator[tuple[TokenNumbers, TokenNumbers]]:
        for start in range(0, len(order), self._batch_size):
            some = [rows[row] for row in order[start : start + self._batch_size]]
            ids = np.full((len(some), max(map(len, some))), self._pad_token, dtype=np.int64)
            mask = np.zeros_like(ids)
            for number, row in enumerate(some):
                ids[number, : len(row)] = row
                mask[number, : len(row)] = 1
            yield ids, mask


def open_tokenizer(path: Path, max_tokens: int) -> Any:
    """Read a `tokenizer.json`; texts are cut at `max_tokens`, and nothing is padded."""
    import tokenizers  # noqa: PLC0415 - loaded on first use: 0.05 s

    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def normalised(vectors: Vectors) -> Vectors:
    """Give rows length one; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Vectors = (vectors / np.where(lengths, lengths, 1)).astype(np.float32)
    return result
