"""Texts to vectors: the `Embedder` protocol, and a sentence-transformers model behind it on the fastest backend.

Vectors are float32 and L2-normalised, so an inner product is a cosine. Which backend runs the model is the business of
`converted_model`, where the weights come from that of `weights`; the cache that spares most of the work is
`embedding_cache`. Nothing heavy is imported before the first text. Tests use a hashing embedder that passes the same
contract tests.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.converted_model import is_converted, open_converted, open_torch, prepare
from rag.settings import RagSettings
from rag.text_model import Lanes, TextModel
from rag.weights import find_local_weights, find_weights

Vectors: TypeAlias = NDArray[np.float32]

# Embedded to learn the number of dimensions, and to have the first real text find everything warm.
_WARM_UP_TEXT: Final = "warm up"

log = logging.getLogger(__name__)


class Embedder(Protocol):
    """Anything that turns texts into vectors. Calls may come from any thread."""

    @property
    def name(self) -> str:
        """Identity of the vectors: equal names give comparable vectors for equal texts. Cheap; loads nothing."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector. May load the model."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts, in order, as (n, d) float32, rows L2-normalised; (0, d) for none.

        Raises:
            EmbeddingUnavailableError: there are no weights on this machine.
        """


class _Lane:
    """One lane of a backend, opened by its first text, for any number of threads: one after the other."""

    def __init__(self, open_model: Callable[[], TextModel]) -> None:
        self._open_model = open_model
        self._lock = threading.Lock()
        self._model: TextModel | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            self._model = self._model or self._open_model()
            return np.ascontiguousarray(self._model.embed(texts), dtype=np.float32)


class _Opened:
    """A model in memory."""

    def __init__(self, backend: str, lanes: Lanes) -> None:
        self.backend = backend
        self._single = _Lane(lambda: lanes.single)
        self._batch = _Lane(lanes.open_batch)
        self.dimensions = int(self._single.embed([_WARM_UP_TEXT]).shape[1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        return (self._single if len(texts) == 1 else self._batch).embed(texts)


class SentenceTransformerEmbedder:
    """A sentence-transformers model on the CPU, loaded by the first call that needs it and then kept.

    A single text never waits for a batch: it has a lane of its own, and both run at the same time. So a query is
    answered in milliseconds while thousands of chunks are being embedded.
    """

    def __init__(
        self, settings: RagSettings, open_lanes: Callable[[RagSettings], tuple[str, Lanes]] | None = None
    ) -> None:
        self._settings = settings
        self._open_lanes = open_lanes or _open_lanes
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    @property
    def name(self) -> str:
        """The model's name as the settings give it, whatever the backend: their vectors are comparable."""
        return self._settings.embedding_model

    @property
    def dimensions(self) -> int:
        """Numbers in a vector; loads the model."""
        return self._loaded().dimensions

    @property
    def backend(self) -> str:
        """The backend that runs the model: openvino, onnx or torch; loads the model."""
        return self._loaded().backend

    @property
    def is_loaded(self) -> bool:
        """Tell whether a text would be embedded at once; the first one waits for the model, and once for choosing."""
        return self._opened is not None

    def is_prepared(self) -> bool:
        """Tell whether the model is loaded, or has only to be opened: a second, and four on torch. Takes some 0.05 s.

        Raises:
            EmbeddingUnavailableError: the backend that the settings ask for is not installed.
        """
        if self.is_loaded or self._open_lanes is not _open_lanes:
            return True
        if self._settings.embedding_backend == "torch":
            return find_local_weights(self._settings.embedding_model) is not None
        return is_converted(self._settings)

    def prepare(self, check: Callable[[], None], tell: Callable[[], None] = lambda: None) -> None:
        """Fetch, convert and choose where that is not done; what `check` raises, some times a second, ends it.

        `tell` is called first when there is something to do.

        Raises:
            EmbeddingUnavailableError: there are no weights on this machine.
        """
        if self.is_loaded or self._open_lanes is not _open_lanes:
            return
        if self._settings.embedding_backend != "torch":
            prepare(self._settings, check, tell)
        elif find_local_weights(self._settings.embedding_model) is None:
            tell()
            find_weights(self._settings.embedding_model, hub_timeout_s=self._settings.hub_timeout_s)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts of any length; what lies past MAX_TOKENS of `text_model` does not count. See `Embedder.embed`."""
        return self._loaded().embed(texts)

    def _loaded(self) -> _Opened:
        opened = self._opened
        if opened is not None:
            return opened
        with self._lock:
            if self._opened is None:
                backend, lanes = self._open_lanes(self._settings)
                self._opened = _Opened(backend, lanes)
                log.info("embedding model loaded", extra={"model": self.name, "backend": backend})
            return self._opened


def _open_lanes(settings: RagSettings) -> tuple[str, Lanes]:
    if settings.embedding_backend == "torch":
        return "torch", open_torch(settings)
    return open_converted(settings)
