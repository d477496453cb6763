"""Parts of generations as rows of bytes, and the local folder that each is fetched into once.

A part never changes and its name is drawn at random, so a copy that is there is right; one that is damaged is fetched
again. What is in the folder can be deleted at any time. Knows nothing of what is inside a part.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rag.catalog import check_name
from rag.durable import remove_folder
from rag.postgres.database import Connection

# Bytes of a file that travel, and lie, in one row: far below the 1 GB that a row may have.
BLOCK_BYTES: Final = 4 << 20

# What is unfinished for so long was left by a crash, s: no fetch takes a day.
_UNFINISHED_FOR_S: Final = 86_400


def stored_names(connection: Connection, collection: int) -> set[str]:
    """Name the pieces that the database has of a collection."""
    question = "SELECT DISTINCT name FROM cinque_rag.pieces WHERE collection = %s"
    return {row[0] for row in connection.execute(question, [collection])}


def store_piece(connection: Connection, collection: int, folder: Path) -> None:
    """Copy a folder of files into rows, under its name."""
    with connection.cursor() as cursor:
        for path in sorted(folder.iterdir()):
            with path.open("rb") as file:
                number = 0
                while (block := file.read(BLOCK_BYTES)) or not number:
                    cursor.execute(
                        "INSERT INTO cinque_rag.pieces VALUES (%s, %s, %s, %s, %b)",
                        [collection, folder.name, path.name, number, block],
                    )
                    number += 1


def drop_pieces(connection: Connection, collection: int, kept: set[str]) -> None:
    """Delete the pieces of a collection whose names are not in `kept`."""
    connection.execute(
        "DELETE FROM cinque_rag.pieces WHERE collection = %s AND name <> ALL(%s::text[])", [collection, list(kept)]
    )


class Copies:
    """The local copies of one database's pieces. Any number of threads and processes may use the folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; what crashed processes left unfinished there is removed after a day."""
        self._folder = folder
        self._unfinished = folder / "unfinished"
        self._unfinished.mkdir(parents=True, exist_ok=True)
        for left in self._unfinished.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _UNFINISHED_FOR_S:
                    remove_folder(left)

    def of(self, collection: str) -> Path:
        """Return the folder of the copies of one collection."""
        check_name(collection)  # again here, where a bad name would do harm
        return self._folder / "collections" / collection

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Lend an empty folder to write pieces in; what is not moved away from it is removed."""
        folder = Path(tempfile.mkdtemp(dir=self._unfinished))
        try:
            yield folder
        finally:
            remove_folder(folder)

    def keep(self, collection: str, written: Path) -> None:
        """Move a written piece to its place; nothing happens when it is there."""
        folder = self.of(collection)
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another process was faster, or is deleting: a copy can be made again
            written.rename(folder / written.name)

    def remove_others(self, collection: str, kept: set[str]) -> None:
        """Remove the copies that no generation names any more; an open index is all in memory."""
        with suppress(FileNotFoundError):
            for other in self.of(collection).iterdir():
                if other.name not in kept:
                    remove_folder(other)

    def remove(self, collection: str) -> None:
        """Remove all copies of a collection."""
        remove_folder(self.of(collection))

    def fetch(self, connection: Connection, number: int, collection: str, name: str) -> None:
        """Copy a piece of the collection with a number from its rows; nothing happens when it is there.

        Raises FileNotFoundError when the database has no such piece.
        """
        if (self.of(collection) / name).is_dir():
            return
        question = (
            "SELECT file, content FROM cinque_rag.pieces WHERE collection = %s AND name = %s ORDER BY file, block"
        )
        with self.writing() as folder, connection.cursor(binary=True) as cursor:
            written = folder / name
            written.mkdir()
            for file, content in cursor.stream(question, [number, name]):
                with (written / file).open("ab") as blocks:
                    blocks.write(content)
            if not any(written.iterdir()):
                raise FileNotFoundError(written)
            self.keep(collection, written)
