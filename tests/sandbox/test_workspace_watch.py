"""The landlock tier's look at a job's folder: what it counts, and what it must not follow."""

import os
from pathlib import Path

import pytest

from sandbox.inside import workspace

OF_A_JOB, NOBODY_IN_PARTICULAR = 60706, 43210


def test_files_and_folders_count_and_links_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    workspace.make(str(folder), None)
    (folder / "work" / "a").mkdir()
    (folder / "work" / "a" / "file").write_bytes(b"x" * 10_000)
    (folder / "work" / "link").symlink_to("/usr")
    n_bytes, n_files = workspace.usage(str(folder))
    assert n_files == 5
    assert 10_000 <= n_bytes < 60_000
    workspace.remove(str(folder))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root looks at folders of others")
def test_what_belongs_to_somebody_else_is_not_looked_into(tmp_path: Path) -> None:
    """A folder that was exchanged for a link when root was about to look leads to what is not the job's."""
    folder = tmp_path / "job"
    workspace.make(str(folder), OF_A_JOB)
    other = folder / "work" / "other"
    other.mkdir()
    for i in range(9):
        (other / str(i)).touch()
    os.chown(other, NOBODY_IN_PARTICULAR, NOBODY_IN_PARTICULAR)
    assert workspace.usage(str(folder))[1] == 3
    os.chown(other, OF_A_JOB, OF_A_JOB)
    assert workspace.usage(str(folder))[1] == 12
