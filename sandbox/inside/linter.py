"""Rate a candidate with pylint, in a warm process that forks for every rating. Executes nothing of the candidate.

The number is pylint's own, of its default checks less a few that judge a file and not a program (`NOT_OF_A_SNIPPET`);
no configuration file is read and no plugin is loaded.
"""

import importlib
import io
import sys
from typing import Any

from sandbox.inside.records import Recorder

# A program arrives as a snippet in a message. With these checks on, pylint gives `print(1)` and every short right
# function 0 of 10, as it gives the worst, and the score tells nothing.
NOT_OF_A_SNIPPET = (
    "missing-module-docstring",
    "missing-class-docstring",
    "missing-function-docstring",
    "missing-final-newline",
)
OPTIONS = [
    *("--persistent=n", "--rcfile=/dev/null", "--jobs=1", "--reports=n", "--score=y", "--from-stdin"),
    f"--disable={','.join(NOT_OF_A_SNIPPET)}",
    "--module-naming-style=any",  # the name of the file is ours, not the program's
]
_WARM_UP = (
    '"""Warm."""\n\nimport os\n\n\ndef join(left: str) -> str:\n    """Join."""\n    return os.path.join(left, "x")\n'
)
_modules: dict[str, Any] = {}
_path: list[str] = []


def warm() -> None:
    """Import pylint and let it and astroid fill their caches, once per zygote."""
    _modules["lint"] = importlib.import_module("pylint.lint")
    _modules["text"] = importlib.import_module("pylint.reporters.text")
    _path[:] = sys.path
    score(_WARM_UP, "solution.py")


def score(code: str, filename: str) -> float | None:
    """Return pylint's rating, at most 10; None when there is nothing to rate."""
    keep = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(code.encode("utf-8", "surrogatepass")), encoding="utf-8")
    try:
        run = _modules["lint"].Run(
            [*OPTIONS, filename], reporter=_modules["text"].TextReporter(io.StringIO()), exit=False
        )
    finally:
        sys.stdin = keep
    stats = run.linter.stats
    return float(stats.global_note) if stats.statement else None


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Record the score of the candidate."""
    sys.path[:] = _path  # pylint finds its own checkers by path
    recorder.add("score", value=score(arguments["code"], arguments["filename"]))
    return 0
