"""Scanning folders and documents: what is left out and why, what is read again, and the limits."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rag.errors import InvalidRequestError, LimitExceededError
from rag.generation import Manifest
from rag.settings import RagSettings
from rag.sync import Scan, scan_documents, scan_folder
from rag.types import Document

SETTINGS = RagSettings(home=Path("unused"))
LONG_AGO_NS = 1_000_000_000_000_000_000


def scan(root: Path, previous: Manifest | None = None, settings: RagSettings = SETTINGS) -> Scan:
    return scan_folder(root, previous or Manifest(), settings, lambda _done, _total: None)


def scan_posted(*documents: tuple[str, str], settings: RagSettings = SETTINGS) -> Scan:
    given = tuple(Document(path, content) for path, content in documents)
    return scan_documents(given, Manifest(), settings, lambda _done, _total: None)


def reasons(found: Scan) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in found.skipped}


def git(root: Path, *arguments: str) -> None:
    command = ["git", *arguments]
    subprocess.run(command, cwd=root, check=True)


def test_what_is_not_text_or_no_persons_work_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "ok.py").write_text("x = 1\n")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    (tmp_path / "data.unknown").write_bytes(b"ab\0cd")
    (tmp_path / "latin.txt").write_bytes(b"gr\xfc\xdfe\n")
    (tmp_path / "app.min.js").write_text("x")
    (tmp_path / "packed.js").write_text("x=1;" * 3_000)
    (tmp_path / "huge.txt").write_text("word\n" * 300_000)
    (tmp_path / "uv.lock").write_text("x\n")
    (tmp_path / "link.py").symlink_to("ok.py")
    os.mkfifo(tmp_path / "pipe.py")
    found = scan(tmp_path)
    assert [file.indexed.path for file in found.files] == ["ok.py"]
    assert reasons(found) == {
        "photo.png": "binary",
        "data.unknown": "binary",
        "latin.txt": "not valid UTF-8",
        "app.min.js": "minified or generated",
        "packed.js": "minified or generated",
        "huge.txt": "1500000 bytes, more than 1000000",
        "uv.lock": "lock file",
        "link.py": "symbolic link",
        "pipe.py": "not a regular file",
    }


def test_links_out_of_the_folder_are_never_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "secret.py").write_text("password = 1\n")
    (root / "folder").symlink_to(outside)
    (root / "file.py").symlink_to(outside / "secret.py")
    (root / "loop").symlink_to(root)
    (root / ".gitignore").symlink_to(outside / "secret.py")
    found = scan(root)
    assert found.files == ()
    assert set(reasons(found).values()) == {"symbolic link"}


def test_a_name_that_is_no_utf8_is_skipped_and_still_printable(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff.py")).write_text("x\n")
    (skipped,) = scan(tmp_path).skipped
    assert skipped.reason == "its name is not valid UTF-8"
    skipped.path.encode("utf-8")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert scan(tmp_path).files[0].content == "x = 1\n"


def test_files_come_in_an_order_that_does_not_depend_on_the_disk(tmp_path: Path) -> None:
    for path in ("b/x.py", "a/x.py", "z.py", "c.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("x\n")
    assert [file.indexed.path for file in scan(tmp_path).files] == ["a/x.py", "b/x.py", "c.py", "z.py"]


def test_a_file_with_an_old_unchanged_stat_is_not_even_opened(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = scan(tmp_path)
    indexed = first.files[0].indexed
    # The manifest of an index made long after the last change; its hash is wrong, which only reading could tell.
    later = Manifest(files=(replace(indexed, content_hash="wrong"),), scanned_at_ns=max(indexed.stat) + 10**10)
    assert scan(tmp_path, later).files[0].content is None


def test_a_file_changed_just_before_the_last_scan_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    indexed = scan(tmp_path).files[0].indexed
    racy = Manifest(files=(replace(indexed, content_hash="wrong"),), scanned_at_ns=indexed.stat[1] + 1)
    assert scan(tmp_path, racy).files[0].content == "x = 1\n"


def test_an_edit_of_equal_size_with_its_time_put_back_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    os.utime(file, ns=(LONG_AGO_NS, LONG_AGO_NS))
    indexed = scan(tmp_path).files[0].indexed
    file.write_text("x = 2\n")
    os.utime(file, ns=(LONG_AGO_NS, LONG_AGO_NS))
    settled = Manifest(files=(indexed,), scanned_at_ns=max(indexed.stat) + 10**10)
    assert scan(tmp_path, settled).files[0].content == "x = 2\n"


def test_a_touched_file_with_the_same_text_is_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    indexed = scan(tmp_path).files[0].indexed
    os.utime(file, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert scan(tmp_path, Manifest(files=(indexed,))).files[0].content is None


@pytest.mark.parametrize(("unit", "limit"), [("files", 3), ("lines", 6), ("bytes", 12)])
def test_the_limit_is_allowed_and_one_more_is_refused_with_both_numbers(tmp_path: Path, unit: str, limit: int) -> None:
    settings = RagSettings(home=tmp_path, **{f"max_folder_{unit}": limit, f"max_{unit}": limit})
    root = tmp_path / "root"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.py").write_text("a\nb\n")
    assert len(scan(root, settings=settings).files) == 3
    assert len(scan_posted(*((f"{n}.py", "a\nb\n") for n in range(3)), settings=settings).files) == 3
    (root / "more.py").write_text("c")
    message = f"at least {limit + 1} .* the limit is {limit}; .*CINQUE_RAG_MAX_"
    with pytest.raises(LimitExceededError, match=f"{message}FOLDER_{unit.upper()}") as caught:
        scan(root, settings=settings)
    assert caught.value.param == "root"
    with pytest.raises(LimitExceededError, match=f"{message}{unit.upper()}") as caught:
        scan_posted(*((f"{n}.py", "a\nb\n") for n in range(3)), ("more.py", "c"), settings=settings)
    assert caught.value.param == "documents"


def test_a_listing_far_past_the_limit_stops_before_reading_and_names_the_limit(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.py").write_text("a\n")
    with pytest.raises(LimitExceededError, match="at least 30 files and the limit is 2"):
        scan(tmp_path, settings=RagSettings(home=tmp_path, max_folder_files=2))


def test_posted_documents_are_judged_like_files() -> None:
    found = scan_posted(("a.py", "x\n"), ("b.bin", "x"), ("c.txt", "\0"), ("d.txt", "\ud800"), ("e.js", "y" * 5_000))
    assert [file.indexed.path for file in found.files] == ["a.py"]
    assert list(reasons(found).values()) == ["binary", "binary", "not valid UTF-8", "minified or generated"]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../a.py", "a/../../b.py", ".", "a\0.py", "\ud800.py"])
def test_a_posted_path_outside_the_collection_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        scan_posted((path, "x"))
    assert caught.value.param == "documents"
    assert path == "" or "\ud800" not in str(caught.value)


def test_two_spellings_of_one_posted_path_are_one_path() -> None:
    assert scan_posted(("./a//b.py", "x\n")).files[0].indexed.path == "a/b.py"
    with pytest.raises(InvalidRequestError, match="twice"):
        scan_posted(("a/b.py", "x"), ("./a/b.py", "y"))


@pytest.mark.parametrize("root", ["absent", "file.txt"])
def test_a_root_that_is_no_folder_is_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(InvalidRequestError) as caught:
        scan(tmp_path / root)
    assert caught.value.param == "root"


def test_files_that_were_read_only_to_be_found_unchanged_are_counted(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(f"{name}\n")
    first = scan(tmp_path)
    known = tuple(file.indexed for file in first.files)
    racy = Manifest(files=known, scanned_at_ns=first.scanned_at_ns)
    assert (first.n_reread, scan(tmp_path, racy).n_reread) == (0, 2)
    settled = Manifest(files=known, scanned_at_ns=first.scanned_at_ns + 10**10)
    assert scan(tmp_path, settled).n_reread == 0
    (tmp_path / "b.py").write_text("new\n")
    assert scan(tmp_path, settled).n_reread == 0


def test_the_same_files_are_found_with_and_without_git(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.py").write_text("x\n")
    (tmp_path / "b.bin").write_text("x\n")
    asked = scan_folder(tmp_path, Manifest(), SETTINGS, lambda _done, _total: None)
    walked = scan_folder(tmp_path, Manifest(), SETTINGS, lambda _done, _total: None, with_git=False)
    assert (asked.files, asked.skipped) == (walked.files, walked.skipped)


def test_a_skipped_file_is_read_again_only_when_its_stat_changes(tmp_path: Path) -> None:
    (tmp_path / "data.unknown").write_bytes(b"ab\0cd")
    (tmp_path / "latin.txt").write_bytes(b"gr\xfc\xdfe\n")
    (tmp_path / "packed.js").write_text("x=1;" * 3_000)
    first = scan(tmp_path)
    assert {file.path for file in first.read_and_skipped} == {"data.unknown", "latin.txt", "packed.js"}
    racy = Manifest(scanned_at_ns=first.scanned_at_ns, skipped=first.read_and_skipped)
    assert len(scan(tmp_path, racy).read_and_skipped) == 3, "written just before the scan, so that it proves nothing"
    settled = replace(racy, scanned_at_ns=first.scanned_at_ns + 10**10)
    again = scan(tmp_path, settled)
    assert (again.read_and_skipped, again.skipped) == ((), first.skipped)
    (tmp_path / "data.unknown").write_bytes(b"x = 1\n")
    changed = scan(tmp_path, settled)
    assert [file.indexed.path for file in changed.files] == ["data.unknown"]
    assert set(reasons(changed)) == {"latin.txt", "packed.js"}


def test_a_limit_that_was_lowered_holds_for_files_that_did_not_change(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n" * 100)
    first = scan(tmp_path)
    settled = Manifest(files=tuple(file.indexed for file in first.files), scanned_at_ns=first.scanned_at_ns + 10**10)
    lowered = scan(tmp_path, settled, RagSettings(home=tmp_path, max_file_bytes=100))
    assert reasons(lowered) == {"a.py": "600 bytes, more than 100"}


@pytest.mark.parametrize("with_git", [True, False])
def test_a_known_file_whose_folder_became_a_link_is_gone_though_its_stat_is_the_same(
    tmp_path: Path,
    with_git: bool,  # noqa: FBT001 - parametrized by name
) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "a.py").write_text("x = 1\n")
    if with_git:
        git(root, "init", "-q")
        git(root, "add", "-A")
    first = scan(root)
    settled = Manifest(files=tuple(file.indexed for file in first.files), scanned_at_ns=first.scanned_at_ns + 10**10)
    assert len(scan(root, settled).trusted) == 1
    (root / "inner").rename(tmp_path / "outside")
    (root / "inner").symlink_to(tmp_path / "outside")
    assert scan(root, settled).files == ()


def test_a_known_file_that_git_ignores_by_now_is_gone(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for path in ("a.py", "inner/b.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("x = 1\n")
    first = scan(tmp_path)
    settled = Manifest(files=tuple(file.indexed for file in first.files), scanned_at_ns=first.scanned_at_ns + 10**10)
    (tmp_path / "inner" / ".gitignore").write_text("b.py\n")
    found = scan(tmp_path, settled)
    assert [file.path for file in found.trusted] == ["a.py"]
    assert [file.indexed.path for file in found.examined] == ["inner/.gitignore"]


def test_a_folder_may_have_more_than_what_is_posted(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n" * 20)
    settings = RagSettings(home=tmp_path, max_lines=10)
    assert len(scan(tmp_path, settings=settings).files) == 1
    with pytest.raises(LimitExceededError, match="20 lines"):
        scan_posted(("a.py", "x = 1\n" * 20), settings=settings)
