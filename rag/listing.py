"""The files of a folder that are a person's work: git's own list inside repositories, our own walk elsewhere.

Gives names and stats; `sync` reads what is new. Repositories within (submodules, clones) are listed by their own rules;
a linked worktree within is a second copy of a project and is left out. No path leads through a symbolic link, whatever
an index of git claims. Both ways give the same files, but for those tracked although ignored, which only git knows.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rag.git_files import list_by_git
from rag.ignore import UNWANTED_FOLDERS, IgnoreRules, find_top, is_linked_worktree, rules_of
from rag.types import SkippedFile

# Each question to git costs 5 ms; a folder of more repositories than this is walked from there on.
_MAX_GIT_RUNS: Final = 100

# Size, modification and change time in ns, inode, mode.
STAT_FIELDS: Final = 5

# Known files whose stats are taken between two looks at the caller's wish to stop: some 5 ms.
_STATS_PER_CHECK: Final = 2_000

NOTHING: Final[Mapping[str, tuple[int, ...]]] = {}

Check = Callable[[int], None]  # gets the number of files found so far; may raise to stop


@dataclass
class Listing:
    """Paths relative to the root with their stats, links unfollowed, and what was left out on the way.

    `unchanged` are the paths of regular files whose stats are the known ones; they are not among `paths`.
    `numbers` holds the stats flat, STAT_FIELDS of each path: ten thousand small objects more would set off Python's
    garbage collector, which in a process with an index in memory takes longer than the stats themselves.
    """

    root: Path
    paths: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)


def list_folder(
    root: Path, check: Check, *, max_files: int, with_git: bool = True, known: Mapping[str, tuple[int, ...]] = NOTHING
) -> Listing:
    """List the files below `root`, a resolved path, in no order. `check` hears of it at least once a folder.

    `known` has the first four of STAT_FIELDS for some paths; files of which they are true still come as `unchanged`.
    """
    lister = _Lister(Listing(root), check, known, max_files, _MAX_GIT_RUNS if with_git else 0)
    lister.run()
    return lister.listing


@dataclass
class _Lister:
    listing: Listing
    check: Check
    known: Mapping[str, tuple[int, ...]]
    max_files: int
    git_runs_left: int
    repositories: list[str] = field(default_factory=lambda: [""])  # prefixes still to be listed, "" is the root
    wanted: dict[str, bool] = field(default_factory=lambda: {"": True})  # folders that were looked at
    same: set[str] | None = None  # paths that are known and unchanged, once that was looked at

    def __post_init__(self) -> None:
        self.base = f"{self.listing.root}/"

    def run(self) -> None:
        while self.repositories:
            prefix = self.repositories.pop()
            folder = self.listing.root / prefix
            if prefix and is_linked_worktree(folder):
                self.listing.skipped.append(SkippedFile(prefix, "linked worktree of a repository; index it by itself"))
            elif not self._ask_git(prefix, folder):
                self._walk(prefix, *rules_of(folder))
            self.check(self._n_found)

    @property
    def _n_found(self) -> int:
        return len(self.listing.paths) + len(self.listing.unchanged)

    def _ask_git(self, prefix: str, folder: Path) -> bool:
        """List one repository, or the part of it that the root is; False when git cannot."""
        top = find_top(folder)
        if top is None or not self.git_runs_left or (top != folder and not rules_of(folder)[1]):
            return False
        self.git_runs_left -= 1
        inside = "" if top == folder else f"{folder.relative_to(top)}/"
        found = list_by_git(top, inside, max_files=self.max_files, meanwhile=self._look_at_known)
        if found is None:
            return False
        self.check(self._n_found + len(found))
        self._accept(prefix, found)
        return True

    def _look_at_known(self) -> None:
        """See which known files are as they were, wherever they are: git needs about as long for its own answer."""
        if self.same is not None:
            return
        self.same = set()
        for number, (path, expected) in enumerate(self.known.items()):
            if number % _STATS_PER_CHECK == 0:
                self.check(self._n_found)
            if not self._is_wanted(path.rpartition("/")[0]):
                continue
            try:
                status = os.lstat(self.base + path)
            except (OSError, ValueError):
                continue  # gone, or told of when it is listed
            if _described(status) == expected and stat.S_ISREG(status.st_mode):
                self.same.add(path)

    def _accept(self, prefix: str, found: list[str]) -> None:
        """Take over what git names: an index of git may name anything."""
        same = self.same or set()
        for path in dict.fromkeys(found):  # a file in conflict is named three times
            full = prefix + path
            if full in same and path[0] != "/":
                self.listing.unchanged.append(full)
                continue
            folder, _, name = full.rpartition("/")
            if path[0] == "/" or not self._is_wanted(folder):
                continue
            if not name:
                self._enter(full)
            elif name not in (".git", ".", ".."):
                self._add(full)

    def _add(self, path: str) -> None:
        try:
            status = os.lstat(self.base + path)
        except FileNotFoundError:
            return  # deleted, and git has not been told
        except (OSError, ValueError) as error:
            self.listing.skipped.append(SkippedFile(printable(path), f"cannot be read: {error}"))
            return
        described = _described(status)
        if stat.S_ISDIR(status.st_mode):
            self._enter(f"{path}/")  # a submodule
        elif stat.S_ISREG(status.st_mode) and self.known.get(path) == described:
            self.listing.unchanged.append(path)
        else:
            self.listing.paths.append(path)
            self.listing.numbers.extend((*described, status.st_mode))

    def _is_wanted(self, folder: str) -> bool:
        """Tell whether `folder` and all folders above it are real and no one's cache; looks once at each."""
        found = self.wanted.get(folder)
        if found is None:
            found = self.wanted[folder] = self._look_at_folder(folder)
        return found

    def _look_at_folder(self, folder: str) -> bool:
        outer, _, name = folder.rpartition("/")
        if not self._is_wanted(outer) or name in UNWANTED_FOLDERS or name in ("", ".", ".."):
            return False
        try:
            return stat.S_ISDIR(os.lstat(self.base + folder).st_mode)
        except (OSError, ValueError):
            return False  # gone meanwhile, or never there

    def _enter(self, prefix: str) -> None:
        """Note a repository within, to be listed by its own rules; a submodule that is not there has no `.git`."""
        if prefix[:-1].rpartition("/")[2] not in UNWANTED_FOLDERS and os.path.lexists(f"{self.base}{prefix}.git"):
            self.repositories.append(prefix)

    def _walk(self, start: str, rules: IgnoreRules, outside: str) -> None:
        """Walk from `start`; `outside` is the prefix of `start` in its repository."""
        stack = [(start, rules)]
        while stack:
            self.check(self._n_found)
            folder, outer = stack.pop()
            inner = f"{outside}{folder[len(start) :]}"
            entries = self._entries(folder)
            if folder != start and any(entry.name == ".git" for entry in entries):
                self._enter(folder)
                continue
            has_rules = any(entry.name == ".gitignore" for entry in entries)
            stack.extend(self._sort_out(folder, inner, outer.entering(inner) if has_rules else outer, entries))

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(f"{self.base}{folder}") as found:
                return list(found)
        except OSError as error:
            self.listing.skipped.append(SkippedFile(printable(folder), f"cannot be listed: {error.strerror}"))
            return []

    def _sort_out(
        self, folder: str, inner: str, rules: IgnoreRules, entries: list[os.DirEntry[str]]
    ) -> Iterator[tuple[str, IgnoreRules]]:
        """Keep the files of one folder and yield the folders to walk; `inner` is `folder` in its repository."""
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if name not in UNWANTED_FOLDERS and not rules.is_ignored(inner + name, is_folder=True):
                    yield f"{folder}{name}/", rules
            elif name != ".git" and not rules.is_ignored(inner + name, is_folder=False):
                self._add(folder + name)


def _described(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def printable(path: str) -> str:
    """Write a name that is not valid UTF-8 so that it can be told."""
    return path.encode("utf-8", "replace").decode()
