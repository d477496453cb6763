"""Which files of a folder git would ignore, and which no index wants in any case.

Honours `.gitignore` at every level (also those above the folder, up to the repository's top) and
`.git/info/exclude`, in git's order: the deepest file that speaks of a path decides. Not covered: the user's global
`core.excludesFile`, which is no property of the project. Knows nothing of what the files hold.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

# Version control, caches and dependencies: never a project's own text, ignored by git or not.
UNWANTED_FOLDERS: Final = frozenset(
    {
        *(".git", ".hg", ".svn", ".jj", "CVS"),
        *("__pycache__", ".venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"),
        *("node_modules", "bower_components", ".next", ".nuxt", ".turbo", ".parcel-cache", ".yarn"),
        *(".gradle", ".terraform", ".cache", ".eggs"),
    }
)

_MAX_RULES_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class _Rule:
    """One line of a `.gitignore`."""

    pattern: "GitIgnoreSpecPattern"  # without a final slash
    folders_only: bool

    def decides(self, path: str, *, is_folder: bool) -> bool | None:
        """Say that `path` itself is ignored (True) or kept (False), or nothing (None).

        A match of one of its parents says nothing: the walk has asked about the parent before, and came here.
        """
        if self.folders_only and not is_folder:
            return None
        found = self.pattern.match_file(path)
        # The one group in pathspec's expressions is the slash behind a parent that matched.
        return None if found is None or any(found.match.groups()) else self.pattern.include


@dataclass(frozen=True)
class IgnoreRules:
    """The rules in force in one folder. `levels` are (prefix, rules), outer first; prefixes end in `/` or are ""."""

    top: Path  # the repository's top, or the scanned folder where there is none
    levels: tuple[tuple[str, tuple[_Rule, ...]], ...] = ()

    def entering(self, prefix: str) -> "IgnoreRules":
        """Add the `.gitignore` of the folder `prefix` (relative to `top`, ends in `/` or is "")."""
        rules = _read_rules(self.top / prefix / ".gitignore")
        return IgnoreRules(self.top, (*self.levels, (prefix, rules))) if rules else self

    def is_ignored(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether git ignores `path`, relative to `top`, provided that it ignores none of the parents."""
        for prefix, rules in reversed(self.levels):
            for rule in reversed(rules):
                decided = rule.decides(path[len(prefix) :], is_folder=is_folder)
                if decided is not None:
                    return decided
        return False


def rules_of(root: Path) -> tuple[IgnoreRules, str]:
    """Return the rules in force in `root` without its own `.gitignore`, and the prefix of `root` in the repository.

    Who asks for a folder that the repository around it ignores means it: then only the folder's own rules count.
    """
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    rules = IgnoreRules(top, (("", _read_rules(_git_folder(top) / "info" / "exclude")),))
    prefix = ""
    for part in root.relative_to(top).parts:
        rules = rules.entering(prefix)
        prefix = f"{prefix}{part}/"
        if rules.is_ignored(prefix.rstrip("/"), is_folder=True):
            return IgnoreRules(root), ""
    return rules, prefix


def _git_folder(top: Path) -> Path:
    """Find the folder that holds `info`: `.git`, or for a linked worktree the main repository's."""
    git = top / ".git"
    pointer = _read_text(git) if git.is_file() else None
    if pointer is None or not pointer.startswith("gitdir:"):
        return git
    linked = top / pointer.removeprefix("gitdir:").strip()
    common = _read_text(linked / "commondir")
    return linked / common.strip() if common else linked


def _read_rules(path: Path) -> tuple[_Rule, ...]:
    """Read the rules of one file; none when it is absent. Lines that git cannot read, it ignores, and so do we."""
    text = _read_text(path)
    if not text or not text.strip():
        return ()
    from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415 - loaded on first use: 0.02 s
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - as above

    rules = []
    for line in text.splitlines():
        bare = line.rstrip(" \t")
        folders_only = bare.endswith("/")
        try:
            pattern = GitIgnoreSpecPattern(bare[:-1] if folders_only else line)
        except GitIgnorePatternError:
            continue
        if pattern.include is not None:  # neither blank nor a comment
            rules.append(_Rule(pattern, folders_only))
    return tuple(rules)


def _read_text(path: Path) -> str | None:
    """Read a small text file; None when it is absent, a link (which may lead out of the project) or too large."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_RULES_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
