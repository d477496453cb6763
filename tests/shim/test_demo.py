"""`cinque demo`: which tests decide, how further candidates are drawn and chosen, and what a person reads of it."""

import io
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from sandbox.types import ExecutionResult, Verdict
from shim.cli import main
from shim.commands.demo import DemoRun, Task
from shim.commands.demo_doors import DemoDoors, extract_code
from shim.commands.demo_tests import given_tests, stated_tests, with_checks
from shim.doors import DOORS
from shim.errors import CommandError
from tests.fakes import ScriptedEngine
from tests.stack import PASSED, SCRIPTED_NOTICE, ScriptedSandbox, connected_gateway, door_app, scripted_capabilities

ROOT = Path(__file__).parents[2]
FAILED = replace(
    PASSED,
    success=False,
    tests_passed=0,
    verdict=Verdict.WRONG_ANSWER,
    error_type="WrongAnswer",
    error_message="3 is no 4",
)
TESTS = "def test_it():\n    assert f() == 4\n"

pytestmark = pytest.mark.usefixtures("restored_logging")


@dataclass(frozen=True)
class Told:
    """What a demo asked, said and returned."""

    engine: ScriptedEngine
    sandbox: ScriptedSandbox
    status: int
    text: str


@asynccontextmanager
async def doors_over(home: Path, engine: ScriptedEngine, sandbox: ScriptedSandbox) -> AsyncIterator[DemoDoors]:
    """Open the two doors of the demo in this process."""
    named = {door.name: door for door in DOORS}
    chat, run = named["atlas-proxy"], named["atlas-sandbox"]
    async with connected_gateway(scripted_capabilities(home, engine=engine, sandbox=sandbox)) as gateway:
        urls = {door.name: f"http://localhost:{door.port}" for door in (chat, run)}
        mounts = {urls[door.name]: httpx.ASGITransport(door_app(door, gateway)) for door in (chat, run)}
        async with httpx.AsyncClient(mounts=mounts) as client:
            yield DemoDoors(client, urls[chat.name], urls[run.name])


async def demo(
    home: Path, replies: Sequence[str], results: Sequence[ExecutionResult], n: int = 8, tests: str | None = TESTS
) -> Told:
    engine, sandbox, screen = ScriptedEngine(replies), ScriptedSandbox(results), io.StringIO()
    async with doors_over(home, engine, sandbox) as doors:
        status = await DemoRun(Console(file=screen, width=300), doors, Task("Write f.", tests, n)).run()
    return Told(engine, sandbox, status, screen.getvalue())


