"""A retrieval whose symbol tools are scripted and whose searches are real, over words only.

The answers of the three tools are data, so a test of a tool or of the gateway knows them in advance; what was asked
is kept. Everything else is `Retrieval` itself.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from rag.errors import CollectionNotFoundError, InvalidRequestError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import (
    FileSize,
    FolderSize,
    IndexProgress,
    IndexReport,
    IndexRequest,
    LanguageShare,
    Outline,
    OutlineItem,
    Overview,
    RetrieveRequest,
    RetrieveResult,
    SymbolLocation,
    SymbolRequest,
    SymbolResult,
)

COLLECTION = "scripted"
PATH = "src/app.py"
DEFINITION = SymbolLocation(PATH, "python", "function", "main", 3, 9, "def main() -> int:", "definition")
REFERENCE = SymbolLocation(PATH, "python", "window", "", 12, 12, "    sys.exit(main())", "reference")
OUTLINE = Outline(COLLECTION, PATH, "python", 12, (OutlineItem("function", "main", 3, 9, 0, "def main() -> int"),))
OVERVIEW = Overview(
    collection=COLLECTION,
    title="Scripted",
    n_files=1,
    n_lines=12,
    n_bytes=200,
    languages=(LanguageShare("python", 1, 12, 200),),
    entry_points=(PATH,),
    largest_files=(FileSize(PATH, 12, 200),),
    top_folders=(FolderSize("src", 1, 12),),
    readme="",
)


class ScriptedRetrieval(Retrieval):
    """A `Retriever` that knows the symbols of one collection by heart, and remembers what it was asked.

    Each indexing tells `steps` before it begins, as a slow one of a large folder would.
    """

    def __init__(self, home: Path, steps: tuple[IndexProgress, ...] = ()) -> None:
        super().__init__(RagSettings(home=home, dense=False))
        self.indexed: list[IndexRequest] = []
        self.asked: list[SymbolRequest | RetrieveRequest] = []
        self._steps = steps

    def index(
        self,
        request: IndexRequest,
        on_progress: Callable[[IndexProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> IndexReport:
        self.indexed.append(request)
        for step in self._steps if on_progress is not None else ():
            on_progress(step)
        return super().index(request, on_progress, cancelled)

    def retrieve(self, request: RetrieveRequest) -> RetrieveResult:
        self.asked.append(request)
        return super().retrieve(request)

    def find_symbol(self, request: SymbolRequest) -> SymbolResult:
        self._check(request.collection)
        self.asked.append(request)
        return SymbolResult(COLLECTION, request.symbol, (DEFINITION,), (REFERENCE,), truncated=False)

    def outline(self, collection: str, path: str) -> Outline:
        self._check(collection)
        if path != PATH:
            msg = f"there is no file {path!r} in collection {collection!r}"
            raise InvalidRequestError(msg, param="path")
        return OUTLINE

    def overview(self, collection: str) -> Overview:
        self._check(collection)
        return OVERVIEW

    def _check(self, collection: str) -> None:
        if collection != COLLECTION:
            msg = f"there is no collection {collection!r}; index it first"
            raise CollectionNotFoundError(msg, param="collection")
