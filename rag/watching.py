"""Calls back when something below a folder changes, until it is stopped.

The only importer of `watchfiles` (inotify and its kin), on first use. It calls once when it begins to see, so that what
changed before that is not missed, and again when the folder was away and is back. Bursts, such as a checkout, are one
call. Where the system refuses to watch, it calls every half minute. Knows nothing of indexes: what changed is for a
scan to find out.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

from rag.ignore import UNWANTED_FOLDERS

log = logging.getLogger(__name__)

# Changes are told when none came for this long, which every saved file has to wait for.
_QUIET_MS: Final = 100

# A burst that does not end is told of after this long all the same.
_BURST_MS: Final = 1_000

# How long after its loss a folder is missed at the latest, and how soon a new watch calls for the first time.
_LOOK_MS: Final = 500

_LOST_POLL_S: Final = 1.0
_BLIND_POLL_S: Final = 30.0

# The one file of git's own that says what belongs to a project.
_EXCLUDE_FILE: Final = (".git", "info", "exclude")

OnChange: TypeAlias = Callable[[threading.Event], None]


class Watcher:
    """Watches one folder in a thread of its own, from its making to `stop`."""

    def __init__(self, root: Path, on_change: OnChange) -> None:
        """Begin to watch. `on_change` is called in the thread, one call at a time, with an event set by `stop`.

        Changes during a call lead to one further call. The folder may vanish and come back, or be replaced. An
        exception of `on_change` ends the watch and is raised in the thread.
        """
        self._root = root
        self._on_change = on_change
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {root}", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still watches."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Call back no more, and wait for a call that runs. May be called from any thread, also within the call."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            identity = _identity(self._root)
            if identity is None:
                self._stopped.wait(_LOST_POLL_S)
                continue
            for has_changed in self._looks(identity):
                if has_changed and not self._stopped.is_set():
                    self._on_change(self._stopped)

    def _looks(self, identity: tuple[int, int]) -> Iterator[bool]:
        """Yield at each look whether something changed, the first time True; end when another folder is there."""
        from watchfiles import watch  # noqa: PLC0415 - loaded on first use: most sessions watch nothing

        is_first = True
        try:
            for changes in watch(
                self._root,
                watch_filter=lambda _change, path: _is_of_interest(self._root, path),
                debounce=_BURST_MS,
                step=_QUIET_MS,
                rust_timeout=_LOOK_MS,
                yield_on_timeout=True,
                stop_event=self._stopped,
                raise_interrupt=False,
                ignore_permission_denied=True,
            ):
                yield is_first or bool(changes)
                is_first = False
                # A new folder in the old one's place may have its number, so the old one's end counts too.
                if _identity(self._root) != identity or any(Path(path) == self._root for _, path in changes):
                    return
        except (OSError, RuntimeError) as error:  # its own errors are RuntimeErrors
            log.warning("folder cannot be watched", extra={"root": str(self._root), "error": str(error)})
            yield True
            self._stopped.wait(_BLIND_POLL_S)


def _identity(root: Path) -> tuple[int, int] | None:
    """Tell folders apart; None when there is none."""
    try:
        status = os.stat(root)  # noqa: PTH116 - a look every half second
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_of_interest(root: Path, path: str) -> bool:
    """Leave out what no index holds: caches, dependencies, and what git writes for itself."""
    parts = Path(path).relative_to(root).parts if Path(path).is_relative_to(root) else ()
    return UNWANTED_FOLDERS.isdisjoint(parts) or parts[-3:] == _EXCLUDE_FILE
