"""Runs in a job of the sandbox: judges many Python programs, each in a process of its own. Standard library only.

Reads a list of JSON objects and prints a line for each: its number, a space, and nothing if all holds, else what went
wrong. A program that never ends, exits, or takes all the memory fails alone.
"""

import contextlib
import io
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from typing import Any

MEMORY_BYTES = 320 << 20  # of one program, under what the job may have
MAX_TOLD = 150  # characters: the sandbox hands back the last 4,000 of all


def main() -> None:
    """Judge what standard input lists."""
    given = json.load(sys.stdin)
    for i, one in enumerate(given["programs"]):
        print(i, judged_apart(one, given["timeout_s"]).replace("\n", "\\n")[:MAX_TOLD], flush=True)
    print("DONE", flush=True)


def judged_apart(one: dict[str, Any], timeout_s: float) -> str:
    """Judge one program in a child; return why it fails, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(one, writing)
    os.close(writing)
    text = _read(reading, timeout_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    if text is None:
        return "TimeoutError: it never ends"
    return text[1:] if text else "it ends the process"


def _read(reading: int, timeout_s: float) -> str | None:
    """Return what the child wrote until it closed its end; None where it took too long."""
    deadline_s = time.monotonic() + timeout_s
    parts: list[bytes] = []
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not select.select([reading], [], [], left_s)[0]:
            return None
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts).decode("utf-8", "replace")
        parts.append(part)


def _be_child(one: dict[str, Any], writing: int) -> None:
    """Judge, write a mark and what is wrong, and end."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
    try:
        wrong = judge(one)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a program, too
        wrong = told(error)
    with contextlib.suppress(OSError):
        os.write(writing, f"+{wrong[: 4 * MAX_TOLD]}".encode("utf-8", "replace"))
    os._exit(0)


def told(error: BaseException) -> str:
    """Return an error as Python shows it in its last line."""
    lines = traceback.format_exception_only(error)
    return lines[-1].strip()


def judge(one: dict[str, Any]) -> str:
    """Return why a program fails its tests, or nothing."""
    if one["subject"]:
        return _judge_tests(one)
    for given, expected in one["runs"]:
        printed = prints(one["source"], given)
        if printed != expected:
            return f"it prints {printed!r} instead of {expected!r}"
    if one["runs"]:
        return ""
    scope: dict[str, Any] = {"__name__": "program"}
    exec(compile(one["source"], "program", "exec"), scope)  # noqa: S102 - what the sandbox is for
    if one["name"] and one["name"] not in scope:
        return f"NameError: name {one['name']!r} is not defined"
    if one["name"]:
        scope["candidate"] = scope[one["name"]]
    for test in one["tests"]:
        try:
            exec(test, scope)  # noqa: S102 - as above
        except AssertionError as error:
            return str(told(error)) if str(error) else f"AssertionError: {shown(test, one['name'])}"
    return ""


def shown(test: str, name: str) -> str:
    """Return a test as its writer would show it: with the function's own name."""
    return test.replace("candidate", name) if name else test


def _judge_tests(one: dict[str, Any]) -> str:
    """Judge tests: they hold for a right program, and fail for a wrong one."""
    _hold(one["subject"], one["source"])
    try:
        _hold(one["wrong"], one["source"])
    except Exception:  # noqa: BLE001 - any failure shows the fault
        return ""
    return "the tests hold for a faulty program"


def _hold(subject: str, tests: str) -> None:
    scope: dict[str, Any] = {"__name__": "program"}
    exec(subject, scope)  # noqa: S102 - as above
    exec(tests, scope)  # noqa: S102 - as above
    for name in [name for name in scope if name.startswith("test_")]:
        scope[name]()


def prints(source: str, given: str) -> str:
    """Run a script on what it reads; return what it prints."""
    output = io.StringIO()
    sys.stdin = io.StringIO(given)
    with contextlib.redirect_stdout(output):
        exec(compile(source, "script", "exec"), {"__name__": "__main__"})  # noqa: S102 - as above
    return output.getvalue()


if __name__ == "__main__":
    main()
