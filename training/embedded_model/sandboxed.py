"""Run examples' programs against their tests in the project's sandbox, many in one job.

What fails is left out of the training data and reported: a family that agrees with itself may still be spoilt by a name
that was drawn. Bash scripts run a job each, and only once, as nothing in them is renamed.
"""

import functools
import json
from collections.abc import Callable, Sequence
from typing import Final

from sandbox.runner import Sandbox
from sandbox.types import ExecutionRequest, ExecutionResult
from training.embedded_model.examples import Example

PER_JOB: Final = 40  # examples
_TIMEOUT_S: Final = 60.0
_Run = Callable[[Sequence[Example], Sandbox], ExecutionResult]

_PYTHON: Final = """
import contextlib, io, json, sys

def passes(source, name, tests):
    scope = {"__name__": "program"}
    exec(source, scope)
    if name:
        scope["candidate"] = scope[name]
    for test in tests:
        exec(test, scope)

def prints(source, given):
    stdin, output = sys.stdin, io.StringIO()
    sys.stdin = io.StringIO(given)
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(source, "script", "exec"), {"__name__": "__main__"})
    finally:
        sys.stdin = stdin
    return output.getvalue()

def judge(one):
    if one["subject"]:
        holds(one["subject"], one["source"])
        try:
            holds(one["wrong"], one["source"])
        except Exception:
            return
        raise AssertionError("the tests hold for a faulty program")
    if one["runs"]:
        for given, expected in one["runs"]:
            assert prints(one["source"], given) == expected, given
        return
    assert one["tests"], "there is no test"
    passes(one["source"], one["name"], one["tests"])

def holds(subject, tests):
    scope = {"__name__": "program"}
    exec(subject, scope)
    exec(tests, scope)
    for name in [name for name in scope if name.startswith("test_")]:
        scope[name]()

for i, one in enumerate(json.load(sys.stdin)):
    try:
        judge(one)
    except Exception as error:
        print("FAILED", i, type(error).__name__, str(error).replace("\\n", " ")[:80])
print("DONE")
"""


def failures(examples: Sequence[Example], sandbox: Sandbox) -> dict[int, str]:
    """Return which of *examples* do not pass their own tests, and why, by their place in the sequence."""
    failed: dict[int, str] = {}
    for language, run in (("python", _python), ("javascript", _javascript)):
        places = [i for i, example in enumerate(examples) if example.language == language]
        for start in range(0, len(places), PER_JOB):
            batch = places[start : start + PER_JOB]
            found = _of_batch(run, [examples[i] for i in batch], sandbox)
            failed |= {batch[i]: why for i, why in found.items()}
    for i, example in enumerate(examples):
        if example.language == "bash":
            why = _bash(example.source, tuple(example.runs), sandbox)
            if why:
                failed[i] = why
    return failed


def _of_batch(run: _Run, batch: Sequence[Example], sandbox: Sandbox) -> dict[int, str]:
    """Run a batch; where its job did not end, each alone: a slow machine must not decide what is left out."""
    result = run(batch, sandbox)
    if not _has_ended(result) and len(batch) > 1:
        alone = (_of_batch(run, [example], sandbox) for example in batch)
        return {i: found[0] for i, found in enumerate(alone) if found}
    return _read(result)


def _python(batch: Sequence[Example], sandbox: Sandbox) -> ExecutionResult:
    fields = ("source", "name", "tests", "runs", "subject", "wrong")
    given = json.dumps([{field: getattr(example, field) for field in fields} for example in batch])
    return sandbox.execute(ExecutionRequest(_PYTHON, "python", stdin=given, timeout_s=_TIMEOUT_S, lint=False))


def _javascript(batch: Sequence[Example], sandbox: Sandbox) -> ExecutionResult:
    blocks = [
        f"try {{ const candidate = (() => {{ {example.source}\nreturn {example.name}; }})();\n"
        + "\n".join(example.tests)
        + f'\n}} catch (error) {{ console.log("FAILED", {i}, String(error).replace(/\\n/g, " ").slice(0, 80)); }}'
        for i, example in enumerate(batch)
    ]
    code = "\n".join(['const assert = require("node:assert");', *blocks, 'console.log("DONE");'])
    return sandbox.execute(ExecutionRequest(code, "javascript", timeout_s=_TIMEOUT_S, lint=False))


def _has_ended(result: ExecutionResult) -> bool:
    return result.stdout.splitlines()[-1:] == ["DONE"]


def _read(result: ExecutionResult) -> dict[int, str]:
    """Read which failed; the one of a job that did not end did."""
    if not _has_ended(result):
        return {0: f"the job ended: {result.error_type} {result.error_message}"}
    found = (line.split(" ", 2) for line in result.stdout.splitlines() if line.startswith("FAILED "))
    return {int(parts[1]): parts[2] for parts in found}


@functools.lru_cache(maxsize=100_000)
def _bash(source: str, runs: tuple[tuple[str, str], ...], sandbox: Sandbox) -> str:
    """Return why a script fails, or nothing."""
    for given, expected in runs:
        result = sandbox.execute(ExecutionRequest(source, "bash", stdin=given, timeout_s=_TIMEOUT_S, lint=False))
        if not result.success or result.stdout != expected:
            return f"printed {result.stdout[:80]!r}, not {expected[:80]!r} {result.error_message or ''}"
    return ""
