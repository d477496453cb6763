"""Which collection is a folder's: how `cinque index` names it, and how `cinque search` finds it again.

A folder's collection keeps the folder in its metadata. Pure functions of what `list_collections` tells.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from mcp_server.contract import IndexStatus
from shim.errors import CommandError

ROOT = "root"  # member of a collection's metadata: the folder, absolute
DIGEST_CHARS = 8  # of the folder's path: two folders of one name are two collections
MAX_SLUG_CHARS = 60
NAMES_SHOWN = 8
UNUSABLE = re.compile(r"[^A-Za-z0-9._-]+")  # in the name of a collection


def collection_of(root: Path, name: str | None, collections: Sequence[IndexStatus]) -> str:
    """Name the collection of *root*: *name*, or made of the folder's own name and path.

    Raises:
        CommandError: *name* is another folder's, or was not made of a folder.
    """
    if name is None:
        slug = UNUSABLE.sub("-", root.name).strip("-.")[:MAX_SLUG_CHARS] or "root"
        return f"{slug}-{hashlib.sha256(str(root).encode('utf-8', 'surrogateescape')).hexdigest()[:DIGEST_CHARS]}"
    for other in collections:
        if other.collection == name and other.metadata.get(ROOT) != str(root):
            what = other.metadata.get(ROOT) or "an index that was not made of a folder"
            msg = f"{name} is the name of {what}; give another --project"
            raise CommandError(msg)
    return name


def choose(collections: Sequence[IndexStatus], name: str | None, folder: Path) -> IndexStatus:
    """Return the collection called *name*, by its own name or its title; without one that which holds *folder*.

    Raises:
        CommandError: there is none, or several go by that title.
    """
    if name is None:
        return _holding(collections, folder)
    found = [status for status in collections if status.collection == name]
    found = found or [status for status in collections if status.title == name]
    if len(found) == 1:
        return found[0]
    if found:
        names = _names([status.collection for status in found])
        msg = f"several projects are called {name}; give --project one of: {names}"
        raise CommandError(msg)
    msg = f"there is no project {name}; {_known(collections)}"
    raise CommandError(msg)


def candidates(name: str | None, folder: Path) -> list[str]:
    """Name the collections that *name* or *folder* may mean before their first index is done, the nearest first."""
    return [name] if name is not None else [collection_of(root, None, ()) for root in (folder, *folder.parents)]


def root_of(status: IndexStatus) -> Path | None:
    """Return the folder of a collection that was made of one."""
    root = status.metadata.get(ROOT)
    return Path(root) if root else None


def _holding(collections: Sequence[IndexStatus], folder: Path) -> IndexStatus:
    rooted = [(root, status) for status in collections if (root := root_of(status)) is not None]
    above = [(len(root.parts), status) for root, status in rooted if folder.is_relative_to(root)]
    if above:
        return max(above, key=lambda pair: pair[0])[1]
    msg = f"no indexed project holds {folder}; {_known(collections)}"
    raise CommandError(msg)


def _known(collections: Sequence[IndexStatus]) -> str:
    if not collections:
        return "index one by `cinque index PATH`"
    return f"index it by `cinque index PATH`, or give --project one of: {_names([s.collection for s in collections])}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown
