"""Which files of a folder git would ignore, and which no index wants in any case.

Honours `.gitignore` at every level (also those above the folder, up to the repository's top) and
`.git/info/exclude`, in git's order: the deepest file that speaks of a path decides. Not covered: the user's global
`core.excludesFile`, which is no property of the project. Knows nothing of what the files hold.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

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
class IgnoreRules:
    """The rules in force in one folder. `levels` are (prefix, patterns), outer first; prefixes end in `/` or are ""."""

    top: Path  # the repository's top, or the scanned folder where there is none
    levels: tuple[tuple[str, "GitIgnoreSpec"], ...] = ()

    def entering(self, prefix: str) -> "IgnoreRules":
        """Add the `.gitignore` of the folder `prefix` (relative to `top`, ends in `/` or is "")."""
        spec = _read_spec(self.top / prefix / ".gitignore")
        return self if spec is None else IgnoreRules(self.top, (*self.levels, (prefix, spec)))

    def is_ignored(self, path: str) -> bool:
        """Tell whether git ignores `path`, relative to `top`; a folder's ends in `/`. Parents must not be ignored."""
        for prefix, spec in reversed(self.levels):
            decided = spec.check_file(path[len(prefix) :]).include
            if decided is not None:
                return decided
        return False


def rules_of(root: Path) -> tuple[IgnoreRules, str]:
    """Return the rules in force in `root` without its own `.gitignore`, and the prefix of `root` in the repository.

    Who asks for a folder that the repository around it ignores means it: then only the folder's own rules count.
    """
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    rules = IgnoreRules(top)
    exclude = _read_spec(_git_folder(top) / "info" / "exclude")
    if exclude is not None:
        rules = IgnoreRules(top, (("", exclude),))
    prefix = ""
    for part in root.relative_to(top).parts:
        rules = rules.entering(prefix)
        prefix = f"{prefix}{part}/"
        if rules.is_ignored(prefix):
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


def _read_spec(path: Path) -> "GitIgnoreSpec | None":
    text = _read_text(path)
    if not text or not text.strip():
        return None
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - loaded on first use: 0.02 s
    from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415 - as above

    lines = []
    for line in text.splitlines():
        try:
            GitIgnoreSpec.from_lines([line])
        except GitIgnorePatternError:
            continue  # git ignores a pattern that it cannot read, too
        lines.append(line)
    return GitIgnoreSpec.from_lines(lines)


def _read_text(path: Path) -> str | None:
    """Read a small text file; None when it is absent, a link (which may lead out of the project) or too large."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_RULES_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
