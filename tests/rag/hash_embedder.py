"""A deterministic embedder for tests: hashed words, no weights. Passes the contract tests of the real one."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag.sparse import split_words


class HashEmbedder:
    """Adds one pseudo-random direction per word, so texts that share words point the same way."""

    def __init__(self, name: str = "hash", dimensions: int = 64) -> None:
        self.name = name
        self.dimensions = dimensions
        self.embedded: list[str] = []  # every text ever asked for, in order

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded.extend(texts)
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in split_words(text) or [text]:
                digest = hashlib.blake2b(word.encode("utf-8", "replace")).digest()
                vectors[row] += np.frombuffer(digest, dtype=np.int8)[: self.dimensions]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
