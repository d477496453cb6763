"""One hostile program and what must become of it: plain data, and the few lines that many programs begin with.

A program prints a token itself when its attack was refused as it should be: `BLOCKED name`. An attack that never
happened (a failed import, a typo) is then a failed test and not a quiet pass. In a source these words stand for what
the host has: CANARY_PID, HOST_PORT, HOST_ABSTRACT, HOST_SOCKET, HOST_FILE.
"""

import json
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from sandbox.types import ExecutionResult, Verdict

STDOUT_CHARS = 4000
STDERR_CHARS = 2000
MESSAGE_CHARS = 500

TRY = """
import ctypes, errno, os, socket, sys, time
def attempt(name, action, *codes):
    try:
        action()
    except OSError as error:
        print("BLOCKED" if error.errno in codes else f"OTHER {error!r}", name, flush=True)
    else:
        print("ESCAPED", name, flush=True)
libc = ctypes.CDLL(None, use_errno=True)
def raw(number, *args):
    if libc.syscall(ctypes.c_long(number), *args) == -1:
        raise OSError(ctypes.get_errno(), f"call {number}")
"""

C_TRY = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void attempt(const char *name, long result, int wanted)
{
    if (result != -1)
        printf("ESCAPED %s\\n", name);
    else if (errno == wanted)
        printf("BLOCKED %s\\n", name);
    else
        printf("OTHER %s %s\\n", name, strerror(errno));
    fflush(stdout);
}
"""


def blocked(*names: str) -> tuple[str, ...]:
    """Return the lines that say these attacks were refused."""
    return tuple(f"BLOCKED {name}" for name in names)


@dataclass(frozen=True)
class Program:
    """One request and what must come back. `expect` are whole lines of its output."""

    code: str
    expect: tuple[str, ...]
    language: str = "python"
    verdict: Verdict | tuple[Verdict, ...] = Verdict.OK
    timeout_s: float = 5.0
    exit_code: int | None = None  # None: not compared
    error_type: str | None = None  # None: not compared
    never: str | None = None  # a text that must not be in the output
    stdin: str = ""
    files: dict[str, str] = field(default_factory=dict)
    test_code: str | None = None
    trust: str | None = None  # None: not compared


def python(code: str, expect: tuple[str, ...], **fields: object) -> Program:
    """Return a Python program that begins with `attempt` and `raw`."""
    return Program(TRY + textwrap.dedent(code), expect, **fields)  # type: ignore[arg-type]


def c(body: str, expect: tuple[str, ...], *, above: str = "", **fields: object) -> Program:
    """Return a C program whose `main` has this body; `above` stands before it."""
    code = f"{C_TRY}{textwrap.dedent(above)}\nint main(void)\n{{\n{textwrap.dedent(body)}\n    return 0;\n}}\n"
    return Program(code, expect, language="c", **fields)  # type: ignore[arg-type]


def bash(code: str, expect: tuple[str, ...], **fields: object) -> Program:
    """Return a program for bash."""
    return Program(textwrap.dedent(code), expect, language="bash", **fields)  # type: ignore[arg-type]


def faults(program: Program, result: ExecutionResult) -> list[str]:
    """Return what is wrong with a result, in words; nothing when it is as it must be."""
    lines = result.stdout.splitlines()
    if program.test_code is not None:  # some suites keep what a candidate prints for themselves
        lines += result.stderr.splitlines()
    verdicts = program.verdict if isinstance(program.verdict, tuple) else (program.verdict,)
    checks: list[tuple[bool, str]] = [
        *((line in lines, f"it did not print {line!r}") for line in program.expect),
        *((False, f"it printed {line!r}") for line in lines if line.startswith(("ESCAPED", "OTHER"))),
        (program.never is None or program.never not in result.stdout, f"it printed {program.never!r}"),
        (result.verdict in verdicts, f"the verdict is {result.verdict}"),
        (program.exit_code in (None, result.exit_code), f"the status is {result.exit_code}"),
        (program.error_type in (None, result.error_type), f"the error is {result.error_type}"),
        (program.trust in (None, result.result_trust), f"the result is {result.result_trust}"),
        (result.success == (result.verdict == Verdict.OK), "success and verdict differ"),
        (result.success or bool(result.error_type and result.error_message), "a failure without a reason"),
        (len(result.stdout) <= STDOUT_CHARS, "its output was not cut"),
        (len(result.stderr) <= STDERR_CHARS, "its errors were not cut"),
        (len(result.error_message or "") <= MESSAGE_CHARS, "its message was not cut"),
        (result.isolation != "none", "it ran without walls"),
        (_travels(result), "the result cannot be sent as UTF-8"),
    ]
    found = [text for is_right, text in checks if not is_right]
    return [f"{'; '.join(found)}: {result}"[:3000]] if found else []


def _travels(result: ExecutionResult) -> bool:
    try:
        json.dumps(asdict(result), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


Act = Callable[..., list[str]]
"""Something that one request cannot show; gets the `Host`, returns what went wrong."""


@dataclass(frozen=True)
class Case:
    """One line of the table. Its programs run one after the other, or `together`; then `act`, if there is one."""

    number: str
    title: str
    programs: tuple[Program, ...] = ()
    together: bool = False
    act: Act | None = None
    limit_s: float = 20.0  # of the test

    @property
    def name(self) -> str:
        """What a test of it is called."""
        return f"{self.number}-{self.title.replace(' ', '-')}"
