"""Tests of the languages that have tools: plan from text, build, run with a driver that reports, judge the reports.

The driver of each language lies in `suites/`. What it reports comes over a channel of its own, line by line signed
with a nonce, and is kept on this side; then the same judge as for Python decides. Where tests carry plain data, the
program runs in a job of its own and the tests' driver calls it through this side.
"""

import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from sandbox.builds import Build, Builder
from sandbox.compiled import build_failure, build_outcome, check, located
from sandbox.events import EventChannel
from sandbox.jobs import Job, Outcome, repeated
from sandbox.languages import Program
from sandbox.recipes import Recipe
from sandbox.suites import bash, clike, go, javascript, rust
from sandbox.suites.plans import Sources, SuiteError, SuitePlan
from sandbox.tested import MIN_REPEAT_S, NOT_RUN, Partner, merge
from sandbox.types import Limits, ResultTrust, Verdict
from sandbox.verdict import Judgement, TestPlan, compile_failure, judge_tests

SUITES: Mapping[str, Callable[[Sources], SuitePlan]] = MappingProxyType(
    {
        "javascript": javascript.plan,
        "typescript": javascript.plan_typescript,
        "go": go.plan,
        "rust": rust.plan,
        "c": clike.plan_c,
        "cpp": clike.plan_cpp,
        "bash": bash.plan,
    }
)
_PLACE = re.compile(
    r"^\s*(?:--> )?(?P<file>[^\s:]+\.(?:c|h|cpp|hpp|rs|go|ts)):(?P<line>\d+)(?::\d+)?(?=:|$)", re.MULTILINE
)
_LINK = re.compile(r"undefined (?:reference|symbol)")


class _NotBuiltError(Exception):
    """Raised when a build failed; what failed says why."""

    def __init__(self, build: Build) -> None:
        super().__init__("a build failed")
        self.build = build


@dataclass(frozen=True)
class DrivenTests:
    """One program and its tests on their way from source to judgement."""

    builder: Builder
    language: str  # a key of SUITES
    sources: Sources
    program: Program
    limits: Limits  # of the run
    stdin: bytes
    cancelled: threading.Event | None
    may_split: bool  # False without walls: two processes are not apart then

    def judge(self) -> tuple[Judgement, Outcome]:
        """Plan, build, run and judge; raises `ToolchainMissingError` and what running a job raises."""
        try:
            plan = SUITES[self.language](self.sources)
        except SuiteError as error:
            return Judgement(Verdict.WRONG_ANSWER, error.kind, error.message), NOT_RUN
        try:
            outcome, trust = repeated(lambda: self._run(plan))  # a job that reports has another end that waits for it
        except _NotBuiltError as error:
            return self._build_failure(error.build, plan), build_outcome(error.build)
        unusable = outcome.find("tests_error")
        if unusable is not None:
            text = f"the tests do not compile: {compile_failure(unusable).error_message}"
            return Judgement(Verdict.COMPILE_ERROR, "TestSyntaxError", text), outcome
        judgement = judge_tests(outcome, self.limits, TestPlan(plan.tests, plan.collects, plan.may_skip), trust)
        twin = outcome.find("twin_passed")
        if twin is not None and judgement.verdict is Verdict.OK:
            text = f"{twin['id']}: it holds, too, when another result is expected, so it proves nothing"
            n_passed = judgement.tests_passed - 1
            judgement = replace(
                judgement,
                verdict=Verdict.WRONG_ANSWER,
                error_type="TestsTampered",
                error_message=text,
                tests_passed=n_passed,
            )
        if plan.is_parsed_late and judgement.verdict in {Verdict.WRONG_ANSWER, Verdict.RUNTIME_ERROR}:
            files = {**self.sources.files, self.sources.source_name: self.sources.code}
            errors = check(self.builder, self.program, files, self.cancelled)
            if errors:
                text = located(errors[0])
                judgement = Judgement(Verdict.COMPILE_ERROR, errors[0].kind, text, compile_success=False)
        return judgement, outcome

    def _build_failure(self, build: Build, plan: SuitePlan) -> Judgement:
        """Tell a program that does not compile from tests that do not, alone or with this program."""
        failure = build_failure(build, self.builder.limits, self.program.errors)
        said = build.said()
        place = _PLACE.search(said)
        in_tests = place["file"].rpartition("/")[2] in plan.test_files if place else _LINK.search(said) is not None
        if not in_tests:
            return failure
        text = f"the tests do not compile with this program: {failure.error_message}"
        return Judgement(Verdict.COMPILE_ERROR, "TestCompileError", text)

    def _job(self, recipe: Recipe, limits: Limits, files: dict[str, str] | None = None) -> Job:
        """Build a recipe and return the job that runs it, with other files than the recipe's if they are given."""
        build = self.builder.build(recipe, None, self.cancelled)
        if not build.is_ok:
            raise _NotBuiltError(build)
        started = recipe if files is None else replace(recipe, files=files)
        return self.builder.command(started, build, limits, stdin=self.stdin)

    def _run(self, plan: SuitePlan) -> tuple[Outcome, ResultTrust]:
        limits = self.limits
        if plan.apart is not None and plan.beside is not None and self.may_split:
            outcome = self._apart(plan.apart, plan.beside)
            if outcome.find("opaque") is None:
                return outcome, "isolated"
            limits = replace(limits, time_s=max(MIN_REPEAT_S, limits.time_s - outcome.wall_s))
        job = self._job(plan.recipe, limits, None if plan.needs_sources else self.sources.files)
        return self._observed(job, None), "in_process"

    def _observed(self, job: Job, partner: socket.socket | None) -> Outcome:
        """Run a job with the channel on which its driver reports; return what happened with those reports."""
        with EventChannel(partner) as channel:
            outcome = self.builder.run(replace(job, remote=channel.job_end), self.cancelled)
        return replace(outcome, records=[*outcome.records, *channel.records])

    def _apart(self, program: Recipe, tests: Recipe) -> Outcome:
        """Run the tests in one job and the program in another; return what both did as one outcome."""
        served, testing = self._job(program, self.limits), replace(self._job(tests, self.limits), stdin=b"")
        ours, theirs = socket.socketpair()
        partner = Partner(self.builder, replace(served, remote=theirs, is_partner=True), self.cancelled)
        with ours, theirs:
            ours.sendall(b"\n")  # where a nonce would stand: this job reports nothing
            partner.start()
            try:
                outcome = self._observed(testing, ours)
            finally:
                ours.close()
                beside = partner.finish()
        return merge(outcome, beside)
