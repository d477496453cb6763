"""Fill in the dense vectors of an index that can be searched already.

A filling embeds what has no vector yet for a while, commits it, and looks again: the index may have changed meanwhile,
and what was embedded is in the cache however it ends. The first commit comes soon, later ones ever more rarely, since
each makes the vectors of a large collection a little more ready and costs the same. One filling of a collection runs at
a time, among all processes; after a crash the next one goes on. Knows nothing of files or of queries.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from rag.chunking import text_to_embed
from rag.dense import Keys, Vectors
from rag.embedding_cache import CachedEmbedder
from rag.errors import CollectionNotFoundError, IndexCancelledError, RagError, StoreUnavailableError
from rag.generation import Generation
from rag.merging import with_vectors
from rag.progress import Progress
from rag.store import Store
from rag.types import IndexProgress

# Seconds from one commit to the next: the first, and the most that doubling leads to.
FIRST_COMMIT_S: Final = 2.0
MAX_COMMIT_S: Final = 60.0

# The most where a database keeps the vectors: a commit costs only what is new, 3 ms a vector for its index, and an edit
# waits for it.
MAX_SHARED_COMMIT_S: Final = 4.0

# Chunks embedded between two looks at the clock; the cache looks at the caller's wish to stop more often.
_CHUNKS_PER_STEP: Final = 64

# How soon to look again at a collection that another process is filling, s.
_LOOK_AGAIN_S: Final = 5.0

# Makes a model ready: calls the first some times a second, to be stopped by what it raises, and the second before it
# begins with what takes long.
Prepare: TypeAlias = Callable[[Callable[[], None], Callable[[], None]], None]

log = logging.getLogger(__name__)


class Filler:
    """Fills in vectors of one model, in the caller's thread or in one of its own behind it."""

    def __init__(
        self,
        store: Store,
        embedder: CachedEmbedder,
        model: str,
        prepare: Prepare | None = None,
        tell: Callable[[str, IndexProgress | None], None] = lambda _collection, _step: None,
    ) -> None:
        """Start nothing; `model` is the name of what `embedder` embeds with.

        `prepare` makes the model ready, where that may take long. `tell` gets the progress of a collection that is
        filled in behind, and None at its end.
        """
        self._prepare = prepare
        self._tell = tell
        self._store = store
        self._embedder = embedder
        self._model = model
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: dict[str, None] = {}  # collections, in order
        self._failed: set[str] = set()

    def fill(self, collection: str, progress: Progress) -> None:
        """Embed and commit until every chunk has its vector; waits while another thread or process does so.

        Raises:
            CollectionNotFoundError: it was deleted meanwhile.
            EmbeddingUnavailableError: there are no embedding weights on this machine.
            IndexCancelledError: the caller or `close` stopped it; what was committed stays.
        """

        def check() -> None:
            progress.check()
            if self._stop.is_set():
                raise IndexCancelledError(
                    f"filling in the vectors of {collection!r} was stopped by a close; the next indexing goes on"
                )

        def wait() -> None:
            check()
            row = self._store.find(collection)
            progress.report("embedding", row.n_dense, row.n_chunks)

        patience_s = FIRST_COMMIT_S
        with self._store.filling(collection, wait):
            generation = self._store.load(collection)[1]
            if self._prepare is not None and self._n_pending(generation):
                self._prepare(check, lambda: progress.report("model", 0, 1))
            while n_left := self._n_pending(generation):
                report = _Steps(progress, check, len(generation.keys) - n_left, len(generation.keys))
                keys, vectors = self._embed(generation, patience_s, report)
                with self._store.exclusive(collection, check):
                    generation = self._commit(collection, keys, vectors)
                longest_s = MAX_COMMIT_S if generation.shared is None else MAX_SHARED_COMMIT_S
                patience_s = min(2 * patience_s, longest_s)

    def later(self, collection: str, *, is_asked: bool) -> None:
        """Fill a collection in behind; after a failure only when somebody has asked for it."""
        with self._lock:
            if is_asked:
                self._failed.discard(collection)
            if self._stop.is_set() or collection in self._failed:
                return
            if not is_asked and self._store.is_filling(collection):
                return  # whoever does it sees to all of it
            self._waiting[collection] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="rag-filling", daemon=True)
                self._thread.start()

    def waiting(self) -> frozenset[str]:
        """Name the collections that are about to be filled in."""
        with self._lock:
            return frozenset(self._waiting)

    def close(self) -> None:
        """Stop every filling within one step, and the thread; nothing is filled in afterwards."""
        self._stop.set()
        with self._lock:
            thread = self._thread
            self._waiting.clear()
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        patience_s = _LOOK_AGAIN_S
        while (collection := self._next()) is not None:
            try:
                self.fill(collection, Progress(functools.partial(self._tell, collection), None, collection))
            except (CollectionNotFoundError, IndexCancelledError):
                continue  # deleted, or closed, after which there is no next
            except StoreUnavailableError as error:
                log.warning("filling in waits", extra={"collection": collection, "error": error.message})
                with self._lock:
                    self._waiting[collection] = None
                self._stop.wait(patience_s)
                patience_s = min(2 * patience_s, MAX_COMMIT_S)  # what cannot be committed is not embedded all the time
            except RagError as error:
                log.warning("dense vectors are missing", extra={"collection": collection, "error": error.message})
                self._give_up(collection)
            except Exception:
                log.exception("filling in dense vectors failed", extra={"collection": collection})
                self._give_up(collection)
            else:
                patience_s = _LOOK_AGAIN_S
            finally:
                self._tell(collection, None)

    def _next(self) -> str | None:
        """Take a collection that nobody is filling; None, and no thread any more, when none waits."""
        while True:
            with self._lock:
                free = next((name for name in self._waiting if self._is_free(name)), None)
                if free is not None:
                    del self._waiting[free]
                    return free
                if not self._waiting or self._stop.is_set():
                    self._thread = None
                    return None
            self._stop.wait(_LOOK_AGAIN_S)

    def _is_free(self, collection: str) -> bool:
        try:
            return not self._store.is_filling(collection)
        except StoreUnavailableError:
            return False  # for now

    def _give_up(self, collection: str) -> None:
        with self._lock:
            self._failed.add(collection)

    def _n_pending(self, generation: Generation) -> int:
        """Count the chunks without a vector; none when the index is of another model, whose owner fills it in."""
        if generation.manifest.embedding_model != self._model:
            return 0
        return len(generation.keys) - int(generation.has_dense.sum())

    def _embed(self, generation: Generation, patience_s: float, report: "_Steps") -> tuple[Keys, Vectors]:
        """Embed chunks without a vector, what was edited last first, until all have one or patience is at its end."""
        rows = np.flatnonzero(~generation.has_dense)
        n_base = len(generation.parts[0].rows)
        rows = np.concatenate([rows[rows >= n_base], rows[rows < n_base]])
        until_s = time.monotonic() + patience_s
        vectors: list[Vectors] = []
        n_done = 0
        while n_done < len(rows) and (not n_done or time.monotonic() < until_s):
            texts = [text_to_embed(generation.chunks[row]) for row in rows[n_done : n_done + _CHUNKS_PER_STEP].tolist()]
            vectors.append(self._embedder.embed(texts, report.after(n_done)))
            n_done += len(texts)
        return generation.keys[rows[:n_done]], np.concatenate(vectors)

    def _commit(self, collection: str, keys: Keys, vectors: Vectors) -> Generation:
        """Give the collection's index of now the vectors of the chunks that it still has."""
        row, generation = self._store.load(collection)
        if generation.manifest.embedding_model != self._model:
            return generation
        filled = with_vectors(generation, keys, vectors)
        if filled is not generation:
            self._store.commit(replace(row, n_dense=int(filled.has_dense.sum())), filled)
        return self._store.load(collection)[1]


class _Steps:
    """Turns the embedder's count of one call into progress of the whole."""

    def __init__(self, progress: Progress, check: Callable[[], None], n_done: int, total: int) -> None:
        self._progress = progress
        self._check = check
        self._n_done = n_done
        self._total = total

    def after(self, n_done: int) -> Callable[[int], None]:
        """Return what reports steps after so many texts."""

        def on_step(done: int) -> None:
            self._check()
            self._progress.report("embedding", self._n_done + n_done + done, self._total)

        return on_step
