"""Make files below private folders reachable for an unprivileged id, at the paths they have, and nothing else there.

An interpreter or a toolchain often lies below root's home, which only root can enter. Root can give its own mount
namespace a view in which such a folder is empty but for what is needed. Where root may not (most containers) it says
which path must be made readable. Nothing here runs untrusted code.
"""

import os
import stat

from sandbox.inside import syscalls

COVER_BYTES = 1 << 20  # names of mount points only


def blocking_folder(path: str) -> str | None:
    """Return the first folder on the way to the path that others cannot enter, None when they can reach it."""
    parts = os.path.realpath(path).split("/")[1:-1]
    for i in range(len(parts)):
        folder = "/" + "/".join(parts[: i + 1])
        try:
            if not os.stat(folder).st_mode & stat.S_IXOTH:
                return folder
        except FileNotFoundError:
            return None
    return None


def reveal(paths: list[str]) -> None:
    """As root: enter a mount namespace where others can reach these paths. Raises OSError with what to do.

    Paths are bound read-only where a private folder has to be covered; everything else stays as it is.
    """
    hidden = {path: folder for path in paths if (folder := blocking_folder(path)) is not None}
    if not hidden:
        return
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
    except OSError as error:
        names = ", ".join(sorted(hidden))
        raise OSError(f"others cannot reach {names}: make that readable, or install it below /usr/local") from error
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    held = {path: os.open(os.path.realpath(path), os.O_PATH) for path in sorted(hidden)}
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    for folder in sorted(set(hidden.values())):
        syscalls.mount("tmpfs", folder, "tmpfs", flags, f"size={COVER_BYTES},mode=755")
    for path, fd in held.items():
        where = os.path.realpath(path)
        if not os.path.exists(where):  # else it lies below one that is bound already
            _make_mount_point(where, is_folder=stat.S_ISDIR(os.fstat(fd).st_mode))
            syscalls.bind_read_only(f"/proc/self/fd/{fd}", where)
        os.close(fd)


def _make_mount_point(path: str, *, is_folder: bool) -> None:
    if is_folder:
        os.makedirs(path)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii"):
        pass
