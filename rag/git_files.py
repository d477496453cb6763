"""Which files of a folder git knows or would add, asked of git itself: 10 ms for 10,000 files.

Git reads every rule that it has (nested `.gitignore`, `info/exclude`, `core.excludesFile`), and the answer also holds
files that are tracked although a rule ignores them. The repository may be hostile: its configuration starts nothing
here (no hook, file-system monitor, pager, filter or fetch), its answer is bounded in time and size, and the paths in
it are only names, which `listing` checks. A repository of another owner is read too. None where git cannot say.
"""

import logging
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

log = logging.getLogger(__name__)

# Git needs 15 ms for 10,000 files and about 2 s for 1,000,000 on a cold disk; beyond this it hangs on something.
_DEADLINE_S: Final = 20.0

# Longer than the paths of any project are in the mean: this much output a file is more than enough.
_MAX_BYTES_PER_FILE: Final = 512

# As large as Linux lets everybody have: git need not wait for us before it has named some 20,000 files.
_PIPE_BYTES: Final = 1 << 20
_READ_BYTES: Final = _PIPE_BYTES

# All that git is told of the environment: where it and the person's own configuration are.
_PASSED_ON: Final = (
    *("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
)
_FIXED: Final = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",  # never write into the repository
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone would run the command that its configuration names as transport
    "GIT_ALLOW_PROTOCOL": "none",  # the same for git before 2.45: no transport has this name
    "GIT_LITERAL_PATHSPECS": "1",
}
_OPTIONS: Final = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
_LIST: Final = ("ls-files", "--cached", "--others", "--exclude-standard", "-z")


def list_by_git(
    top: Path, folder: str, *, max_files: int, meanwhile: Callable[[], None] = lambda: None
) -> list[str] | None:
    """List the files below `folder` of the repository whose work tree is `top`, relative to `folder`, in any order.

    `folder` is relative to `top` and ends in `/`, or is "". A path that ends in `/` is a repository within, which git
    does not look into; a submodule is listed like a file. Names that are no UTF-8 have surrogates, as in `os`.
    None: git is missing, refuses the repository, or passed the deadline or `max_files` by far. `meanwhile` is called
    while git works; what it raises ends git.
    """
    program = shutil.which("git")
    if program is None:
        return None
    # Naming the repository leaves nothing to be discovered, so that `core.worktree`, `core.bare` and ownership of the
    # folder cannot turn the question to another place or refuse it.
    place = (f"--git-dir={top / '.git'}", f"--work-tree={top}")
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    with subprocess.Popen(
        [os.path.abspath(program), *_OPTIONS, *place, *_LIST],  # noqa: PTH100 - resolves no links
        cwd=top / folder,
        env={**environment, **_FIXED},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pipesize=_PIPE_BYTES,
    ) as process:
        assert process.stdout is not None  # noqa: S101 - asked for above
        try:
            meanwhile()
        except BaseException:
            process.kill()
            raise
        output = _read_all(process.stdout, time.monotonic() + _DEADLINE_S, max_files * _MAX_BYTES_PER_FILE)
        if output is None:
            process.kill()
    if output is None or process.returncode != 0:
        log.info("git does not list this folder", extra={"folder": str(top / folder), "status": process.returncode})
        return None
    return [path for path in os.fsdecode(output).split("\0") if path]


def _read_all(stream: IO[bytes], deadline: float, max_bytes: int) -> bytes | None:
    """Read to the end; None when the deadline or the limit comes first."""
    pieces: list[bytes] = []
    left = max_bytes
    while True:
        wait_s = deadline - time.monotonic()
        if wait_s <= 0 or left < 0 or not select.select([stream], [], [], wait_s)[0]:
            return None
        piece = os.read(stream.fileno(), _READ_BYTES)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        left -= len(piece)
