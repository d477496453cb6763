"""Write files that survive a crash, and remove folders that nobody names any more.

A file is whole or absent: written under another name, flushed to the disk, then renamed, and the folder flushed too.
Knows nothing of what is in the files. Not covered: disks that lie about flushing.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rag.errors import StoreUnavailableError


@contextmanager
def disk_failures(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error that says so. Absent files are left to the caller.

    Raises:
        StoreUnavailableError: the disk is full, the folder is read-only or another user's, or it has failed.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailableError(
            f"{error.filename or folder} cannot be used: {error.strerror or error}; make room or let it be written, or "
            "point CINQUE_HOME at another folder"
        ) from error


def write_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Make the folder `target` whole: `write` fills an empty folder beside it, which is flushed and then renamed.

    After a crash at any moment `target` is either absent or complete; the half-made folder starts with a dot.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    remove_folder(unfinished)
    unfinished.mkdir()
    try:
        write(unfinished)
        for file in unfinished.iterdir():
            _flush(file)
        _flush(unfinished)
        unfinished.rename(target)
    except BaseException:
        remove_folder(unfinished)
        raise
    _flush(target.parent)


def write_file(target: Path, text: str) -> None:
    """Make the file `target` whole: after a crash at any moment it is either absent or complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    unfinished.write_text(text, encoding="utf-8")
    _flush(unfinished)
    unfinished.rename(target)
    _flush(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it; nothing happens when it is absent or another process removes it too."""
    shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
