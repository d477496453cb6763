"""How far an indexing is, told to its caller; and the caller's wish to stop, noticed.

Everything that takes long calls `report` or `check` every second or so. Knows nothing of what is being done.
"""

import threading
from collections.abc import Callable
from typing import Final, Literal

from rag.errors import IndexCancelledError
from rag.types import IndexProgress

Stage = Literal["reading", "chunking", "weighing", "model", "embedding", "committing"]

# A progress report crosses the MCP seam; this many a stage are smooth enough for a bar.
_REPORTS_PER_STAGE: Final = 100


class Progress:
    """Tells the caller how far an indexing is, and notices that the caller wants it to stop."""

    def __init__(
        self, on_progress: Callable[[IndexProgress], None] | None, cancelled: threading.Event | None, collection: str
    ) -> None:
        self._on_progress = on_progress
        self._cancelled = cancelled
        self._collection = collection
        self._last: tuple[str, int, int] | None = None
        self.is_searchable = False  # whether what was asked for is committed but for its dense vectors

    def check(self) -> None:
        """Raise IndexCancelledError once the caller's event is set."""
        if self._cancelled is not None and self._cancelled.is_set():
            outcome = (
                "it can be searched, and the next indexing goes on with its dense vectors"
                if self.is_searchable
                else "its previous index is unchanged"
            )
            raise IndexCancelledError(f"indexing of collection {self._collection!r} was cancelled; {outcome}")

    def report(self, stage: Stage, done: int, total: int) -> None:
        """Check, and pass on the first, the last and about every hundredth part of a stage."""
        self.check()
        if self._on_progress is None or self._last == (stage, done, total):
            return
        if self._last is not None and self._last[0] == stage and done != total:
            _, last_done, last_total = self._last
            if total == last_total and done - last_done < max(1, total // _REPORTS_PER_STAGE):
                return
        self._last = (stage, done, total)
        self._on_progress(IndexProgress(stage, done, total))

    def finish(self) -> None:
        """Say that the last commit is done; too late to stop."""
        if self._on_progress is not None:
            self._on_progress(IndexProgress("committing", 1, 1))
