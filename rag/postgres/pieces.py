"""Parts of generations as rows of bytes, and the local folder that each is fetched into once.

A part never changes and its name is drawn at random, so a copy that is there is right; one that is damaged is fetched
again. What is in the folder can be deleted at any time. Knows nothing of what is inside a part.
"""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from rag.durable import remove_folder
from rag.postgres.database import Connection

# Bytes of a file that travel, and lie, in one row: far below the 1 GB that a row may have.
BLOCK_BYTES: Final = 4 << 20


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


def fetch_piece(connection: Connection, collection: int, folder: Path) -> None:
    """Copy a piece from its rows to `folder`, in one step; nothing happens when it is there.

    Raises FileNotFoundError when the database has no such piece.
    """

    def write(unfinished: Path) -> None:
        question = (
            "SELECT file, content FROM cinque_rag.pieces WHERE collection = %s AND name = %s ORDER BY file, block"
        )
        with connection.cursor(binary=True) as cursor:
            n_blocks = 0
            for file, content in cursor.stream(question, [collection, folder.name]):
                with (unfinished / file).open("ab") as blocks:
                    blocks.write(content)
                n_blocks += 1
        if not n_blocks:
            raise FileNotFoundError(folder)

    write_copy(folder, write)


def write_copy(folder: Path, write: Callable[[Path], None]) -> None:
    """Make the folder of a piece by filling one beside it; any number of processes may do so at once."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        write(unfinished)
        with suppress(OSError):  # another process was faster
            unfinished.rename(folder)
        if not folder.is_dir():
            raise FileNotFoundError(folder)
    finally:
        remove_folder(unfinished)


def remove_others(folder: Path, kept: set[str]) -> None:
    """Remove the copies that no generation names any more; an open index is all in memory."""
    for other in folder.iterdir():
        if other.name in kept:
            continue
        if other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
        else:
            other.unlink(missing_ok=True)
