"""The nouns of the sandbox: what is asked, what is allowed, what happened.

Frozen dataclasses without behaviour. They cross the MCP seam unchanged, so fields keep the names and units of the
documented sandbox API (ATLAS, `POST /execute`) and only ever gain members. Nothing here knows how a program is run.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Verdict(StrEnum):
    """How a run ended, in the words of the programming judges."""

    OK = "OK"
    WRONG_ANSWER = "WRONG_ANSWER"
    COMPILE_ERROR = "COMPILE_ERROR"
    RUNTIME_ERROR = "RUNTIME_ERROR"
    SIGNALED = "SIGNALED"
    TIME_LIMIT = "TIME_LIMIT"
    MEMORY_LIMIT = "MEMORY_LIMIT"
    OUTPUT_LIMIT = "OUTPUT_LIMIT"
    SANDBOX_ERROR = "SANDBOX_ERROR"


IsolationTier = Literal["namespaces", "bwrap", "landlock", "none"]
"""What separated the program from the host; see `sandbox/isolation.py` for what each covers."""

ResultTrust = Literal["isolated", "in_process", "not_tested"]
"""`isolated`: tests ran in another process than the candidate. `in_process`: beside it. `not_tested`: no tests."""


@dataclass(frozen=True)
class Limits:
    """What one program may use. Reaching a limit ends the program with the verdict named beside it."""

    time_s: float = 30.0  # TIME_LIMIT, wall clock
    memory_bytes: int = 512 * 1024 * 1024  # MEMORY_LIMIT, whole process tree
    output_bytes: int = 16 * 1024 * 1024  # OUTPUT_LIMIT, stdout and stderr together
    workspace_bytes: int = 64 * 1024 * 1024  # the program sees ENOSPC
    n_files: int = 4096  # inodes of the workspace; the program sees ENOSPC
    n_processes: int = 64  # the program sees EAGAIN
    n_open_files: int = 256  # the program sees EMFILE


@dataclass(frozen=True)
class ExecutionRequest:
    """One untrusted program, and optionally the tests that decide whether it is right."""

    code: str
    language: str = "python"
    test_code: str | None = None
    requirements: tuple[str, ...] = ()
    timeout_s: float | None = None  # None: the setting's default; capped by the setting's maximum
    stdin: str = ""
    files: dict[str, str] = field(default_factory=dict)  # relative path -> text, written beside the program
    lint: bool = True  # False: no lint_score, which saves some 50-100 ms


@dataclass(frozen=True)
class ExecutionResult:
    """What happened to one program. A program that fails is a result; only our own failure is an exception."""

    success: bool
    compile_success: bool
    tests_run: int
    tests_passed: int
    lint_score: float | None  # pylint's 0-10, Python only
    stdout: str  # last 4000 characters
    stderr: str  # last 2000 characters
    error_type: str | None
    error_message: str | None  # first 500 characters
    execution_time_ms: int
    verdict: Verdict
    exit_code: int | None  # None when a signal or a limit ended it
    isolation: IsolationTier
    result_trust: ResultTrust
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class SyntaxReport:
    """Whether source text parses. Nothing of it was executed."""

    valid: bool
    errors: tuple[str, ...]
    language: str
    check_time_ms: int


@dataclass(frozen=True)
class Language:
    """One language the sandbox knows, and the toolchain found for it."""

    name: str
    aliases: tuple[str, ...]
    version: str | None  # None: its toolchain is not installed


@dataclass(frozen=True)
class SandboxStatus:
    """What the sandbox can do on this machine, proved by its self-test."""

    isolation: IsolationTier
    ready: bool
    detail: str  # one sentence; when not ready, what to do
    n_running: int = 0
    n_waiting: int = 0
    n_executed: int = 0
    n_passed: int = 0
    n_failed: int = 0


FailureType = Literal[
    "syntax",
    "runtime",
    "type",
    "name",
    "index",
    "key",
    "value",
    "attribute",
    "import",
    "assertion",
    "timeout",
    "output_mismatch",
    "memory",
    "unknown",
    "none",
]
"""What kind of failure a run was, the same words for every language; `none` when it passed."""

Severity = Literal["low", "medium", "high", "critical"]
"""How much of the program is probably wrong: a name, a place, its structure, its approach."""


@dataclass(frozen=True)
class FailureReport:
    """What is known of one run that is to be explained. Facts (`verdict`, `error_type`) outweigh the texts."""

    code: str
    language: str = "python"
    stdout: str = ""
    stderr: str = ""
    passed: bool = False
    expected_output: str | None = None  # None: no output was expected in particular
    verdict: Verdict | None = None
    error_type: str | None = None
    error_message: str | None = None
    gx_score: float | None = None  # 0-1, the lens' probability that the code is correct; None: not known


@dataclass(frozen=True)
class TracebackFrame:
    """One call on the way to the error."""

    file: str
    line: int
    function: str  # "<module>" outside of any; empty when the text does not say
    code: str | None  # the line's text, where it is known


@dataclass(frozen=True)
class FailureAnalysis:
    """Why a run failed and what to do about it."""

    passed: bool
    failure_type: FailureType
    failure_line: int | None  # of the program's own text, from 1
    failure_message: str  # empty when it passed
    is_recoverable: bool  # whether a change at one place may mend it
    severity: Severity
    traceback_frames: tuple[TracebackFrame, ...]  # the call that failed is the last
    suggestion: str | None  # None when it passed
    repair_prompt: str  # for a model: program, error, expectation, one instruction; empty when it passed
    error_class: str | None  # as the language or the sandbox names it
