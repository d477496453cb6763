"""Run a program's tests: parse first, then apart from the program where that is possible, else beside it.

Apart means two jobs: the tests in one, the program in the other, plain data between them. The program then has
nothing to forge. What the tests turn out to need decides at run time: a value that cannot travel ends the attempt,
and the run is repeated in one process and labelled so. What passes there meets its twin (`inside/twins.py`).
"""

import socket
import threading
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sandbox.errors import ExecutionCancelledError, SandboxError
from sandbox.jobs import Job, Outcome, repeated
from sandbox.lint import RunsJobs
from sandbox.types import Limits, Verdict
from sandbox.verdict import Judgement, TestPlan, compile_failure, judge_tests, judge_twin

PARTNER_GRACE_S = 1.0  # how long a program may take to end after its tests have
MIN_REPEAT_S = 0.5  # a repeated run gets at least this much of the time limit
_FROM_PROGRAM = {"compile_error", "exception", "exited", "compiled"}  # records that an untrusted program may make
NOT_RUN = Outcome("exit", None, None, b"", b"", [], 0.0, None)  # of a program that was never started


@dataclass(frozen=True)
class TestRun:
    """One program and its tests, ready to run. `base` is the job that the runs are made from."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    isolation: RunsJobs
    base: Job  # of kind "tests", without a partner
    program_flavour: str
    cancelled: threading.Event | None
    twin_time_s: float  # that the second run of tests beside their program may take; 0 for none

    @property
    def limits(self) -> Limits:
        """The limits of each job."""
        return self.base.limits

    def judge(self, parse: Job) -> tuple[Judgement, Outcome]:
        """Parse, run and judge."""
        parsed = self.isolation.run(parse, self.cancelled)
        error = compile_error(parsed, parse.limits)
        if error is not None:
            return compile_failure(error), NOT_RUN
        unusable = parsed.find("tests_error")
        if unusable is not None:
            text = f"the tests do not compile: {compile_failure(unusable).error_message}"
            return Judgement(Verdict.COMPILE_ERROR, "TestSyntaxError", text), NOT_RUN
        record = parsed.find("plan")
        if record is None or not record["tests"]:
            text = "no tests were found in test_code: write def test_*, top-level asserts, or a call of a checker"
            return Judgement(Verdict.WRONG_ANSWER, "NoTestsFound", text), NOT_RUN
        plan = TestPlan(tuple(record["tests"]), record["needs_pytest"], frozenset(record["may_skip"]))
        base = replace(self.base, arguments={**self.base.arguments, "aliases": record["aliases"]})
        return replace(self, base=base).carry_out(plan, record["remote"], parsed.find("twin"))

    def carry_out(
        self, plan: TestPlan, remote: dict[str, Any] | None, twin: dict[str, Any] | None
    ) -> tuple[Judgement, Outcome]:
        """Run what was planned, apart if that is possible, and judge it."""
        limits = self.limits
        spent_s = 0.0
        if remote is not None and self.isolation.tier != "none":  # without walls two processes are not apart
            outcome = repeated(lambda: self._apart(remote))
            if outcome.find("opaque") is None:
                return judge_tests(outcome, limits, plan, "isolated"), outcome
            spent_s = outcome.wall_s
        left = replace(limits, time_s=max(MIN_REPEAT_S, limits.time_s - spent_s))
        outcome = self.isolation.run(replace(self.base, limits=left), self.cancelled)
        judgement = judge_tests(outcome, limits, plan, "in_process")
        time_s = min(self.twin_time_s, limits.time_s - spent_s - outcome.wall_s)
        if judgement.verdict is Verdict.OK and twin is not None and time_s > 0:
            judgement = judge_twin(judgement, self._run_twin(twin, time_s))
        return judgement, outcome

    def _run_twin(self, twin: dict[str, Any], time_s: float) -> Outcome:
        """Run the tests again, with random values where they say what they expect, in a job that has no others."""
        test_code = "".join(twin["lines"])
        arguments = {**self.base.arguments, "test_code": test_code, "twin": twin["nonces"]}
        job = replace(self.base, arguments=arguments, limits=replace(self.limits, time_s=time_s))
        return self.isolation.run(job, self.cancelled)

    def _apart(self, remote: dict[str, Any]) -> Outcome:
        """Run the tests in one job and the program in another; return what both did as one outcome."""
        ours, theirs = socket.socketpair()
        arguments = {**self.base.arguments, "remote": remote}
        tests = replace(self.base, arguments={**arguments, "files": {}}, stdin=b"", remote=ours)
        del arguments["test_code"]  # the program's job never sees the tests
        program = replace(
            self.base, kind="serve", flavour=self.program_flavour, arguments=arguments, remote=theirs, is_partner=True
        )
        partner = Partner(self.isolation, program, self.cancelled)
        with ours, theirs:
            partner.start()
            try:
                outcome = self.isolation.run(tests, self.cancelled)
            finally:
                beside = partner.finish()
        return merge(outcome, beside)


class _Runs(Protocol):
    """Whatever runs a job to its end."""

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run one job."""


class Partner(threading.Thread):
    """Runs the program's job while the calling thread runs the tests'."""

    def __init__(self, runner: _Runs, job: Job, cancelled: threading.Event | None) -> None:
        super().__init__(name="sandbox-partner")
        self._cancelled = cancelled
        self._runner = runner
        self._job = job
        self._over = threading.Event()
        self._outcome: Outcome | None = None
        self._error: SandboxError | None = None

    def run(self) -> None:
        """Run the job to its end."""
        try:
            self._outcome = self._runner.run(self._job, self._over)
        except SandboxError as error:
            self._error = error

    def finish(self) -> Outcome:
        """Return the program's outcome, killing it if it does not end by itself. Raises `SandboxError`."""
        if self._cancelled is None or not self._cancelled.is_set():
            self.join(PARTNER_GRACE_S)
        self._over.set()
        self.join()
        if self._outcome is not None:
            return self._outcome
        if self._error is None or isinstance(self._error, ExecutionCancelledError):
            return NOT_RUN
        raise self._error


def merge(tests: Outcome, program: Outcome) -> Outcome:
    """Return one outcome of a split run; of the program's records only those that can hurt nobody but itself."""
    ended_by = tests.ended_by
    if ended_by == "exit" and program.ended_by in {"memory", "output", "disk", "time"}:
        ended_by = program.ended_by
    own = [record for record in program.records if record["event"] in _FROM_PROGRAM]
    return Outcome(
        ended_by=ended_by,
        exit_code=tests.exit_code,
        signal=tests.signal or (None if program.ended_by == "cancelled" else program.signal),
        stdout=program.stdout + tests.stdout,
        stderr=program.stderr + tests.stderr,
        records=own + tests.records,
        wall_s=tests.wall_s,
        peak_bytes=max((peak for peak in (tests.peak_bytes, program.peak_bytes) if peak is not None), default=None),
    )


def compile_error(outcome: Outcome, limits: Limits) -> dict[str, Any] | None:
    """Return the record of a parse that failed, also when the parser itself did not survive the text."""
    error = outcome.find("compile_error")
    if error is not None or outcome.find("compiled") is not None:
        return error
    reason = f"took longer than {limits.time_s:g} s" if outcome.ended_by == "time" else "needed too much memory"
    return {"type": "SyntaxError", "message": f"the text could not be parsed: it {reason}", "line": None}
