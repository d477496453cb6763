"""Which files of a folder git would ignore, and which no index wants in any case.

Honours `.gitignore` at every level (also those above the folder, up to the repository's top), `.git/info/exclude` and
the person's `core.excludesFile`, in git's order: the deepest file that speaks of a path decides. Asked where git itself
cannot be (`git_files`), and outside repositories. Not covered: files that are tracked although a rule ignores them, and
`include` in git's configuration. Knows nothing of what the files hold.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
        *(".gradle", ".terraform", ".cache", ".eggs", ".cinque"),
    }
)

_MAX_RULES_BYTES: Final = 1_000_000

# Rule files remembered by their text; a large project has some hundred.
_REMEMBERED_RULE_FILES: Final = 512

# Most lines are a name or `*.suffix`, for a comparison of strings; the others need pathspec's expression.
_SIMPLE: Final = re.compile(r"(!?)(\*?)([A-Za-z0-9_.-]+)(/?)")

_GROUP_NAME: Final = re.compile(r"\(\?P<\w+>")  # which may stand in one expression once only

_CONFIG_SECTION: Final = re.compile(r"\s*\[\s*([^\]\s\"]+)[^\]]*\]")
_CONFIG_EXCLUDES: Final = re.compile(r"\s*excludesfile\s*=\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class _Rule:
    """One line of a `.gitignore`: a whole name, the end of a name, or a pattern; the other two are empty."""

    includes: bool  # False for a line that starts with `!`
    folders_only: bool
    name: str = ""
    ending: str = ""
    pattern: "GitIgnoreSpecPattern | None" = None  # without a final slash

    def decides(self, path: str, name: str, *, is_folder: bool) -> bool:
        """Tell whether the rule speaks of `path` itself, whose last part is `name`.

        A match of one of its parents says nothing: the walk has asked about the parent before, and came here.
        """
        if self.folders_only and not is_folder:
            return False
        if self.pattern is None:
            return name == self.name if self.name else name.endswith(self.ending)
        found = self.pattern.match_file(path)
        # The one group in pathspec's expressions is the slash behind a parent that matched.
        return found is not None and not any(found.match.groups())


@dataclass(frozen=True)
class _RuleFile:
    """The rules of one file, in its order, the later stronger."""

    rules: tuple[_Rule, ...] = ()

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(rule.name for rule in self.rules if rule.name)

    @cached_property
    def _endings(self) -> tuple[str, ...]:
        return tuple(rule.ending for rule in self.rules if rule.ending)

    @cached_property
    def _expression(self) -> re.Pattern[str] | None:
        """All patterns in one expression."""
        sources = [rule.pattern.regex.pattern for rule in self.rules if rule.pattern is not None and rule.pattern.regex]
        return re.compile("|".join(_GROUP_NAME.sub("(", source) for source in sources)) if sources else None

    def verdict(self, path: str, name: str, *, is_folder: bool) -> bool | None:
        """Say that `path` is ignored (True) or kept (False), or nothing (None), which is nearly always the answer."""
        speaks = name in self._names or name.endswith(self._endings)
        if not speaks and (self._expression is None or self._expression.search(path) is None):
            return None
        for rule in reversed(self.rules):
            if rule.decides(path, name, is_folder=is_folder):
                return rule.includes
        return None


@dataclass(frozen=True)
class IgnoreRules:
    """The rules in force in one folder. `levels` are (prefix, rules), outer first; prefixes end in `/` or are ""."""

    top: Path  # the repository's top, or the scanned folder where there is none
    levels: tuple[tuple[str, _RuleFile], ...] = ()

    def entering(self, prefix: str) -> "IgnoreRules":
        """Add the `.gitignore` of the folder `prefix` (relative to `top`, ends in `/` or is "")."""
        return self.adding(prefix, self.top / prefix / ".gitignore")

    def is_ignored(self, path: str, *, is_folder: bool) -> bool:
        """Tell whether git ignores `path`, relative to `top`, provided that it ignores none of the parents."""
        name = path.rpartition("/")[2]
        for prefix, rules in reversed(self.levels):
            verdict = rules.verdict(path[len(prefix) :], name, is_folder=is_folder)
            if verdict is not None:
                return verdict
        return False

    def adding(self, prefix: str, file: Path, *, is_personal: bool = False) -> "IgnoreRules":
        """Add the rules of `file`, which speak of paths below `prefix`; absent or empty, nothing changes."""
        found = _parse(_read_text(file, is_personal=is_personal) or "")
        return IgnoreRules(self.top, (*self.levels, (prefix, found))) if found.rules else self


def find_top(root: Path) -> Path | None:
    """Find the top of the work tree that `root` is in; None outside repositories."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)


