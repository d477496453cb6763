"""`cinque demo` as a person runs it: the embedded model answers, the sandbox decides."""

import subprocess
from pathlib import Path

import pytest

from tests.live.processes import Shim, environment, finished

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

ADD = "Write a Python function add(a, b) that returns the sum of a and b."


def demo(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return finished("-m", "shim", "demo", *arguments, env=environment(home))


def test_the_demo_asks_runs_and_tells_the_verdict(tmp_path: Path) -> None:
    shown = demo(tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    parts = (
        "question",
        "is_palindrome",
        "answer",
        "```python",
        "tests",
        "def test_edges",
        "verdict: passed",
        "timings",
    )
    rest = shown.stdout
    for part in parts:
        assert part in rest, part
        rest = rest.partition(part)[2]
    assert shown.stdout.count("cinque models pull OWNER/NAME FILE.gguf") == 1
    assert "3 of 3 tests passed; isolation namespaces" in shown.stdout
    assert "tokens/s" in shown.stdout


def test_an_answer_without_tests_is_not_verified(shim: Shim) -> None:
    shown = demo(shim.home, ADD)
    assert shown.returncode == 0, shown.stderr
    assert "verdict: not verified" in shown.stdout
    assert "passed" not in shown.stdout


def test_tests_of_ones_own_decide(shim: Shim, tmp_path: Path) -> None:
    file = tmp_path / "tests.py"
    file.write_text("def test_add():\n    assert add(1, 2) == 4\n")
    shown = demo(shim.home, ADD, "--tests", str(file))
    assert shown.returncode == 1, shown.stderr
    assert "verdict: failed (WRONG_ANSWER, 0 of 1 tests passed" in shown.stdout


def test_checks_decide_and_when_none_of_the_candidates_passes_all_are_told(shim: Shim) -> None:
    shown = demo(shim.home, ADD, "--check", "add(2, 3) == 5", "--check", 'add("a", "b") == "ab"')
    assert shown.returncode == 0, shown.stderr
    assert "verdict: passed (OK, 2 of 2 tests passed" in shown.stdout
    shown = demo(shim.home, ADD, "--check", "add(2, 3) == 6 != add(2, 3)", "--candidates", "3")
    assert shown.returncode == 1, shown.stderr
    assert "verdict: failed (WRONG_ANSWER, 0 of 1 tests passed; 3 candidates, none passed" in shown.stdout


def test_tests_that_the_request_states_decide(shim: Shim) -> None:
    shown = demo(shim.home, f"{ADD}\nassert add(2, 3) == 5")
    assert shown.returncode == 0, shown.stderr
    assert "1 of 1 tests passed" in shown.stdout


def test_a_file_of_tests_that_cannot_be_read_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "tests.py"
    shown = demo(tmp_path, ADD, "--tests", str(file))
    assert shown.returncode == 2
    assert shown.stdout == ""
    (line,) = shown.stderr.splitlines()
    assert line.startswith(f"cinque demo: the tests cannot be read from {file}: ")
