"""Carry files out of a build and into a run, as one tar stream through a descriptor.

Knows nothing of jobs. Only regular files are carried, by relative names; whatever else a stream holds is left out, so
a stream made by a hostile compilation can do no more than the program that it accompanies.
"""

import contextlib
import functools
import os
import tarfile
from collections.abc import Iterable

MODE_BITS = 0o755


def pack(names: Iterable[str], fd: int) -> None:
    """Write the files to the descriptor. Raises `FileNotFoundError` for one that is not there."""
    with open(fd, "wb", closefd=False) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for name in names:
            tar.add(name, recursive=False)


def unpack(fd: int) -> None:
    """Write the files of the stream below the current folder, with their permissions."""
    os.lseek(fd, 0, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file, tarfile.open(fileobj=file, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() and _stays_inside(member.name) else None
            if content is None:
                continue
            folder = os.path.dirname(member.name)
            if folder:
                os.makedirs(folder, exist_ok=True)
            # The mode is given when the file is made: not every tier lets a job change one. So nothing may be there.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(member.name)
            opener = functools.partial(os.open, mode=member.mode & MODE_BITS)
            with open(member.name, "wb", opener=opener) as target:
                while chunk := content.read(1 << 20):
                    target.write(chunk)


def _stays_inside(name: str) -> bool:
    return not os.path.isabs(name) and ".." not in name.split("/")
