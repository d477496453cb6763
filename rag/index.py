"""Retrieval, whole: index folders or documents into collections, and answer queries over them.

`Retrieval` is the only class that the rest of the product calls. It is synchronous and safe to call from any thread;
making one does no work, and NumPy, faiss and torch are loaded by the first call that needs them. It checks requests,
wires the parts together and knows nothing of MCP. What it keeps is under `settings.folder`, or in a database.
"""

import base64
import binascii
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rag.catalog import CollectionRow, check_name
from rag.conversions import describe_conversion, is_being_converted
from rag.errors import InvalidRequestError, RagError
from rag.opening import count_collections, describe_store
from rag.settings import RagSettings
from rag.types import (
    CollectionList,
    DeleteResult,
    IndexProgress,
    IndexReport,
    IndexRequest,
    IndexStatus,
    Outline,
    Overview,
    RetrievalStatus,
    RetrieveRequest,
    RetrieveResult,
    SymbolRequest,
    SymbolResult,
)
from rag.weights import describe_weights

if TYPE_CHECKING:
    from rag.embedding import Embedder
    from rag.parts import Parts
    from rag.static_vectors import StaticEmbedder

MAX_PAGE: Final = 1_000

# Titles and fingerprints are shown in lists and kept in one row; longer ones are a mistake.
MAX_TITLE_CHARS: Final = 1_000
MAX_METADATA_CHARS: Final = 100_000


