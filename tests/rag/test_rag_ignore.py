"""Ignore rules, against git itself."""

import os
import subprocess
from pathlib import Path

import pytest

from rag.generation import Manifest
from rag.settings import RagSettings
from rag.sync import scan_folder

TREE = [
    "a.py", "a.log", "keep.log", "build/x.py", "src/build/y.py", "src/a.log", "src/deep/keep.log", "src/deep/b.py",
    "src/gen/one.py", "src/gen/two.py", "docs/a.md", "docs/private/b.md", "docs/private/ok.md", "secret.txt",
    "only/a.txt", "only/a.py", "only/sub/b.py", "only/sub/b.txt", "sp ace.py", "#hash.py", "x/y/z/deep.tmp", "x/y.tmp",
    "excluded/by_info.py", "up.cfg", "src/up.cfg",
]  # fmt: skip
RULES = {
    ".gitignore": "*.log\n!keep.log\n/build/\n# comment\n\\#hash.py\nsecret.txt   \nx/**/*.tmp\n/up.cfg\n[\n",
    "src/.gitignore": "gen/*\n!gen/two.py\n!a.log\n",
    "docs/.gitignore": "private/*\n!private/ok.md\n",
    "only/.gitignore": "*\n!*/\n!*.py\n!.gitignore\n",
    "x/.gitignore": "!y.tmp\n",
}


@pytest.fixture(autouse=True)
def _nobodys_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    for path in TREE:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("text\n")
    for path, rules in RULES.items():
        (root / path).write_text(rules)
    _git(root, "init", "-q")
    (root / ".git" / "info" / "exclude").write_text("excluded/\n")
    return root


def test_the_files_indexed_are_those_that_git_would_add(repository: Path) -> None:
    assert _scanned(repository) == _listed_by_git(repository)


@pytest.mark.parametrize("folder", ["src", "docs", "only", "x/y"])
def test_rules_above_the_folder_and_of_the_repository_count(repository: Path, folder: str) -> None:
    assert _scanned(repository / folder) == _listed_by_git(repository / folder)


def test_a_linked_worktree_obeys_the_exclude_file_of_its_repository(repository: Path) -> None:
    _git(repository, "add", "a.py")
    _git(repository, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x")
    linked = repository.parent / "linked"
    _git(repository, "worktree", "add", "-q", str(linked))
    (linked / "excluded").mkdir()
    (linked / "excluded" / "a.py").write_text("x\n")
    assert _scanned(linked) == {"a.py"}


def test_a_folder_that_is_itself_ignored_can_be_indexed_when_asked_for(repository: Path) -> None:
    assert _scanned(repository / "build") == {"x.py"}


def test_caches_and_dependencies_are_left_out_without_any_rules(tmp_path: Path) -> None:
    for folder in ("node_modules", ".venv", "__pycache__", "src"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("x\n")
    assert _scanned(tmp_path) == {"src/a.py"}


def _scanned(root: Path) -> set[str]:
    scan = scan_folder(root, Manifest(), RagSettings(home=root / "unused"), lambda _done, _total: None)
    return {file.indexed.path for file in scan.files}


def _listed_by_git(root: Path) -> set[str]:
    return set(_git(root, "ls-files", "-z", "-c", "-o", "--exclude-standard").split("\0")) - {""}


def _git(root: Path, *arguments: str) -> str:
    """Run git as on a machine without anyone's configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "GIT_CONFIG_NOSYSTEM": "1",
        "XDG_CONFIG_HOME": "/nowhere",
    }
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
