"""`cinque demo`: a coding question through the chat door, its answer through the sandbox door, and the verdict.

It is an ordinary HTTP client of two doors, opened on free ports for as long as it runs. An answer that no test
checked is reported as not verified, whatever it looks like. Where there are tests and the first answer fails them,
further candidates are drawn and run until one passes. The exit status is 0 when one passed or there were no tests,
else 1.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from mcp_server.telemetry import configure_logging
from shim.commands.demo_doors import Answer, DemoDoors, extract_code
from shim.commands.demo_tests import given_tests, stated_tests, with_checks
from shim.commands.running import FAILED, run_async
from shim.doors import DOORS
from shim.errors import ApiError, CommandError
from shim.gateway import Gateway
from shim.serve import serve
from shim.settings import ShimSettings
from shim.supervisor import joining_command

TIMEOUT_S = 300.0  # a large model on a laptop thinks for minutes

QUESTION = "Write a Python function is_palindrome(s) that returns True if the string s is a palindrome."
TESTS = """\
def test_a_palindrome_reads_the_same_backwards():
    assert is_palindrome("level") is True
    assert is_palindrome("noon") is True

def test_another_word_does_not():
    assert is_palindrome("python") is False

def test_edges():
    assert is_palindrome("") is True
    assert is_palindrome("a") is True
