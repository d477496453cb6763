"""From what was observed to a verdict: limits and exit status first, then records, never the program's own text.

A tested run passes only if every test that its source text holds was reported once, passed, and the run reached its
end record. Anything less, whatever the exit status and however the output looks, is a failure that says why.
"""

import signal
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from sandbox.failures import OTHER, classify, named
from sandbox.jobs import Outcome
from sandbox.types import Limits, ResultTrust, Verdict

_STATUSES = {
    1: "some test failed",
    2: "interrupted",
    3: "an error inside it",
    4: "misused",
    5: "no tests were collected",
}


@dataclass(frozen=True)
class TestPlan:
    """Which tests a run must report, read from the tests' source before the candidate ran."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    tests: tuple[str, ...]
    collects: bool  # the run says which tests it found; it may be more than those, `name[case]` for each case
    may_skip: frozenset[str]


@dataclass(frozen=True)
class Judgement:
    """The part of a result that says whether the program was right, and if not, why."""

    verdict: Verdict
    error_type: str | None = None
    error_message: str | None = None
    compile_success: bool = True
    tests_run: int = 0
    tests_passed: int = 0
    result_trust: ResultTrust = "not_tested"


def compile_failure(record: dict[str, Any]) -> Judgement:
    """Return the judgement of a program that does not compile."""
    message = str(record["message"])
    if record["type"] != "SyntaxError":
        message = f"{record['type']}: {message}"
    if record["line"] is not None:
        message = f"Line {record['line']}: {message}"
    return Judgement(Verdict.COMPILE_ERROR, "SyntaxError", message, compile_success=False)


def limit_reached(outcome: Outcome, limits: Limits) -> Judgement | None:
    """Return the judgement of a program that a limit ended."""
    if outcome.ended_by == "time" or outcome.signal == signal.SIGXCPU:
        return Judgement(Verdict.TIME_LIMIT, "Timeout", f"Execution timed out after {limits.time_s:g}s")
    if outcome.ended_by == "memory":
        text = f"the program and its children used more than {limits.memory_bytes} bytes of memory"
        return Judgement(Verdict.MEMORY_LIMIT, "MemoryLimit", text)
    if outcome.ended_by == "output":
        text = f"the program wrote more than {limits.output_bytes} bytes of output"
        return Judgement(Verdict.OUTPUT_LIMIT, "OutputLimit", text)
    if outcome.ended_by == "disk":
        text = (
            f"the program wrote more than {limits.workspace_bytes} bytes of files, or more than {limits.n_files} files"
        )
        return Judgement(Verdict.OUTPUT_LIMIT, "DiskLimit", text)
    return None


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ended_badly(outcome: Outcome, limits: Limits) -> Judgement | None:
    """Return the judgement of a run that was stopped, did not compile, died, or raised outside a test."""
    stopped = limit_reached(outcome, limits)
    if stopped is not None:
        return stopped
    compile_error = outcome.find("compile_error")
    if compile_error is not None:
        return compile_failure(compile_error)
    if outcome.signal is not None:
        name = signal_name(outcome.signal)
        return Judgement(Verdict.SIGNALED, name, f"the program was ended by {name}")
    raised = outcome.find("exception") or outcome.find("harness_error")
    if raised is not None:
        kind = str(raised["type"])
        if kind == "MemoryError":
            text = f"the program asked for more than {limits.memory_bytes} bytes of memory"
            return Judgement(Verdict.MEMORY_LIMIT, "MemoryLimit", text)
        where = f" (line {raised['line']})" if raised.get("line") else ""
        message = f"{raised['message']}{where}" if raised["message"] else f"{kind}{where}"
        return Judgement(Verdict.RUNTIME_ERROR, named(kind, str(raised["message"])), message)
    return None


def written_class(outcome: Outcome) -> str:
    """Return the class of a failure that only the exit status tells, by what the program wrote about it."""
    return classify(outcome.stderr.decode("utf-8", "replace"), Verdict.RUNTIME_ERROR) or OTHER


def judge_program(outcome: Outcome, limits: Limits) -> Judgement:
    """Judge a program that was run without tests: it succeeded when it exited with status 0."""
    bad = _ended_badly(outcome, limits)
    if bad is not None:
        return bad
    if outcome.exit_code != 0:
        text = f"the program exited with status {outcome.exit_code}"
        return Judgement(Verdict.RUNTIME_ERROR, written_class(outcome), text)
    return Judgement(Verdict.OK)


def judge_tests(outcome: Outcome, limits: Limits, plan: TestPlan, trust: ResultTrust) -> Judgement:
    """Judge a program by its tests."""
    reported = [record for record in outcome.records if record["event"] == "test"]
    passed = sum(record["outcome"] == "passed" for record in reported)
    n_run = sum(record["outcome"] != "skipped" for record in reported)
    found = _ended_badly(outcome, limits) or _incomplete(outcome, reported, plan) or _first_failure(reported, plan)
    if found is None and n_run == 0:
        found = Judgement(Verdict.WRONG_ANSWER, "NoTestsRun", "every test was skipped, so nothing was checked")
    if found is None:
        found = Judgement(Verdict.OK)
    return Judgement(
        verdict=found.verdict,
        error_type=found.error_type,
        error_message=found.error_message,
        compile_success=found.compile_success,
        tests_run=n_run,
        tests_passed=passed,
        result_trust=trust if found.compile_success else "not_tested",
    )


def judge_twin(passed: Judgement, twin: Outcome) -> Judgement:
    """Judge a program that passed again, by its twin: the same tests with random values where they say what to expect.

    Only giving such a value says anything: the other tests of a twin may fail as they like, and need not end.
    """
    read = twin.find("read_expected")
    if read is None:
        return passed
    text = (
        "the program reads what its tests expect: run again with random values there, "
        f"it gave the one that nothing but the tests holds: {read['text']}"
    )
    return replace(passed, verdict=Verdict.WRONG_ANSWER, error_type="TestsTampered", error_message=text)


def _not_loaded(outcome: Outcome) -> Judgement | None:
    """Return why pytest found no tests to run, if the tests' module failed or skipped itself."""
    broken = outcome.find("collect_error")
    if broken is not None:
        return Judgement(Verdict.WRONG_ANSWER, "TestCollectionError", f"the tests do not load: {broken['message']}")
    skip = outcome.find("collect_skip")
    if skip is not None:
        text = f"the tests skipped themselves while they were loaded, so nothing was checked: {skip['message']}"
        return Judgement(Verdict.WRONG_ANSWER, "NoTestsRun", text)
    return None


def _incomplete(outcome: Outcome, reported: list[dict[str, Any]], plan: TestPlan) -> Judgement | None:
    """Return why the reports are not those of a whole and honest run, if they are not."""
    not_loaded = _not_loaded(outcome)
    if not_loaded is not None:
        return not_loaded
    if outcome.find("end") is None:
        left = outcome.find("exited")  # by itself, while it was loaded
        status = outcome.exit_code if left is None else left["status"]
        text = f"the program ended (status {status}) before its tests did: "
        return Judgement(
            Verdict.RUNTIME_ERROR, "TestsIncomplete", text + f"{len(reported)} of {len(plan.tests)} were reported"
        )
    failed = any(record["outcome"] == "failed" for record in reported)
    by_pytest = outcome.find("pytest_end")
    if by_pytest is not None and by_pytest["status"] != 0 and not failed:
        text = f"pytest ended with status {by_pytest['status']} though no test was reported as failed"
        return Judgement(Verdict.WRONG_ANSWER, "TestRunFailed", f"{text}: {_STATUSES.get(by_pytest['status'], '?')}")
    problem = _mismatch(outcome, [str(record["id"]) for record in reported], plan)
    if problem is not None:
        return Judgement(Verdict.WRONG_ANSWER, "TestsTampered", problem)
    if outcome.exit_code != 0 and not failed:
        text = f"every test was reported but the run exited with status {outcome.exit_code}"
        return Judgement(Verdict.WRONG_ANSWER, "TestsTampered", text)
    return None


def _mismatch(outcome: Outcome, reported: list[str], plan: TestPlan) -> str | None:
    if not plan.collects:
        if reported != list(plan.tests):
            return f"the reported tests ({len(reported)}) are not those of the source ({len(plan.tests)})"
        return None
    collected = outcome.find("collected")
    names = [str(name) for name in collected["tests"]] if collected is not None else []
    if Counter(names) != Counter(reported):
        return f"{len(names)} tests were collected but {len(reported)} reported"
    missing = set(plan.tests) - set(names) - {name.partition("[")[0] for name in names}
    if missing:
        return f"tests of the source were not run: {', '.join(sorted(missing)[:3])}"
    return None


def _is_tests_own_skip(record: dict[str, Any], plan: TestPlan) -> bool:
    """Tell whether a test was skipped by itself, or by a mark that its source has."""
    by_mark = record.get("by") == "mark" and str(record["id"]).partition("[")[0] in plan.may_skip
    return record["outcome"] == "skipped" and (record.get("by") == "tests" or by_mark)


def _first_failure(reported: list[dict[str, Any]], plan: TestPlan) -> Judgement | None:
    for record in reported:
        name = str(record["id"])
        if record["outcome"] == "passed":
            continue
        if _is_tests_own_skip(record, plan):
            continue
        kind = str(record["type"])
        message = f"{name}: {record['message']}" if record["message"] else f"{name}: {kind}"
        if kind == "ProgramEnded":
            return Judgement(Verdict.RUNTIME_ERROR, "TestsIncomplete", message)
        if record["outcome"] == "skipped":
            return Judgement(Verdict.WRONG_ANSWER, "TestSkipped", f"{message} (skipped, so it did not pass)")
        return Judgement(Verdict.WRONG_ANSWER, named(kind, str(record["message"])), message)
    return None
