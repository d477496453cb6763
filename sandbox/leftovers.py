"""What a server leaves in the folder for temporary files when it is killed: named so that the next one can remove it.

A name tells whose it is: the namespace of process ids, for containers may share the folder, and the process. Nothing
is touched whose owner may still run, that belongs to another user, or that another program has named.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"cinque-(?:job|canary|root)-(?P<namespace>\d+)-(?P<pid>\d+)-")


def prefix(kind: str) -> str:
    """Return how names of this process begin; `kind` is `job`, `canary` or `root`."""
    return f"cinque-{kind}-{_namespace()}-{os.getpid()}-"


def remove() -> None:
    """Remove what processes that are gone have left."""
    namespace, user = _namespace(), os.geteuid()
    for path in Path(tempfile.gettempdir()).glob("cinque-*"):
        owner = _NAME.match(path.name)
        if owner is None or owner["namespace"] != namespace or Path(f"/proc/{owner['pid']}").exists():
            continue
        try:
            if path.lstat().st_uid != user:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # a program may have made folders that cannot be removed
            else:
                path.unlink()
        except FileNotFoundError:  # another server that starts removes it, too
            continue


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # no Linux, or no /proc: nothing can tell who still runs
        return "0"