class Retrieval:
    """Collections of chunked text, on this machine or in a database, and hybrid search over them.

    Any number of threads may call it at once: indexings of one collection wait for each other, and queries meanwhile
    answer from the previous index. Other processes may share the folder, or the database.
    """

    def __init__(
        self,
        settings: RagSettings,
        embedder: "Embedder | None" = None,
        static: "StaticEmbedder | None" = None,
    ) -> None:
        self._settings = settings
        self._given_embedder = embedder
        self._given_static = static
        self._lock = threading.Lock()
        self._parts: Parts | None = None
        self._closed = False

    def index(
        self,
        request: IndexRequest,
        on_progress: Callable[[IndexProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> IndexReport:
        """Bring a collection up to date with a folder or with documents, which are the whole of it, then commit.

        Work is proportional to what changed. What is committed first can be searched by words; then dense vectors are
        filled in, by a thread behind this call when `request.wait_for_dense` is off. `on_progress` is called in this
        thread. Setting `cancelled` stops within one batch of embeddings, and leaves the previous index or, once dense
        vectors are being filled in, one that can be searched; what was embedded is kept for the next time.

        Raises:
            InvalidRequestError: a field cannot be used as given.
            LimitExceededError: there is more text than the settings allow.
            EmbeddingUnavailableError: there are no embedding weights on this machine; words can be searched.
            IndexCancelledError: `cancelled` was set.
        """
        _check_index_request(request)
        return self._opened().index(request, on_progress, cancelled)

    def index_status(self, collection: str) -> IndexStatus:
        """Describe one collection as committed, and whether it is being indexed or filled in right now.

        Raises:
            CollectionNotFoundError: it does not exist, nor is its first index being made.
        """
        parts = self._opened()
        check_name(collection)
        return parts.status([parts.find(collection)])[0]

    def list_collections(self, cursor: str | None = None, limit: int = 100) -> CollectionList:
        """List collections by title, one page of at most `limit`; pass `next_cursor` on for the next page.

        Raises:
            InvalidRequestError: `cursor` is not one of ours, or `limit` is not 1 to 1,000.
        """
        parts = self._opened()
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequestError(f"limit is {limit}; give 1 to {MAX_PAGE}", param="limit")
        rows = parts.store.catalog.page(None if cursor is None else _read_cursor(cursor), limit + 1)
        page = rows[:limit]
        return CollectionList(
            collections=tuple(parts.status(page)),
            next_cursor=_write_cursor(page[-1]) if len(rows) > limit else None,
        )

    def delete_collection(self, collection: str) -> DeleteResult:
        """Delete a collection and its files; waits for an indexing of it to end.

        Raises:
            CollectionNotFoundError: it does not exist.
        """
        parts = self._opened()
        check_name(collection)
        parts.store.find(collection)
        parts.delete(collection)
        return DeleteResult(collection, deleted=True)

    def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """Find the chunks that answer a query, best first, within the request's limits.

        Never waits for an embedding model to be fetched or converted: words and static vectors answer meanwhile.

        Raises:
            InvalidRequestError: a field cannot be used as given.
            CollectionNotFoundError: the collection does not exist.
            EmbeddingUnavailableError: the backend that the settings ask for is not installed.
        """
        check_name(request.collection)
        return self._opened().retrieve(request)

    def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        """Find where a symbol is defined and where it is named, in the text as indexed. See `references`.

        Raises:
            InvalidRequestError: a field cannot be used as given.
            CollectionNotFoundError: the collection does not exist.
        """
        check_name(request.collection)
        return self._opened().find_symbol(request)

    def outline(self, collection: str, path: str) -> Outline:
        """List what one file defines, in its order.

        Raises:
            InvalidRequestError: the collection has no such file.
            CollectionNotFoundError: the collection does not exist.
        """
        check_name(collection)
        return self._opened().outline(collection, path)

    def overview(self, collection: str) -> Overview:
        """Describe a collection: languages, entry points, sizes, the head of its README.

        Raises:
            CollectionNotFoundError: the collection does not exist.
        """
        check_name(collection)
        return self._opened().overview(collection)

    def status(self) -> RetrievalStatus:
        """Tell whether retrieval works here; loads no model and asks no network."""
        model = self._given_embedder.name if self._given_embedder is not None else self._settings.embedding_model
        ready, detail, is_converting = True, f"embedding with {model}", False
        if not self._settings.dense:
            model, detail = "", "ranking by words alone: dense ranking is off"
        elif self._given_embedder is None:
            ready, detail = describe_weights(model)
            detail += describe_conversion(self._settings) if ready else ""
            is_converting = is_being_converted(self._settings)
        try:
            n_collections = self._count_collections()
            store = describe_store(self._settings)
            return RetrievalStatus(ready, detail, model, n_collections, store, is_converting=is_converting)
        except RagError as error:
            store = describe_store(self._settings)
            return RetrievalStatus(
                ready=False,
                detail=error.message,
                embedding_model=model,
                n_collections=0,
                store=store,
                is_store_ready=False,
            )

    def close(self) -> None:
        """Let go of the memory held and stop filling in, which takes a second or two; later calls raise RagError.

        Closing twice is closing once.
        """
        with self._lock:
            self._closed = True
            if self._parts is not None:
                self._parts.close()
                self._parts = None

    def _count_collections(self) -> int:
        with self._lock:
            parts = self._parts
        return count_collections(self._settings) if parts is None else parts.store.catalog.count()

    def _opened(self) -> "Parts":
        with self._lock:
            if self._closed:
                raise RagError("retrieval is closed; make a new Retrieval")
            if self._parts is None:
                from rag.parts import Parts  # noqa: PLC0415 - loads NumPy, 0.1 s, on first use

                self._parts = Parts(self._settings, self._given_embedder, self._given_static)
            return self._parts


def _check_index_request(request: IndexRequest) -> None:
    check_name(request.collection)
    if (request.documents is None) == (request.root is None):
        raise InvalidRequestError(
            "give either documents or root, and only one of them",
            param="documents" if request.documents is not None else "root",
        )
    if request.watch and request.root is None:
        raise InvalidRequestError("only a folder can be watched; give root, or leave watch out", param="watch")
    if request.root is not None and (not request.root.strip() or "\0" in request.root or not _is_utf8(request.root)):
        raise InvalidRequestError("root is not a path; give an existing folder", param="root")
    for param, text in (("title", request.title), ("fingerprint", request.fingerprint)):
        if len(text) > MAX_TITLE_CHARS or not _is_utf8(text):
            raise InvalidRequestError(
                f"the {param} has {len(text)} characters; give at most {MAX_TITLE_CHARS}, all of them valid Unicode",
                param=param,
            )
    n_chars = sum(len(key) + len(value) for key, value in request.metadata.items())
    if n_chars > MAX_METADATA_CHARS:
        raise InvalidRequestError(
            f"the metadata has {n_chars} characters and the limit is {MAX_METADATA_CHARS}", param="metadata"
        )


def _is_utf8(text: str) -> bool:
    """Tell whether `text` can be stored: JSON may carry half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _write_cursor(last: CollectionRow) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.title, last.collection]).encode()).decode("ascii")


def _read_cursor(cursor: str) -> tuple[str, str]:
    """Read the title and name behind which a page starts."""
    try:
        title, collection = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        title = collection = None
    if not (isinstance(title, str) and isinstance(collection, str) and _is_utf8(title + collection)):
        raise InvalidRequestError("cursor is not one that list_collections returned; start without one", param="cursor")
    return title, collection
