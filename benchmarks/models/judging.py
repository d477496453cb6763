"""Judges answers in the project's sandbox: many Python programs to a job, and jobs at once; newcomers' by their judge.

A verdict is a text: nothing where the answer is right, else what went wrong, as a person would be told. Equal answers
to a task run once.
"""

import ast
import functools
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import jsonschema

from benchmarks.models.tasks import Check, Task
from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest
from tests.newcomers.newcomer_requests import is_right

PER_JOB: Final = 20  # programs
PROGRAM_TIMEOUT_S: Final = 2.5  # so that a job of programs that never end stays under the sandbox's longest time
_JOB_TIMEOUT_S: Final = 58.0
_INSIDE: Final = Path(__file__).with_name("programs_inside.py").read_text(encoding="utf-8")
_FENCE: Final = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)
_DEFINED: Final = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
WRONG_TOOL, NOT_VALID, OTHER_ARGUMENTS = "another tool", "arguments that are not valid", "other arguments"
NO_CODE: Final = "there is no code in the answer"

Answered = tuple[Task, str]


def code_of(answer: str) -> str:
    """Return the first block of code of an answer, or all of it."""
    block = _FENCE.search(answer)
    return block[1] if block else answer


def last_definition(code: str) -> str:
    """Return the name of the last function or class at the top of *code*, or nothing."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return ""
    return next((node.name for node in reversed(body) if isinstance(node, _DEFINED)), "")


class Judge:
    """Judges answers, and remembers what it judged."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: dict[tuple[Check, str], str] = {}

    def verdicts(self, answered: Sequence[Answered]) -> list[str]:
        """Return a verdict for each answer."""
        new = {(task.check, answer): task for task, answer in answered if (task.check, answer) not in self._known}
        batched = [key for key in new if is_batched(key[0])]
        jobs = [functools.partial(self._batch, batched[i : i + PER_JOB]) for i in range(0, len(batched), PER_JOB)]
        jobs += [functools.partial(self._alone, task, key) for key, task in new.items() if not is_batched(key[0])]
        with ThreadPoolExecutor(2 + (os.cpu_count() or 1)) as pool:
            for found in pool.map(lambda job: job(), jobs):
                self._known |= found
        return [self._known[task.check, answer] for task, answer in answered]

    def told(self, task: Task, answers: Sequence[str]) -> list[str]:
        """Return why the tests of a task fail for each answer, also where its judge only says that they do."""
        newcomer = task.check.newcomer
        if newcomer is None:
            return self.verdicts([(task, answer) for answer in answers])
        if not newcomer.check or newcomer.json:
            return [""] * len(answers)
        check = Check(tests=_statements(newcomer.check), name=newcomer.name)
        return self.verdicts([(Task(task.split, task.kind, task.messages, check), answer) for answer in answers])

    def _alone(self, task: Task, key: tuple[Check, str]) -> dict[tuple[Check, str], str]:
        return {key: self._one(task, key[1])}

    def _batch(self, keys: Sequence[tuple[Check, str]]) -> dict[tuple[Check, str], str]:
        programs = [program_of(check, answer) for check, answer in keys]
        verdicts = self._run(programs)
        if None in verdicts:  # the job ended before its end: whoever did it shall not spoil the others
            verdicts = [self._run([program])[0] for program in programs]
        return {key: "it ends the job" if found is None else found for key, found in zip(keys, verdicts, strict=True)}

    def _run(self, programs: Sequence[dict[str, Any]]) -> list[str | None]:
        """Run programs in one job; None for those that it did not come to."""
        given = json.dumps({"programs": programs, "timeout_s": PROGRAM_TIMEOUT_S})
        request = ExecutionRequest(_INSIDE, "python", stdin=given, timeout_s=_JOB_TIMEOUT_S, lint=False)
        lines = self._sandbox.execute(request).stdout.splitlines()
        found = dict(line.split(" ", 1) for line in lines if line[:1].isdigit() and " " in line)
        return [found.get(str(i)) if lines and lines[-1] == "DONE" else None for i in range(len(programs))]

    def _one(self, task: Task, answer: str) -> str:
        check = task.check
        if check.newcomer is not None:
            return "" if is_right(check.newcomer, answer, self._sandbox) else "the tests fail"
        if check.call:
            return _judge_call(task, answer)
        if check.refusal:
            return (
                "" if re.search(r"can't|cannot|can not|larger model", answer) and "```" not in answer else "no refusal"
            )
        if check.expected:
            return "" if says(check.expected, answer) else f"it does not say {check.expected}"
        return self._javascript(check, answer) if check.language == "javascript" else self._bash(check, answer)

    def _javascript(self, check: Check, answer: str) -> str:
        source = code_of(answer)
        defined = re.findall(r"^(?:async )?function\*? (\w+)|^(?:const|let|var) (\w+) =", source, re.MULTILINE)
        name = check.name or next((first or second for first, second in reversed(defined)), "")
        if not name:
            return NO_CODE
        tests = "\n".join(check.tests)
        head = 'const assert = require("node:assert");\n'
        code = f'{head}{source}\nconst candidate = {name};\n{tests}\nconsole.log("DONE");'
        result = self._sandbox.execute(ExecutionRequest(code, "javascript", timeout_s=PROGRAM_TIMEOUT_S, lint=False))
        return "" if result.stdout.endswith("DONE\n") else f"{result.error_type}: {result.error_message}"

    def _bash(self, check: Check, answer: str) -> str:
        for given, expected in check.runs:
            request = ExecutionRequest(code_of(answer), "bash", stdin=given, timeout_s=PROGRAM_TIMEOUT_S, lint=False)
            result = self._sandbox.execute(request)
            if not result.success or result.stdout != expected:
                return f"it prints {result.stdout[:80]!r} instead of {expected[:80]!r}"
        return ""


