"""A job's folder on the host's disk, for the tier that cannot give it a file system of its own.

Made empty, measured while the job runs, removed afterwards whatever the job did to it. Knows nothing of processes; it
is only removed when all that could still write to it are dead.
"""

import os
import stat
from collections.abc import Iterator

WORK = "work"  # the current folder of the program, and its home
TEMPORARY = "tmp"
TOO_MANY = 1 << 62
BLOCK_BYTES = 512  # the unit of st_blocks


def make(folder: str, uid: int | None) -> None:
    """Make the folder for a user id, or for our own."""
    for path in (folder, f"{folder}/{WORK}", f"{folder}/{TEMPORARY}"):
        os.mkdir(path, 0o700)
        if uid is not None:
            os.chown(path, uid, uid)


def usage(folder: str) -> tuple[int, int]:
    """Return the bytes on disk and the number of files, without following links. What vanishes meanwhile is left out.

    A folder that cannot be looked into (closed to us, or too deep) counts as too many files. A file that was removed
    and is still open is not seen.
    """
    n_bytes = n_files = 0
    owner = os.stat(folder).st_uid
    pending = [folder]
    while pending:
        path = pending.pop()
        try:
            for entry in _look_into(path, owner):
                found = entry.stat(follow_symlinks=False)
                n_files += 1
                n_bytes += found.st_blocks * BLOCK_BYTES
                if stat.S_ISDIR(found.st_mode):
                    pending.append(f"{path}/{entry.name}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return n_bytes, TOO_MANY
    return n_bytes, n_files


def _look_into(path: str, owner: int) -> Iterator["os.DirEntry[str]"]:
    """Yield what is in a folder of this owner's; nothing where a link now leads to somebody else's."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(fd).st_uid == owner:
            with os.scandir(fd) as entries:
                yield from entries
    finally:
        os.close(fd)


def remove(folder: str) -> None:
    """Remove the folder with all in it, however deep: each folder found is moved beside it first."""
    n_moved = 0
    pending = [folder]
    while pending:
        path = pending.pop()
        os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)  # moving a folder writes to it
                target = f"{folder}-removed-{n_moved}"
                n_moved += 1
                os.rename(entry.path, target)
                pending.append(target)
            else:
                os.unlink(entry.path)
        if path != folder:
            os.rmdir(path)
    os.rmdir(folder)
