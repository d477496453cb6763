"""Retrieval's parts, wired together: the store, the embedder, the indexer and the search.

Apart from `index` so that importing `Retrieval` does not import NumPy (0.1 s), which a server's start need not pay.
Nothing but `index` imports this, on first use.
"""

import threading
from collections.abc import Callable

from rag.embedding import Embedder, SentenceTransformerEmbedder
from rag.indexing import Indexer, Progress
from rag.outline import outline
from rag.overview import overview
from rag.references import find_symbol
from rag.searching import check_request, search
from rag.settings import RagSettings
from rag.store import Store
from rag.types import (
    IndexProgress,
    IndexReport,
    IndexRequest,
    Outline,
    Overview,
    RetrieveRequest,
    RetrieveResult,
    SymbolRequest,
    SymbolResult,
)


class Parts:
    """What one `Retrieval` works with, from its first call to its close."""

    def __init__(self, settings: RagSettings, embedder: Embedder | None) -> None:
        self.store = Store(settings.folder, max_open=settings.max_open_collections)
        self._settings = settings
        self._embedder = (embedder or SentenceTransformerEmbedder(settings)) if settings.dense else None
        self._indexer = Indexer(settings, self.store, self._embedder)

    def index(
        self,
        request: IndexRequest,
        on_progress: Callable[[IndexProgress], None] | None,
        cancelled: threading.Event | None,
    ) -> IndexReport:
        """Do what `Retrieval.index` says, for a request whose fields were checked."""
        return self._indexer.run(request, Progress(on_progress, cancelled, request.collection))

    def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        """Do what `Retrieval.retrieve` says."""
        check_request(request, self._settings)
        _, generation = self.store.load(request.collection)
        return search(generation, request, self._embedder, self._settings.dense_weight)

    def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        """Do what `Retrieval.find_symbol` says."""
        return find_symbol(self.store.load(request.collection)[1], request)

    def outline(self, collection: str, path: str) -> Outline:
        """Do what `Retrieval.outline` says."""
        return outline(self.store.load(collection)[1], path, collection)

    def overview(self, collection: str) -> Overview:
        """Do what `Retrieval.overview` says."""
        return overview(*self.store.load(collection))