"""


@dataclass(frozen=True)
class Task:
    """What is asked, and what decides."""

    question: str
    tests: str | None
    n_candidates: int  # answers that are tried at most, the first included


@dataclass(frozen=True)
class Candidate:
    """One answer and its run."""

    number: int  # from 1, the likeliest answer
    code: str
    result: dict[str, Any]  # of the sandbox door
    round_trip_s: float

    @property
    def has_passed(self) -> bool:
        """Whether its run succeeded."""
        return bool(self.result["success"])

    @property
    def counts(self) -> str:
        """The verdict in numbers."""
        result = self.result
        return f"{result['verdict']}, {result['tests_passed']} of {result['tests_run']} tests passed"


def run(options: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    configure_logging("ERROR")
    return run_async("demo", _demo, Console(), options)


async def _demo(console: Console, options: argparse.Namespace) -> int:
    task = _task(options)
    free_ports = ShimSettings(ports={door.name: 0 for door in DOORS}, single_port=None)
    async with anyio.create_task_group() as group:
        opened = await group.start(serve, free_ports, joining_command())
        urls = {door.door.name: door.url for door in opened.doors}
        headers = {"authorization": f"Bearer {free_ports.keys[0]}"} if free_ports.keys else {}
        async with httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers) as client:
            doors = DemoDoors(client, urls["atlas-proxy"], urls["atlas-sandbox"])
            await _greet(console, doors)
            await _tell_notice(console, opened.gateway)
            status = await DemoRun(console, doors, task).run()
        group.cancel_scope.cancel()
    return status


def _task(options: argparse.Namespace) -> Task:
    """Read what is asked and what decides; the prepared question has prepared tests."""
    if options.request is not None and not options.request.strip():
        msg = "the request has no text; write what the function shall do, or leave it out for the prepared question"
        raise CommandError(msg)
    tests = given_tests(options.tests, options.check)
    if tests is None:
        tests = TESTS if options.request is None else stated_tests(options.request)
    question = QUESTION if options.request is None else options.request
    return Task(with_checks(question, options.check), tests, options.candidates)


async def _greet(console: Console, doors: DemoDoors) -> None:
    """Say what works, as soon as it does."""
    with console.status("starting the doors, the engine and the sandbox ..."):
        started_s = time.perf_counter()
        health = await doors.health()
    works = ", ".join(f"{name} {'ready' if health[name] else 'off'}" for name in ("inference", "sandbox", "lens"))
    console.print(f"up after {time.perf_counter() - started_s:.1f} s: {works}", highlight=False)


async def _tell_notice(console: Console, gateway: Gateway) -> None:
    """Say what a person should know of the model that answers; no door has a member for that."""
    try:
        notice = (await gateway.status()).inference_notice
    except ApiError:  # the question will meet the same, and tell
        return
    if notice:
        console.print(Text(notice), soft_wrap=True)


class DemoRun:
    """One question from its answer to the verdict."""

    def __init__(self, console: Console, doors: DemoDoors, task: Task) -> None:
        self._console = console
        self._doors = doors
        self._task = task

    async def run(self) -> int:
        """Ask, run, tell; return the exit status."""
        answer = await self._answer()
        first = await self._executed(1, extract_code(answer.text))
        if self._task.tests is None:
            self._print_output(first)
            self._print_untested(first)
            self._print_timings(answer, first)
            return 0
        shown = first
        if not first.has_passed and self._task.n_candidates > 1:
            self._console.print(f"candidate 1: failed ({first.counts})", highlight=False)
            shown = await self._first_that_passes(first) or first
        self._print_output(shown)
        self._print_verdict(shown)
        self._print_timings(answer, shown)
        return 0 if shown.has_passed else FAILED

    async def _answer(self) -> Answer:
        console, task = self._console, self._task
        console.rule("question")
        console.print(Text(task.question))
        console.rule(f"answer, streamed from {self._doors.chat_url}/v1/chat/completions")
        answer = await self._doors.stream_answer(task.question, lambda text: console.out(text, end="", highlight=False))
        console.out("")
        if task.tests is not None:
            console.rule("tests")
            self._print_code(task.tests)
        console.rule(f"run by {self._doors.sandbox_url}/execute")
        return answer

    async def _first_that_passes(self, first: Candidate) -> Candidate | None:
        """Draw the other candidates and run them, until one passes; the same program is not run twice."""
        console, n_more = self._console, self._task.n_candidates - 1
        with console.status(f"asking for {n_more} more ..."):
            texts = await self._doors.draw(self._task.question, n_more)
        known = {first.code: first}
        for number, code in enumerate(map(extract_code, texts), 2):
            if code in known:
                console.print(f"candidate {number}: the same as candidate {known[code].number}", highlight=False)
                continue
            candidate = known[code] = await self._executed(number, code)
            word = "passed" if candidate.has_passed else "failed"
            console.print(f"candidate {number}: {word} ({candidate.counts})", highlight=False)
            if candidate.has_passed:
                console.rule(f"answer, candidate {number}")
                self._print_code(code)
                return candidate
        return None

    async def _executed(self, number: int, code: str) -> Candidate:
        started_s = time.perf_counter()
        result = await self._doors.execute(code, self._task.tests)
        return Candidate(number, code, result, time.perf_counter() - started_s)

    def _print_code(self, code: str) -> None:
        self._console.print(Syntax(code.rstrip(), "python", background_color="default"))

    def _print_output(self, candidate: Candidate) -> None:
        console, result = self._console, candidate.result
        for name in ("stdout", "stderr"):
            if result[name].strip():
                console.print(f"[dim]{name}[/dim]")
                console.out(result[name].rstrip(), highlight=False)
        if result["error_type"] is not None:
            console.print(Text(f"{result['error_type']}: {result['error_message']}"))

    def _print_untested(self, candidate: Candidate) -> None:
        ran = "it ran without an error" if candidate.has_passed and candidate.code.strip() else "it did not run"
        how = "give --check EXPRESSION or --tests FILE"
        self._console.print(f"verdict: [bold yellow]not verified[/] ({ran}, but no test checked it; {how})")

    def _print_verdict(self, candidate: Candidate) -> None:
        result, n = candidate.result, self._task.n_candidates
        how = f"isolation {result['isolation']}, result {result['result_trust'].replace('_', ' ')}"
        if not candidate.has_passed:
            tried = f"{n} candidates, none passed; " if n > 1 else ""
            verdict = f"[bold red]failed[/] ({candidate.counts}; {tried}{how})"
        elif candidate.number > 1:
            verdict = f"[bold green]passed[/] (candidate {candidate.number} of {n}): {candidate.counts}; {how}"
        else:
            verdict = f"[bold green]passed[/] ({candidate.counts}; {how})"
        self._console.print(f"verdict: {verdict}")

    def _print_timings(self, answer: Answer, candidate: Candidate) -> None:
        decode_s = max(answer.total_s - answer.first_token_s, 1e-9)
        self._console.rule("timings")
        self._console.print(
            f"{answer.model}: first token after {answer.first_token_s * 1000:.0f} ms, "
            f"{answer.n_tokens} tokens at {answer.n_tokens / decode_s:.0f} tokens/s; "
            f"run {candidate.result['execution_time_ms']} ms, "
            f"{candidate.round_trip_s * 1000:.0f} ms with its way there and back",
            highlight=False,
        )
