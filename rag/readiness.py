"""Whether a query can be embedded at once; and the embedding model made ready in a thread behind those that cannot.

Opening a converted model takes a second, which a query waits for unless the thread was faster. Fetching and converting
one takes up to minutes, once on a machine: meanwhile queries are answered by words and static vectors. Knows nothing of
collections.
"""

import logging
import threading
import time
from typing import Final

from rag.embedding import Embedder, SentenceTransformerEmbedder
from rag.errors import IndexCancelledError, RagError

# How long after a conversion failed the next one is tried, s: without network each try waits for the hub.
_TRY_AGAIN_S: Final = 60.0

log = logging.getLogger(__name__)


class Readiness:
    """Makes one embedding model ready, at most one thread at a time. Safe to use from any thread."""

    def __init__(self, embedder: SentenceTransformerEmbedder) -> None:
        self._embedder = embedder
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_converting = False
        self._failed_at_s = -_TRY_AGAIN_S

    def for_query(self) -> Embedder | None:
        """Return the embedder where it only has to be opened; else None, and see to it behind.

        Raises:
            EmbeddingUnavailableError: the backend that the settings ask for is not installed.
        """
        if self._embedder.is_loaded:
            return self._embedder
        if not self._is_converting and self._embedder.is_prepared():
            return self._embedder
        if time.monotonic() >= self._failed_at_s + _TRY_AGAIN_S:
            self._begin(may_convert=True)
        return None

    def warm_up(self) -> None:
        """Open the model behind, where it is converted: a query is going to need it."""
        if not self._embedder.is_loaded:
            self._begin(may_convert=False)

    def close(self) -> None:
        """Stop the thread: kills a conversion, and waits for the opening of a model, a second."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _begin(self, *, may_convert: bool) -> None:
        with self._lock:
            if self._thread is not None or self._stop.is_set():
                return
            self._is_converting = may_convert
            self._thread = threading.Thread(
                target=self._work, args=[may_convert], name="rag-embedding-model", daemon=True
            )
            self._thread.start()

    def _work(self, may_convert: bool) -> None:  # noqa: FBT001 - a thread's only argument
        try:
            if may_convert:
                self._embedder.prepare(self._check)
                self._is_converting = False
            if self._embedder.is_prepared() and not self._stop.is_set():
                _ = self._embedder.dimensions
        except IndexCancelledError:
            pass  # closed
        except RagError as error:
            self._failed_at_s = time.monotonic()
            log.warning("queries are not embedded", extra={"model": self._embedder.name, "error": error.message})
        except Exception:
            self._failed_at_s = time.monotonic()
            log.exception("making the embedding model ready failed", extra={"model": self._embedder.name})
        finally:
            with self._lock:
                self._is_converting = False
                self._thread = None

    def _check(self) -> None:
        if self._stop.is_set():
            raise IndexCancelledError("the conversion of the embedding model was stopped by a close")
