"""The benchmark of the embedded model judges answers rightly, and averages them rightly."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.model import Report, judge_claims, table_of, unmeasured
from benchmarks.models.asking import Speed
from benchmarks.models.budget import conversation
from benchmarks.models.judging import NOT_VALID, OTHER_ARGUMENTS, WRONG_TOOL, Judge
from benchmarks.models.learnt import nameless
from benchmarks.models.scores import pass_at, share
from benchmarks.models.tasks import Check, Task, held_out, newcomers
from mcp_server.engine.types import Message, Tool
from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings

DOUBLE = Check(tests=("assert candidate(2) == 4",), name="double")
RIGHT = "def double(x):\n    return 2 * x\n"
SPOILERS = {
    "exit": "import sys\nsys.exit(0)",
    "hard exit": "import os\nos._exit(0)",
    "never ends": "while True:\n    pass",
    "another name": "def other(x):\n    return 2 * x",
    "no code": "Sure! Here you go.",
    "nothing": "",
    "kills the job": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    sandbox = Sandbox(SandboxSettings(home=Path(tmp_path_factory.mktemp("home"))))
    yield Judge(sandbox)
    sandbox.close()


def _task(check: Check, kind: str = "function", tools: tuple[Tool, ...] = ()) -> Task:
    return Task("phrase", kind, (Message("user", "please"),), check, tools)


def test_a_program_that_spoils_its_job_spoils_no_other(judge: Judge) -> None:
    answers = [RIGHT, *SPOILERS.values(), f"Here:\n\n```python\n{RIGHT}```\n"]
    verdicts = judge.verdicts([(_task(DOUBLE), answer) for answer in answers])
    assert [not why for why in verdicts] == [True, *[False] * len(SPOILERS), True]


def test_a_failing_test_is_told_with_the_functions_own_name(judge: Judge) -> None:
    assert judge.told(_task(DOUBLE), ["def double(x):\n    return x"]) == ["AssertionError: assert double(2) == 4"]


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (Check(runs=(("a\nb\n", "2\n"),)), "import sys\nprint(len(sys.stdin.readlines()))", "print(len(input()))"),
        (Check(language="bash", runs=(("a\nb\n", "2\n"),)), "wc -l", "cat"),
        (Check(tests=DOUBLE.tests, is_json=True), json.dumps({"code": RIGHT}), RIGHT),
        (Check(subject=RIGHT, wrong="def double(x):\n    return x"), "assert double(2) == 4", "assert double(0) == 0"),
        (Check(language="", expected="3"), "It returns `3`.", "It returns `13`."),
        (Check(language="", expected="3"), "f(3) is `3`.", "It returns `-3`."),
        (Check(language="", expected="3"), "The result is 3.", "The result is -3."),
        (Check(language="", expected="[1]"), "`f` gives `[1]`", "It returns `[[1], [2]]`."),
        (Check(language="", refusal=True), "I can't do that; use a larger model.", f"```python\n{RIGHT}```"),
        (Check(head='def double(x):\n    """Twice x."""\n    pass\n\n', tests=("assert double(2) == 4",)), RIGHT, ""),
    ],
)
def test_every_kind_of_answer_is_told_from_a_wrong_one(judge: Judge, check: Check, right: str, wrong: str) -> None:
    assert [not why for why in judge.verdicts([(_task(check), right), (_task(check), wrong)])] == [True, False]


def test_a_repair_is_asked_for_where_the_answer_failed() -> None:
    asked = conversation(_task(DOUBLE), RIGHT, "NameError: x")
    assert [message.role for message in asked] == ["user", "assistant", "user"]
    assert asked[:2] == (*_task(DOUBLE).messages, Message("assistant", RIGHT))
    assert "NameError: x" in asked[2].content


def test_a_call_is_right_only_with_the_tool_and_the_arguments_that_are_wanted(judge: Judge) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tools = (Tool("add", parameters=schema), Tool("cut", parameters=schema))
    task = _task(Check(language="", call='{"name": "add", "arguments": {"n": 1}}'), "tool", tools)
    calls = [("add", {"n": 1}), ("cut", {"n": 1}), ("add", {"n": 2}), ("add", {"n": "1"}), ("run", {})]
    answers = [json.dumps({"name": name, "arguments": arguments}) for name, arguments in calls]
    right, *wrong = judge.verdicts([(task, answer) for answer in answers])
    assert right == ""
    assert [why.split(":")[0] for why in wrong] == [WRONG_TOOL, OTHER_ARGUMENTS, NOT_VALID, NOT_VALID]


def test_newcomers_solutions_are_right_and_nothing_is_not(judge: Judge) -> None:
    tasks = newcomers(4)
    solutions = [(task, task.check.newcomer.solution) for task in tasks if task.check.newcomer]
    assert judge.verdicts(solutions) == [""] * 4
    assert "" not in judge.verdicts([(task, "") for task in tasks])


def test_held_out_examples_are_read_once_each_and_known_families_left_out(tmp_path: Path) -> None:
    row = {"kind": "function", "family": "f", "split": "family", "answer": "", "language": "python", "tests": ["pass"]}
    rows = [{**row, "prompt": prompt, "family": family} for prompt, family in (("a", "f"), ("a", "f"), ("b", "known"))]
    rows.append({"kind": "meaning", "family": "f", "split": "phrase", "prompt": "explain", "answer": "It does."})
    (tmp_path / "held-00000.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = held_out(tmp_path, 5, frozenset({"known"}))
    assert [task.messages[0].content for task in found] == ["a"]


def _learnt(folder: Path, *rows: dict[str, object]) -> None:
    lines = [json.dumps({"split": "train", "kind": "function", "language": "python", **row}) for row in rows]
    (folder / "train-00000.jsonl").write_text("\n".join(lines), encoding="utf-8")


def _held(folder: Path, *rows: dict[str, object]) -> list[str]:
    given = [{"kind": "function", "language": "python", "tests": ["pass"], "answer": "", **row} for row in rows]
    (folder / "held-00000.jsonl").write_text("\n".join(map(json.dumps, given)), encoding="utf-8")
    return [task.messages[-1].content for task in held_out(folder, 5)]


def test_a_request_that_is_learnt_word_for_word_is_not_asked(tmp_path: Path) -> None:
    _learnt(tmp_path, {"family": "f", "prompt": "a", "source": ""})
    found = _held(tmp_path, *({"split": "phrase", "family": "f", "prompt": prompt} for prompt in "ab"))
    assert found == ["b"]


def test_a_family_is_not_unseen_where_another_of_the_same_program_is_learnt(tmp_path: Path) -> None:
    _learnt(tmp_path, {"family": "last_chars", "prompt": "x", "source": "def last(s, k):\n    return s[-k:]\n"})
    same = {"split": "family", "family": "tail", "source": "def tail(text, n):\n    return text[-n:]"}
    found = _held(
        tmp_path,
        {**same, "prompt": "a"},
        {**same, "prompt": "another style", "source": "def tail(text, n):\n    return text[len(text) - n:]"},
        {**same, "prompt": "another kind", "kind": "edit", "source": "def tail(text, n):\n    return text[n:]"},
        {**same, "prompt": "known in other words", "split": "phrase"},
    )
    assert sorted(found) == ["another kind", "known in other words"]


def test_programs_are_the_same_without_their_own_names_only() -> None:
    program = 'import math\n\n\ndef f(x):\n    return math.sqrt(x) if x else "x"\n'
    assert nameless(program) == nameless('import math\ndef root(n):\n  return math.sqrt(n) if n else "x"')
    for old, new in (('"x"', '"y"'), ("sqrt", "floor"), ("import math", "import cmath as math"), ("if x", "if f")):
        assert nameless(program) != nameless(program.replace(old, new))


def test_what_has_nothing_to_be_judged_by_is_not_asked(tmp_path: Path) -> None:
    assert _held(tmp_path, {"split": "phrase", "family": "f", "prompt": "a", "tests": []}) == []


def test_a_tool_that_is_offered_alone_is_no_choice() -> None:
    call = Check(language="", call="{}")
    alone, beside = (Task("phrase", "tool", (), call, tuple(map(Tool, names))) for names in ("a", "ab"))
    cells = table_of([alone, beside], [[""] * 9, [WRONG_TOOL] * 9])["tool, families known"]
    assert (cells["right tool"].value, cells["right tool"].n, cells["valid arguments"].n) == (0.0, 1, 2)
    cells = table_of([alone], [[""] * 9])["tool, families known"]
    assert "right tool" not in cells


def test_a_claim_that_nothing_was_measured_for_is_told() -> None:
    report = Report(Speed(0.5, 500.0, 900.0), {"MBPP, sanitized": {"pass@8": share([True])}})
    assert [holds for holds, _ in judge_claims(report)] == [True] * 3
    assert "newcomers' requests, pass@8" in unmeasured(report)
    assert "MBPP, sanitized, pass@8" not in unmeasured(report)


def test_an_interval_is_around_its_share_and_narrower_with_more_tasks() -> None:
    few, many = share([True, True, False, False]), share([True, False] * 200)
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low
    assert (share([True] * 5).high, share([False] * 5).low) == (1.0, 0.0)


def test_pass_at_k_is_the_chance_that_one_of_k_samples_passes() -> None:
    assert pass_at(1, [True, False, False, False]) == 0.25
    assert pass_at(2, [True, False, False]) == pytest.approx(2 / 3)
    assert pass_at(8, [False] * 7 + [True]) == 1.0
