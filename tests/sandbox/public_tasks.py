"""Public programming tasks with reference solutions and tests, which lie outside this repository.

They are looked for in the folder that CINQUE_TEST_DATA names, else in `shared/data` beside or in the checkout.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, ExecutionResult

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 4  # jobs; the sandbox lets as many run as it is set to
HUMAN_EVAL = "humaneval/data/HumanEval.jsonl.gz"
HUMAN_EVAL_X = "humaneval_x/codegeex/benchmark/humaneval-x/{0}/data/humaneval_{0}.jsonl.gz"
EMPTY = {  # a body that says nothing, in place of the right one
    "python": "    pass\n",
    "cpp": "    return {};\n}\n",
    "go": '    panic("empty")\n}\n',
    "javascript": "}\n",
    "rust": "    todo!()\n}\n",
}
_CRATES = re.compile(r"^use (rand::Rng|regex::Regex|md5);\n", re.MULTILINE)  # of no standard library
_NEEDED = {  # what programs or tests ask for that is not in the language's own library
    "cpp": re.compile(r"#include<(boost/\w+|openssl/\w+)\.h"),
    "javascript": re.compile(r"require\('(js-md5)'\)"),
    "rust": re.compile(r"\b(Regex|md5|rand)::"),
}
_FAULTY = {
    "CPP/38": "its reference does not compile, with a plain compiler neither",
    "JavaScript/112": "its reference returns one of two values: `(z, true)` is one",
    "JavaScript/155": "its reference counts no digit in 0",
    "Rust/32": "its tests stand in a comment",
}
_GO_PACKAGES = ("bytes", "crypto/md5", "fmt", "math", "math/rand", "regexp", "sort", "strconv", "strings", "time")
FOLDERS = {"cpp": "cpp", "go": "go", "javascript": "js", "rust": "rust"}


@dataclass(frozen=True)
class Task:
    """One task: what to complete, how it is rightly completed, and the tests of that."""

    name: str
    head: str  # imports, helpers, the function's first line
    body: str  # the rest of it
    tests: str
    language: str = "python"

    @property
    def solution(self) -> str:
        """The reference program."""
        return self._whole(self.body)

    @property
    def emptied(self) -> str:
        """The same with a body that says nothing; it compiles."""
        return self._whole(EMPTY[self.language])

    def _whole(self, body: str) -> str:
        text = self.head + body
        if self.language != "go":
            return text
        # Go wants just the packages that are used. Those who made the tasks add them so: the rows' own are others.
        code = re.sub("//.*", "", text)
        packages = [name for name in _GO_PACKAGES if re.search(rf"\b{name.rpartition('/')[2]}\.", code)]
        return "package main\n\n" + "".join(f'import "{name}"\n' for name in packages) + text


def passes_bare(code: str, task: Task, timeout_s: float) -> bool:
    """Say whether a Python program passes its tests in an interpreter without any sandbox: the tests' own verdict."""
    command = [sys.executable, "-c", f"{code}\n{task.tests}"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=timeout_s).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def data_folder() -> Path | None:
    """Return where the tasks lie, None where they are not on this machine."""
    named = os.environ.get("CINQUE_TEST_DATA")
    folders = (Path(named),) if named else (ROOT.parent / "shared" / "data", ROOT / "shared" / "data")
    return next((folder for folder in folders if (folder / HUMAN_EVAL).is_file()), None)


def human_eval(folder: Path) -> list[Task]:
    """Read the 164 tasks in Python."""
    return [
        Task(
            row["task_id"],
            row["prompt"],
            row["canonical_solution"],
            f"{row['test']}\ncheck({row['entry_point']})\n",
        )
        for row in _rows(folder / HUMAN_EVAL)
    ]


def human_eval_x(folder: Path, language: str) -> list[Task]:
    """Read the same tasks in another language."""
    name = FOLDERS[language]
    tasks = []
    for row in _rows(folder / HUMAN_EVAL_X.format(name)):
        head, tests = row["declaration"], row["test"]
        if language == "go":
            head = row["prompt"].removeprefix(row["import"])
            tests = f"{row['test_setup']}\n{tests}"
        elif language == "rust":
            head = _CRATES.sub("", head)
        tasks.append(Task(row["task_id"], head, row["canonical_solution"], tests, language))
    return tasks


def impossible(task: Task) -> str | None:
    """Say why a task cannot run with a language's own library alone, or at all; None where it can."""
    needed = _NEEDED.get(task.language)
    found = needed and needed.search(task.solution + task.tests)
    if found:
        return f"it needs {found[1]}"
    return _FAULTY.get(task.name)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def run_all(sandbox: Sandbox, programs: list[tuple[str, Task]], timeout_s: float) -> list[ExecutionResult]:
    """Run programs against the tests of their tasks, some at once, in order."""

    def run(program: tuple[str, Task]) -> ExecutionResult:
        code, task = program
        return sandbox.execute(
            ExecutionRequest(code, task.language, test_code=task.tests, timeout_s=timeout_s, lint=False)
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, programs))