async def test_a_first_answer_that_passes_is_the_only_one_asked_for(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1"], [PASSED])
    assert (told.status, len(told.engine.requests), len(told.sandbox.requests)) == (0, 1, 1)
    assert "verdict: passed (OK, 1 of 1 tests passed; isolation" in told.text
    assert "candidate" not in told.text


async def test_the_first_candidate_that_passes_is_the_answer(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1", "b = 2", "c = 3", "d = 4"], [FAILED, FAILED, PASSED])
    assert told.status == 0
    assert [request.code for request in told.sandbox.requests] == ["a = 1", "b = 2", "c = 3"]
    assert {request.test_code for request in told.sandbox.requests} == {TESTS}
    parts = ("candidate 1: failed", "candidate 2: failed", "candidate 3: passed", "answer, candidate 3", "c = 3")
    places = [told.text.index(part) for part in (*parts, "verdict: passed (candidate 3 of 8): OK, 1 of 1 tests passed")]
    assert places == sorted(places)
    assert "3 is no 4" not in told.text


async def test_candidates_are_one_request_that_is_the_same_every_time(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1", "b = 2"], [FAILED], n=5)
    first, further = told.engine.requests
    assert (first.n, first.sampling.temperature) == (1, 0)
    assert (further.n, further.sampling.temperature, further.sampling.top_p) == (4, 0.7, 0.95)
    assert further.sampling.seed is not None
    assert further.messages == first.messages


async def test_where_none_passes_the_likeliest_answer_is_told_with_its_failure(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1", "b = 2", "c = 3"], [FAILED, replace(FAILED, error_message="other")], n=3)
    assert told.status == 1
    assert "verdict: failed (WRONG_ANSWER, 0 of 1 tests passed; 3 candidates, none passed; isolation" in told.text
    assert "WrongAnswer: 3 is no 4" in told.text
    assert "other" not in told.text


async def test_the_same_program_is_not_run_twice(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1", "a = 1", "b = 2", "b = 2"], [FAILED], n=4)
    assert [request.code for request in told.sandbox.requests] == ["a = 1", "b = 2"]
    assert "candidate 2: the same as candidate 1" in told.text
    assert "candidate 4: the same as candidate 3" in told.text


async def test_one_candidate_is_the_first_answer_alone(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1"], [FAILED], n=1)
    assert (told.status, len(told.engine.requests)) == (1, 1)
    assert "candidate" not in told.text


async def test_without_tests_nothing_is_drawn_and_nothing_is_verified(tmp_path: Path) -> None:
    told = await demo(tmp_path, ["a = 1"], [replace(FAILED, error_type=None)], tests=None)
    assert (told.status, len(told.engine.requests)) == (0, 1)
    assert "verdict: not verified" in told.text
    assert "--check EXPRESSION or --tests FILE" in told.text


def defined(tests: str | None) -> list[list[str]]:
    """Return the lines of each test's body."""
    parts = (tests or "").split("def test_")[1:]
    return [[line.strip() for line in part.splitlines()[1:] if line] for part in parts]


def test_each_check_is_a_test() -> None:
    tests = given_tests(None, ["add(2, 3) == 5", " add(\n0, 0) == 0  # nothing"])
    assert defined(tests) == [["assert add(2, 3) == 5"], ["assert add(0, 0) == 0"]]


def test_a_request_is_asked_with_its_checks() -> None:
    told = "Write add.\n\nIt must pass these tests:\nassert add(2, 3) == 5\nassert add(0, 0) == 0"
    assert with_checks("Write add.", ["add(2, 3) == 5", " add(\n0, 0) == 0"]) == told
    assert with_checks("Write add.", []) == "Write add."


def test_a_file_of_tests_and_checks_decide_together(tmp_path: Path) -> None:
    file = tmp_path / "tests.py"
    file.write_text(TESTS)
    assert given_tests(str(file), ["f() > 3"]) == f"{TESTS}\ndef test_check_1():\n    assert f() > 3\n"


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("add(2, 3 == 5", "never closed"),
        ("add(2, 3) = 5", "column"),
        ("assert add(2, 3) == 5", "column"),
        ("", "no Python expression"),
        ("(yield)", "outside function"),
        ("1 == 1", "names nothing of the answer"),
        ("a\0", "null bytes"),
        ("(" * 1000, "parentheses"),
        ("add(2, 3) == 5, 'wrong'", "always true"),
    ],
)
def test_a_check_that_cannot_be_one_is_told_by_number_with_what_to_write(check: str, why: str) -> None:
    with pytest.raises(CommandError) as caught:
        given_tests(None, ["f() == 1", check])
    told = str(caught.value)
    assert told.startswith(f"--check number 2, {check!r}")
    assert why in told
    assert "--check" in told.removeprefix("--check number 2")


@pytest.mark.parametrize(
    ("request_text", "tests"),
    [
        ("Write f.\nassert f(1) == 2\n    assert f(2) == 3, 'no'", [["assert f(1) == 2"], ["assert f(2) == 3, 'no'"]]),
        ("xs = [1]\nys = 2\nassert f(xs) == 1", [["xs = [1]", "assert f(xs) == 1"]]),
        ("import math\nassert f(1) == math.pi", [["import math", "assert f(1) == math.pi"]]),
        ("assert all(f(x) for x in range(3))", [["assert all(f(x) for x in range(3))"]]),
        ("assert that it works\nassert equality\nassert x == 3\nassert f(y) == 1\nassert f(", []),
        (">>> f(1)\n2\n", [["assert f(1) == 2"]]),
        ("It adds.\n\n>>> f(1)\nTrue\nThat is all.", [["assert f(1) is True"]]),
        (">>> s = Stack()\n>>> s.push(1)\n>>> s.pop()\n1\n", [["s = Stack()", "s.push(1)", "assert s.pop() == 1"]]),
        (">>> f(1) + 1, 2\n(3, 2)", [["assert (f(1) + 1, 2) == (3, 2)"]]),
        (">>> f(1)\nPoint(x=1)\n", [["assert repr(f(1)) == 'Point(x=1)'"]]),
        (">>> print(f(1))\n1\n>>> f(0)\nTraceback (most recent call last):\nValueError: no\n>>> f(\n", []),
        (">>>f(1)\n2", []),
        ("Write a function add(a, b).", []),
        ("", []),
    ],
)
def test_what_a_request_states_becomes_tests_and_prose_does_not(request_text: str, tests: list[list[str]]) -> None:
    assert defined(stated_tests(request_text)) == tests


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("",), ("request", "no text")),
        (("  \n",), ("request", "no text")),
        (("add", "--check", "add(1"), ("--check number 1", "'add(1'")),
        (("add", "--tests", "absent.py"), ("absent.py",)),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_a_2(
    line: tuple[str, ...], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of("demo", *line) == 2
    shown = capsys.readouterr()
    (told,) = shown.err.splitlines()
    assert told.startswith("cinque demo: ")
    assert all(word in told for word in words)
    assert shown.out == ""


def test_make_hands_on_requests_and_checks_as_they_are_quoted(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make is not None
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "demo"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    arguments = """ARGS="Write add(a, b)." --check "add('a', 'b') == 'ab'" --check 'x["k"] > 1'"""
    command = [make, "--silent", "--file", str(ROOT / "Makefile"), "--old-file", "ready", "demo", arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=10)
    assert ran.stdout.splitlines() == ["Write add(a, b).", "--check", "add('a', 'b') == 'ab'", "--check", 'x["k"] > 1']


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    ("server", "line", "status", "verdict"),
    [
        (("--fails",), (), 1, "verdict: failed"),
        ((), ("a request of my own",), 0, "verdict: not verified"),
        ((), ("a request of my own\nassert f(1) == 2",), 0, "verdict: passed"),
        (("--fails",), ("a request of my own", "--check", "f(1) == 2"), 1, "8 candidates, none passed"),
    ],
    ids=["failed", "untested", "stated", "checked"],
)
def test_the_demo_tells_the_verdict_and_its_status(
    server: tuple[str, ...],
    line: tuple[str, ...],
    status: int,
    verdict: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = (sys.executable, str(ROOT / "tests" / "scripted_server.py"), *server)
    monkeypatch.setattr("shim.commands.demo.joining_command", lambda: command)
    assert status_of("demo", *line) == status
    shown = capsys.readouterr().out
    assert SCRIPTED_NOTICE in shown
    assert "first second" in shown
    assert verdict in shown


def test_tests_that_cannot_be_read_are_one_line_and_a_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("demo", "a request", "--tests", str(tmp_path / "absent.py")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "absent.py" in line


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("Sure!\n```py\nx = 1\n```\nDone.", "x = 1\n"),
        ("```bash\npip install x\n```\n```Python\nx = 1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```python title=a.py\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\n", "x = 1\n"),
        ("x = 1", "x = 1"),
        ("", ""),
    ],
)
def test_the_code_of_an_answer_is_its_python_block(text: str, code: str) -> None:
    assert extract_code(text) == code
