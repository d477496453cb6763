"""Keeps collections up to date with their folders: one watcher for each collection that is followed.

What an update is, the caller says; one that fails is logged, and the next change tries again. Nothing is remembered
over a restart. Knows nothing of indexes or of stores.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from rag.errors import IndexCancelledError, RagError
from rag.watching import Watcher

log = logging.getLogger(__name__)

Update: TypeAlias = Callable[[threading.Event], object]  # gets the event that means "stop"


class Following:
    """The watchers of one `Retrieval`. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: dict[str, tuple[Path, Watcher]] = {}
        self._closed = False

    def follow(self, collection: str, root: Path, update: Update) -> None:
        """Call `update` soon, and then after every change below `root`, until `unfollow` or `close`.

        A collection follows one folder: another takes its place, and the same one is followed on as it is.
        """
        with self._lock:
            held = self._watchers.get(collection)
            if self._closed or (held is not None and held[0] == root and held[1].is_alive):
                return
            self._watchers[collection] = (root, Watcher(root, lambda stop: _try(collection, update, stop)))
        if held is not None:
            held[1].stop()

    def unfollow(self, collection: str) -> None:
        """Follow no more; an update that runs is told to stop, and waited for. None followed: nothing happens."""
        with self._lock:
            held = self._watchers.pop(collection, None)
        if held is not None:
            held[1].stop()

    def is_followed(self, collection: str) -> bool:
        """Tell whether the changes of a collection's folder are followed."""
        with self._lock:
            held = self._watchers.get(collection)
        return held is not None and held[1].is_alive

    def close(self) -> None:
        """Follow nothing any more. Closing twice is closing once."""
        with self._lock:
            self._closed = True
            held = list(self._watchers.values())
            self._watchers.clear()
        for _, watcher in held:
            watcher.stop()


def _try(collection: str, update: Update, stop: threading.Event) -> None:
    try:
        update(stop)
    except IndexCancelledError:
        log.info("following was stopped during an update", extra={"collection": collection})
    except RagError as error:
        log.warning("followed folder was not indexed", extra={"collection": collection, "error": error.message})
