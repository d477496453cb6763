"""Texts to vectors: the `Embedder` protocol, and sentence-transformers behind it.

Vectors are float32 and L2-normalised, so an inner product is a cosine. The only importer of sentence_transformers and
torch, both on first use (3.8 s and 400 MB). Where the weights come from is `weights`' business; the cache that spares
most of the work is `embedding_cache`. Tests use a hashing embedder that passes the same contract tests.
"""

import logging
import os
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.errors import EmbeddingUnavailableError
from rag.settings import RagSettings
from rag.weights import find_weights

Vectors: TypeAlias = NDArray[np.float32]

# all-MiniLM-L6-v2 was trained on 256 tokens at most; the cost of attention grows with the square of the length.
MAX_TOKENS: Final = 256

# No token is shorter than one character, and a tokenizer need not see text whose tokens would be cut off anyway.
MAX_CHARS: Final = 16 * MAX_TOKENS

log = logging.getLogger(__name__)


class Embedder(Protocol):
    """Anything that turns texts into vectors. Calls may come from any thread."""

    @property
    def name(self) -> str:
        """Identity of the vectors: equal names give equal vectors for equal texts. Cheap; loads nothing."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector. May load the model."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, in order, as (n, d) float32, rows L2-normalised; (0, d) for none.

        Raises:
            EmbeddingUnavailableError: there are no weights on this machine.
        """


class SentenceTransformerEmbedder:
    """A sentence-transformers model on the CPU, loaded by the first call that needs it and then kept.

    One call embeds at a time: torch already uses all the threads that the settings grant.
    """

    def __init__(self, settings: RagSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        """The model's name as the settings give it."""
        return self._settings.embedding_model

    @property
    def dimensions(self) -> int:
        """Numbers in a vector; loads the model."""
        with self._lock:
            return int(self._loaded().get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts of any length; what lies past MAX_TOKENS does not count. See `Embedder.embed`."""
        with self._lock:
            model = self._loaded()
            if not texts:
                return np.zeros((0, int(model.get_embedding_dimension())), dtype=np.float32)
            # encode() sorts by length itself, so a batch pads little.
            vectors = model.encode(
                [text[:MAX_CHARS] for text in texts],
                batch_size=self._settings.embedding_batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def _loaded(self) -> Any:
        if self._model is None:
            folder = find_weights(self.name, hub_timeout_s=self._settings.hub_timeout_s)
            sentence_transformers = _sentence_transformers(self._settings.embedding_threads)
            try:
                model = sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
            except (OSError, ValueError, KeyError) as error:
                raise EmbeddingUnavailableError(
                    f"the embedding model {self.name} could not be loaded from {folder}: {error}; remove that folder "
                    "so that it is fetched again, or set CINQUE_RAG_EMBEDDING_MODEL to another model"
                ) from error
            model.max_seq_length = min(model.max_seq_length or MAX_TOKENS, MAX_TOKENS)
            log.info("embedding model loaded", extra={"model": self.name})
            self._model = model
        return self._model


def _sentence_transformers(threads: int) -> ModuleType:
    """Import the library with its telemetry, progress bars and forked tokenizers off."""
    for variable in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(variable, "1")  # read once, while the library is imported
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import sentence_transformers  # noqa: PLC0415 - loaded on first use: 3.8 s
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above; already imported by sentence_transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    module: ModuleType = sentence_transformers
    return module