def says(expected: str, answer: str) -> bool:
    """Say whether a text names a value: as what it quotes last, or as a word of its own where it quotes nothing."""
    quoted = [] if "`" in expected else re.findall(r"`([^`]*)`", answer)
    if quoted:
        return bool(quoted[-1] == expected)
    return re.search(rf"(?<![\w.-]){re.escape(expected)}(?!\w|\.\d)", answer) is not None


def is_batched(check: Check) -> bool:
    """Say whether answers are Python programs that share a job."""
    is_text = check.newcomer is not None or check.call or check.refusal or check.expected
    return check.language == "python" and not is_text


def program_of(check: Check, answer: str) -> dict[str, Any]:
    """Return what `programs_inside` takes for an answer."""
    code = _code_in_json(answer) if check.is_json else code_of(answer)
    return {
        "source": check.head + code,
        "name": check.name or last_definition(code),
        "tests": check.tests,
        "runs": check.runs,
        "subject": check.subject,
        "wrong": check.wrong,
    }


def _code_in_json(answer: str) -> str:
    try:
        return str(json.loads(code_of(answer))["code"])
    except (ValueError, KeyError, TypeError):
        return "raise ValueError('the answer is not the JSON that was asked for')"


def _judge_call(task: Task, answer: str) -> str:
    """Compare a call, as JSON with `name` and `arguments`, with the one that is wanted."""
    wanted = json.loads(task.check.call)
    try:
        got = json.loads(answer)
        schema = next(tool.parameters for tool in task.tools if tool.name == got["name"])
        jsonschema.validate(got["arguments"], schema)
    except (ValueError, KeyError, TypeError, StopIteration, jsonschema.ValidationError) as error:
        return f"{NOT_VALID}: {error}"[:200]
    if got["name"] != wanted["name"]:
        return WRONG_TOOL
    return "" if got["arguments"] == wanted["arguments"] else OTHER_ARGUMENTS


def _statements(check: str) -> tuple[str, ...]:
    """Return the statements of a check, each as it is written."""
    return tuple(ast.get_source_segment(check, node) or "" for node in ast.parse(check).body)
