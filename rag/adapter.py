"""Search one folder of code from Python: the door for benchmarks and harnesses that know nothing of Cinque.

    with FolderSearch() as search:
        search.index("path/of/a/repository")
        for path, start_line, end_line, score in search.search("where is the retry delay computed?", k=10):
            ...

A thin front of `rag.index.Retrieval`, which does the work and says more about each hit. Knows nothing of MCP.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from rag.errors import InvalidRequestError
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import IndexReport, IndexRequest, RetrieveRequest

if TYPE_CHECKING:
    from rag.embedding import Embedder

# Path relative to the root, with `/`; first and last line, 1-based and inclusive; score, higher is better.
FoundSpan: TypeAlias = tuple[str, int, int, float]

# Results are bounded by their number here, so the text of hits may be as long as it is (tokens).
_NO_TOKEN_LIMIT: Final = 1 << 40

_NAME_DIGITS: Final = 16


class FolderSearch:
    """An index of one folder at a time, and ranked spans of its files for a query.

    Any number of threads may search. What is stored lies under `home`, so a second process that indexes the same
    folder finds most of the work done; without `home` it lies in a temporary folder that `close` removes.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        settings: RagSettings | None = None,
        embedder: "Embedder | None" = None,
    ) -> None:
        """Do no work yet. `settings` are those of the environment, where not given; `home` goes before theirs."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if home is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="cinque-")
            home = self._temporary.name
        self._retrieval = Retrieval((settings or RagSettings()).model_copy(update={"home": Path(home)}), embedder)
        self._collection = ""

    def index(self, root: str | os.PathLike[str]) -> IndexReport:
        """Index the folder, or what changed in it since it was last indexed; later searches are of this folder.

        Returns once all of it can be found by words and by meaning, which takes minutes for some ten thousand
        functions. Files that are skipped, such as those that Git ignores, are listed in the report.

        Raises:
            InvalidRequestError: there is no such folder.
            LimitExceededError: there is more text than the settings allow.
            EmbeddingUnavailableError: there are no embedding weights on this machine.
        """
        folder = Path(root).resolve()
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:_NAME_DIGITS]
        report = self._retrieval.index(IndexRequest(name, root=str(folder), title=folder.name[:_NAME_DIGITS]))
        self._collection = name
        return report

    def search(self, query: str, k: int = 10) -> list[FoundSpan]:
        """Find up to `k` spans that answer the query, best first; 1 to the setting `max_results`, 100 by default.

        Raises:
            InvalidRequestError: no folder was indexed yet, the query is empty or `k` is out of range.
        """
        if not self._collection:
            raise InvalidRequestError("no folder was indexed yet; call index first", param="root")
        request = RetrieveRequest(self._collection, query, max_results=k, max_tokens=_NO_TOKEN_LIMIT)
        return [(hit.path, hit.start_line, hit.end_line, hit.score) for hit in self._retrieval.retrieve(request).hits]

    def close(self) -> None:
        """Let go of memory and of the temporary folder; later calls raise RagError. Closing twice is closing once."""
        self._retrieval.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
