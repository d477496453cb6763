"""Listing a folder: git's list and our own walk agree with git itself, and a hostile repository can do no harm."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from rag import git_files
from rag.git_files import list_by_git
from rag.listing import Listing, list_folder

WORDS = ["a", "b", "build", "src", "x y", "log", "ünï", "#h", "!k", "[z]", "Build", "tmp", "-d", "a.b"]
SUFFIXES = ["", ".py", ".log", ".tmp", ".py.log", "~"]
PATTERNS = [
    *(
        "*.log",
        "*.tmp",
        "build",
        "build/",
        "/build",
        "!*.py",
        "!a.log",
        "src/*",
        "!src/a*",
        "**/tmp",
        "a/**",
        "tmp/**/b",
    ),
    *("*~", "\\#h", "\\!k*", "\\[z\\]", "[a-b].py", "?.log", "x y/", "*", "!*/", "!.gitignore", "a.b", "b*/", "/*/src"),
    *("# comment", "", "log   ", "\\", "[", "!build/", "!/src/build", "**", "*.py.log", "ünï*", "src/**/*.log", ".*"),
]


@pytest.fixture(autouse=True)
def _nobodys_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def listed(root: Path, *, with_git: bool) -> list[str]:
    return sorted(listing(root, with_git=with_git).paths)


def listing(root: Path, *, with_git: bool = True) -> Listing:
    return list_folder(root, lambda _found: None, max_files=10_000, with_git=with_git)


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def plant(root: Path, dice: random.Random) -> None:
    """Grow a random tree of files and rule files."""
    folders = [root]
    for _ in range(12):
        folder = dice.choice(folders) / dice.choice(WORDS)
        folder.mkdir(exist_ok=True)
        folders.append(folder)
    for folder in folders:
        for _ in range(4):
            file = folder / (dice.choice(WORDS) + dice.choice(SUFFIXES))
            if not file.exists():
                file.write_text("x\n")
        if dice.random() < 0.4:
            (folder / ".gitignore").write_text("\n".join(dice.choices(PATTERNS, k=dice.randint(1, 6))))


@pytest.mark.parametrize("seed", range(25))
def test_both_ways_list_what_git_would_add_in_random_trees(root: Path, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    plant(root, dice)
    (root / ".git" / "info" / "exclude").write_text("\n".join(dice.choices(PATTERNS, k=2)))
    (tmp_path / "home" / ".config" / "git").mkdir(parents=True)
    (tmp_path / "home" / ".config" / "git" / "ignore").write_text("\n".join(dice.choices(PATTERNS, k=2)))
    expected = sorted({*git(root, "ls-files", "-z", "-co", "--exclude-standard").split("\0")} - {""})
    assert listed(root, with_git=True) == expected
    assert listed(root, with_git=False) == expected


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize(
    ("file", "config"),
    [
        ("home/.config/git/ignore", ""),
        ("home/mine", "[core]\n\texcludesFile = ~/mine # comment\n"),
        ("home/mine", '[user]\n\tname = x\n[Core]\n\tEXCLUDESFILE = "~/mine"\n'),
    ],
)
def test_the_persons_own_excludes_file_counts(
    root: Path, tmp_path: Path, file: str, config: str, *, with_git: bool
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("*.swp\n")
    (tmp_path / "home" / ".gitconfig").write_text(config)
    for name in ("a.py", "a.py.swp"):
        (root / name).write_text("x\n")
    assert listed(root, with_git=with_git) == ["a.py"]


def test_a_tracked_file_is_listed_although_a_rule_ignores_it_and_a_deleted_one_is_not(root: Path) -> None:
    for name in ("forced.log", "gone.py", "other.log"):
        (root / name).write_text("x\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "add", "-f", "forced.log", "gone.py")
    (root / "gone.py").unlink()
    assert listed(root, with_git=True) == [".gitignore", "forced.log"]


@pytest.mark.parametrize("with_git", [True, False])
def test_repositories_within_follow_their_own_rules_and_linked_worktrees_are_left_out(
    root: Path, tmp_path: Path, *, with_git: bool
) -> None:
    (root / ".gitignore").write_text("*.cfg\n")
    (root / "a.py").write_text("x\n")
    library = tmp_path / "library"
    library.mkdir()
    git(library, "init", "-q")
    (library / "lib.cfg").write_text("x\n")
    git(library, "add", ".")
    git(library, "commit", "-qm", "x")
    git(root, "submodule", "add", "-q", str(library), "sub")
    git(root, "submodule", "add", "-q", str(library), "absent")
    git(root, "commit", "-qm", "x")
    git(root, "submodule", "deinit", "-q", "-f", "absent")
    shutil.copytree(library, root / "clone")
    (root / "clone" / ".gitignore").write_text("lib.log\n")
    (root / "clone" / "lib.log").write_text("x\n")
    git(root, "worktree", "add", "-q", "second")
    found = listing(root, with_git=with_git)
    assert sorted(found.paths) == [
        *(".gitignore", ".gitmodules", "a.py", "clone/.gitignore", "clone/lib.cfg", "sub/lib.cfg"),
    ]
    assert [(skipped.path, skipped.reason.split(";")[0]) for skipped in found.skipped] == [
        ("second/", "linked worktree of a repository")
    ]
    assert listed(root / "second", with_git=with_git) == [".gitmodules"]


def test_a_folder_of_repositories_is_listed_by_the_rules_of_each(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "all" / name).mkdir(parents=True)
        git(tmp_path / "all" / name, "init", "-q")
        (tmp_path / "all" / name / ".git" / "info" / "exclude").write_text(f"{name}.py\n")
        for file in ("one.py", "two.py"):
            (tmp_path / "all" / name / file).write_text("x\n")
    assert listed(tmp_path / "all", with_git=True) == ["one/two.py", "two/one.py"]
    assert listed(tmp_path / "all", with_git=False) == ["one/two.py", "two/one.py"]


def test_a_repositorys_configuration_starts_no_program_and_moves_the_question_nowhere(
    root: Path, tmp_path: Path
) -> None:
    (root / "a.py").write_text("x\n")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\n")
    trap.chmod(0o755)
    hooks = root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("post-index-change", "fsmonitor-watchman", "query-watchman"):
        shutil.copy(trap, hooks / hook)
    for setting, value in (
        ("core.fsmonitor", str(trap)),
        ("core.pager", str(trap)),
        ("pager.ls-files", str(trap)),
        ("core.sshCommand", str(trap)),
        ("alias.ls-files", f"!{trap}"),
        ("filter.lfs.process", str(trap)),
        ("core.worktree", "/etc"),
        ("core.bare", "true"),
    ):
        git(root, "config", setting, value)
    assert list_by_git(root, "", max_files=100) == ["a.py"]
    assert not (tmp_path / "sprung").exists()


def test_a_partial_clone_fetches_nothing_while_it_is_listed(root: Path, tmp_path: Path) -> None:
    (root / ".gitignore").write_text("*.log\n")
    (root / "a.py").write_text("x\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    for setting, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", f"ext::touch {tmp_path / 'sprung'}"),
        ("protocol.allow", "always"),
    ):
        git(root, "config", setting, value)
    git(root, "update-index", "--skip-worktree", ".gitignore")
    (root / ".gitignore").unlink()  # git now wants the rules from an object
    shutil.rmtree(root / ".git" / "objects")
    (root / ".git" / "objects").mkdir()
    assert listed(root, with_git=True) == ["a.py"]
    assert not (tmp_path / "sprung").exists()


def test_no_path_leads_through_a_link_or_out_of_the_folder_whatever_the_index_says(root: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "key.py").write_text("x\n")
    (root / "in").mkdir()
    (root / "in" / "key.py").write_text("x\n")
    git(root, "add", ".")
    shutil.rmtree(root / "in")
    (root / "in").symlink_to(secrets)  # in the index a file below a folder, on the disk a link to another
    assert listed(root, with_git=True) == ["in"]


def test_names_from_git_that_point_elsewhere_are_dropped(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key.py").write_text("x\n")
    (root / "ok.py").write_text("x\n")
    names = ["../key.py", str(tmp_path / "key.py"), ".git/config", "./ok.py", "a//b", "..", ".", "/", "../", "ok.py/x"]
    monkeypatch.setattr("rag.listing.list_by_git", lambda *_given, **_named: [*names, "ok.py", "ok.py"])
    assert listed(root, with_git=True) == ["ok.py"]


def test_a_name_that_is_no_utf8_is_listed_both_ways(root: Path) -> None:
    name = os.fsdecode(b"bad\xff.py")
    (root / name).write_text("x\n")
    assert listed(root, with_git=True) == listed(root, with_git=False) == [name]


def test_a_damaged_repository_is_walked_by_its_rules(root: Path) -> None:
    (root / ".gitignore").write_text("*.log\n")
    for name in ("a.py", "a.log"):
        (root / name).write_text("x\n")
    (root / ".git" / "HEAD").write_text("nonsense")
    assert list_by_git(root, "", max_files=100) is None
    assert listed(root, with_git=True) == [".gitignore", "a.py"]


def test_without_git_the_walk_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.py").write_text("x\n")
    monkeypatch.setenv("PATH", "/nowhere")
    assert listed(root, with_git=True) == ["a.py"]


def test_a_git_that_hangs_or_never_stops_talking_is_given_up(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.py").write_text("x\n")
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_files, "_DEADLINE_S", 0.2)
    for script in ("#!/bin/sh\nexec sleep 60\n", "#!/bin/sh\nexec yes\n"):
        program.write_text(script)
        program.chmod(0o755)
        assert list_by_git(root, "", max_files=1) is None
        assert listed(root, with_git=True) == ["a.py"]


def test_a_folder_of_another_owner_is_listed_by_git_too(root: Path) -> None:
    (root / "a.py").write_text("x\n")
    if os.geteuid() == 0:  # only root can give a folder away
        for path in (root, root / ".git", root / "a.py"):
            os.chown(path, 12_345, 12_345)
    assert list_by_git(root, "", max_files=100) == ["a.py"]
