"""Start the process of `serve.py` as root or as an ordinary user, and ask it about one case after the other."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import pytest

from tests.sandbox.hostile.table import CASES

ROOT = Path(__file__).resolve().parents[3]
NOBODY_IN_PARTICULAR = 43210  # a uid that owns nothing
# Our own interpreter may lie in a folder that only root can enter.
SYSTEM_PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"
HOST_VARIABLES = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


class Asking:
    """The process, as a context manager. `uid` None is whoever runs the tests."""

    def __init__(self, uid: int | None) -> None:
        self._uid = uid

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="cinque-hostile-", dir="/var/tmp"))
        (self._home / "tmp").mkdir()
        identity: dict[str, Any] = {}
        python = sys.executable
        if self._uid is not None:
            identity = {"user": self._uid, "group": self._uid, "extra_groups": []}
            python = SYSTEM_PYTHON
            for folder in (self._home, self._home / "tmp"):
                os.chown(folder, self._uid, self._uid)
        packages = [path for path in sys.path if path.endswith("site-packages")]
        self._process = subprocess.Popen(
            [python, "-m", "tests.sandbox.hostile.serve", str(self._home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={
                **HOST_VARIABLES,
                "PATH": os.environ["PATH"],
                "HOME": os.environ["HOME"] if self._uid is None else str(self._home),
                "TMPDIR": str(self._home / "tmp"),
                "PYTHONPATH": ":".join([str(ROOT), *packages]),
            },
            **identity,
        )
        self.ready = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
        shutil.rmtree(self._home)

    def ask(self, name: str) -> dict[str, Any]:
        """Run one case there; return what it answered."""
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        while True:  # what a test that ran out of time did not wait for is passed over
            answer = self._read()
            if answer.get("name") == name:
                return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that runs hostile programs ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


def parameters() -> list[Any]:
    """Return every case's name as a parameter of a test, with the time that it may take once the sandbox is warm."""
    return [pytest.param(case.name, marks=pytest.mark.timeout(case.limit_s, func_only=True)) for case in CASES]


def faults_of(name: str, host: Asking) -> list[str]:
    """Run a case; return what it did that it must not, and what it left behind."""
    if host.ready["unavailable"] is not None:
        pytest.skip(host.ready["unavailable"])
    answer = host.ask(name)
    if answer["skipped"] is not None:
        pytest.skip(answer["skipped"])
    found: list[str] = answer["found"]
    return found
