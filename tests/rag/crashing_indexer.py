"""Index version after version into one collection until killed; run as a program by the crash tests.

Arguments: the home folder, and where to die: `never`, `writing`, `renamed`, `before_row` or `after_row`. Prints one
line per finished version.
"""

import os
import signal
import sys
from pathlib import Path

from hash_embedder import HashEmbedder

from rag import durable, store
from rag.catalog import Catalog
from rag.generation import Generation
from rag.index import Retrieval
from rag.settings import RagSettings
from rag.types import Document, IndexRequest


def documents_of(version: int) -> tuple[Document, ...]:
    """Make every document say which version it is of."""
    text = "".join(f"def part_{number}():\n    return 'version{version}'\n\n" for number in range(8))
    return tuple(Document(f"file_{number}.py", text) for number in range(12))


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def plan_death(moment: str) -> None:
    """Put the kill where a real one could fall; only a private seam reaches these moments."""
    if moment == "writing":
        write = Generation.write
        Generation.write = lambda self, folder: (write(self, folder), die())  # type: ignore[method-assign]
    elif moment == "renamed":
        rename = Path.rename
        Path.rename = lambda self, target: (rename(self, target), die())  # type: ignore[method-assign]
    elif moment == "before_row":
        Catalog.put = die  # type: ignore[method-assign]
    elif moment == "after_row":
        store.remove_folder = die
        durable.remove_folder = lambda _: None


def main() -> None:
    """Index version 1, then live or die."""
    retrieval = Retrieval(RagSettings(home=Path(sys.argv[1])), HashEmbedder())
    for version in range(1, 1_000):
        if version == 2:
            plan_death(sys.argv[2])
        retrieval.index(IndexRequest("c", documents=documents_of(version), fingerprint=str(version)))
        print(version, flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main()