def rules_of(root: Path) -> tuple[IgnoreRules, str]:
    """Return the rules in force in `root` without its own `.gitignore`, and the prefix of `root` in the repository.

    Who asks for a folder that the repository around it ignores means it: then only the folder's own rules count, and
    the person's.
    """
    top = find_top(root) or root
    personal = IgnoreRules(top)
    for file in _personal_files(git_folder(top) / "config"):
        personal = personal.adding("", file, is_personal=True)
    rules = personal.adding("", git_folder(top) / "info" / "exclude")
    prefix = ""
    for part in root.relative_to(top).parts:
        rules = rules.entering(prefix)
        prefix = f"{prefix}{part}/"
        if rules.is_ignored(prefix.rstrip("/"), is_folder=True):
            return IgnoreRules(root, personal.levels), ""
    return rules, prefix


def git_folder(top: Path) -> Path:
    """Find the folder that holds `info` and `config`: `.git`, or for a linked worktree the main repository's."""
    linked = _pointed_to(top)
    common = _read_text(linked / "commondir") if linked != top / ".git" else None
    return linked / common.strip() if common else linked


def is_linked_worktree(top: Path) -> bool:
    """Tell whether `top` is a further work tree of a repository that has another; a submodule is not."""
    linked = _pointed_to(top)
    return linked != top / ".git" and (linked / "commondir").is_file()


def _pointed_to(top: Path) -> Path:
    """Follow the `.git` of a linked worktree or a submodule, a file that names a folder."""
    git = top / ".git"
    pointer = _read_text(git) if git.is_file() else None
    return top / pointer.removeprefix("gitdir:").strip() if pointer and pointer.startswith("gitdir:") else git


def _personal_files(repository_config: Path) -> Iterator[Path]:
    """Yield the one `core.excludesFile` that git would read: the strongest setting's, or its default place."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    named = os.environ.get("GIT_CONFIG_GLOBAL")
    own = [Path(named)] if named else [home / ".gitconfig", config / "config"]
    for file in (repository_config, *own, Path("/etc/gitconfig")):
        value = _excludes_file(_read_text(file, is_personal=file != repository_config) or "")
        if value is not None:
            if value:
                yield Path(value).expanduser()
            return
    yield config / "ignore"


def _excludes_file(config: str) -> str | None:
    """Read `core.excludesFile` from the text of a git configuration; None when it is not set there."""
    section, value = "", None
    for line in config.splitlines():
        if header := _CONFIG_SECTION.match(line):
            section = header.group(1).lower()
        elif section == "core" and (setting := _CONFIG_EXCLUDES.match(line)):
            value = setting.group(1).strip()
            value = value[1 : value.find('"', 1)] if value.startswith('"') else re.split(r"\s*[#;]", value)[0]
    return value


@lru_cache(_REMEMBERED_RULE_FILES)
def _parse(text: str) -> _RuleFile:
    """Read the rules of one file. Lines that git cannot read, it ignores, and so do we."""
    rules = []
    for line in text.removeprefix("\ufeff").split("\n"):
        bare = line.rstrip("\r").rstrip(" ")
        simple = _SIMPLE.fullmatch(bare)
        if simple is not None:
            negation, star, name, slash = simple.groups()
            rules.append(_Rule(not negation, bool(slash), name="" if star else name, ending=name if star else ""))
        elif bare and not bare.startswith("#"):
            rules.extend(_read_pattern(line.rstrip("\r"), bare))
    return _RuleFile(tuple(rules))


def _read_pattern(line: str, bare: str) -> Iterator[_Rule]:
    from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415 - loaded on first use: 0.02 s
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - as above

    folders_only = bare.endswith("/")
    try:
        pattern = GitIgnoreSpecPattern(bare[:-1] if folders_only else line)
    except GitIgnorePatternError:
        return
    if pattern.include is not None:  # neither blank nor a comment
        yield _Rule(pattern.include, folders_only, pattern=pattern)


def _read_text(path: Path, *, is_personal: bool = False) -> str | None:
    """Read a small text file; None when it is absent, too large, or a link that may lead out of the project."""
    try:
        if (path.is_symlink() and not is_personal) or not path.is_file() or path.stat().st_size > _MAX_RULES_BYTES:
            return None
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
