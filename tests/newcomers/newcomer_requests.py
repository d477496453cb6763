"""What 150 newcomers type, and how an answer to each is judged, by running it.

The requests were written before the families that the embedded model is trained on, and never serve to choose one: they
tell how well it answers people who do not know what it was taught. `functions.toml`, `programs.toml` and `changes.toml`
hold them, each with one right answer. Knows nothing of models: an answer is text, judged in a sandbox.
"""

import ast
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest

_FILES = ("functions.toml", "programs.toml", "changes.toml")
_FENCE = re.compile(r"```[\w+-]*\n(.*?)(?:```|\Z)", re.DOTALL)
_UNABLE = re.compile(r"(?i)\b(can ?not|can't|unable|larger model|beyond)\b")
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class NewcomerRequest:
    """What somebody asks, and what a right answer does; exactly one way to judge it is given.

    `check` are statements about `candidate`, which is what the answer defines last, or `name`; `json` is the key of the
    answer that holds its code. `stdout` is a pattern of what a script prints for `stdin`. Tests pass for `subject` and
    fail for `wrong`. `answer` is a pattern of text. A `refusal` says that this cannot be done.
    """

    text: str
    solution: str
    check: str = ""
    name: str = ""
    json: str = ""
    stdin: str = ""
    stdout: str | None = None
    subject: str = ""
    wrong: str = ""
    answer: str = ""
    refusal: bool = False


def newcomer_requests() -> list[NewcomerRequest]:
    """Return all requests, in the order of their files."""
    folder = Path(__file__).parent
    tables = [tomllib.loads(folder.joinpath(name).read_text(encoding="utf-8")) for name in _FILES]
    return [NewcomerRequest(**entry) for table in tables for entry in table["request"]]


def is_right(request: NewcomerRequest, answer: str, sandbox: Sandbox) -> bool:
    """Say whether *answer* does what was asked, by running it where it is code."""
    if request.refusal:
        return _UNABLE.search(answer) is not None and "```" not in answer
    if request.answer:
        return re.search(request.answer, answer) is not None
    code = _code(request, answer)
    if request.stdout is not None:
        result = sandbox.execute(
            ExecutionRequest(code, "python", stdin=request.stdin, timeout_s=_TIMEOUT_S, lint=False)
        )
        return result.success and re.fullmatch(request.stdout, result.stdout.strip()) is not None
    if request.subject:
        return _passes(sandbox, request.subject, code) and not _passes(sandbox, request.wrong, code)
    name = request.name or _last_definition(code)
    return name is not None and _passes(sandbox, code, f"candidate = {name}\n{request.check}")


def _code(request: NewcomerRequest, answer: str) -> str:
    """Return the program of an answer: a member of its JSON, its first block, or all of it."""
    if request.json:
        try:
            return str(json.loads(answer)[request.json])
        except (ValueError, KeyError, TypeError):
            return ""
    block = _FENCE.search(answer)
    return block[1] if block else answer


def _last_definition(code: str) -> str | None:
    """Return the name of the last function or class at the top of *code*; None where there is none."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):
        return None
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return names[-1] if names else None


def _passes(sandbox: Sandbox, code: str, tests: str) -> bool:
    request = ExecutionRequest(code, "python", test_code=tests, timeout_s=_TIMEOUT_S, lint=False)
    return sandbox.execute(request).success
