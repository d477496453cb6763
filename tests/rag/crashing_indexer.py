"""Index version after version into one collection until killed; run in a process of its own by the crash tests.

The first commit of a version brings its words, those behind it its vectors. Every change of a module here is made in
that process only.
"""

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from hash_embedder import HashEmbedder

from rag import durable, filling, folder_store, merging
from rag.catalog import Catalog
from rag.errors import CollectionNotFoundError
from rag.index import Retrieval
from rag.part import Part
from rag.segments import Segment
from rag.settings import RagSettings
from rag.types import Document, IndexRequest

N_DOCUMENTS = 12
CHANGES_EVERY = 4  # versions: three documents in twelve change with each


def documents_of(version: int) -> tuple[Document, ...]:
    """Make every document say which version it is of; one in two moves when it changes."""
    return tuple(_document(number, version - (version - number) % CHANGES_EVERY) for number in range(N_DOCUMENTS))


def _document(number: int, version: int) -> Document:
    text = "".join(f"def part_{part}():\n    return 'version {version}'\n\n" for part in range(8))
    return Document(f"file_{number}_{version if number % 2 else ''}.py", text)


def grow_quickly() -> None:
    """Commit vectors, and join parts and make the base anew, as often as a large collection would in hours."""
    filling.FIRST_COMMIT_S = filling.MAX_COMMIT_S = filling.MAX_SHARED_COMMIT_S = 0.0  # type: ignore[misc]
    filling._CHUNKS_PER_STEP = 8  # type: ignore[misc]
    merging.MAX_TAIL_CHUNKS = 40  # type: ignore[misc]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deaths:
    """Puts the kill where a real one could fall; only private seams reach these moments."""

    def __init__(self, moment: str, commit: int) -> None:
        self._left = commit
        commit_really = folder_store.FolderStore.commit

        def counted(self_: object, *arguments: object) -> object:
            self._left -= 1
            if self._left == 0:
                plan_death(moment)
            return commit_really(self_, *arguments)  # type: ignore[arg-type]

        folder_store.FolderStore.commit = counted  # type: ignore[assignment, method-assign]


def plan_death(moment: str) -> None:
    if moment == "writing":
        for kind in (Part, Segment):
            write = kind.write
            kind.write = lambda self, folder, write=write: (write(self, folder), die())  # type: ignore[method-assign]
    elif moment == "renamed":
        rename = Path.rename
        Path.rename = lambda self, target: (rename(self, target), die())  # type: ignore[method-assign]
    elif moment == "described":
        folder_store.write_file = lambda target, text: (durable.write_file(target, text), die())
    elif moment == "before_row":
        Catalog.put = die  # type: ignore[method-assign]
    elif moment == "after_row":
        folder_store.remove_folder = die


def index_until_killed(settings: RagSettings, finished: Connection, death: tuple[str, int] | None) -> None:
    """Index the first version there is none of, and those behind it, and send the number of each that is finished.

    *death* is a moment of a commit, and which commit of the second version it is; without one, somebody else kills.
    """
    grow_quickly()
    retrieval = Retrieval(settings, HashEmbedder())
    try:
        start = int(retrieval.index_status("c").fingerprint) + 1
    except CollectionNotFoundError:
        start = 1
    for version in range(start, start + 1_000):
        if death is not None and version == start + 1:
            Deaths(*death)
        retrieval.index(IndexRequest("c", documents=documents_of(version), fingerprint=str(version)))
        finished.send(version)
