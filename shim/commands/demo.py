"""`cinque demo`: a coding question through the chat door, its answer through the sandbox door, and the verdict.

It is an ordinary HTTP client of two doors, opened on free ports for as long as it runs. An answer that no test
checked is reported as not verified, whatever it looks like. The exit status is 0 when the tests passed or there were
none, and 1 otherwise.
"""

import argparse
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from mcp_server.telemetry import configure_logging
from shim.commands.running import FAILED, run_async
from shim.doors import DOORS
from shim.errors import CommandError
from shim.serve import serve
from shim.settings import ShimSettings
from shim.supervisor import joining_command

TIMEOUT_S = 300.0  # a large model on a laptop thinks for minutes
SEED = 7  # the prepared question has one answer, today and tomorrow

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

FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What the model wrote, and how long it took."""

    text: str
    model: str
    n_tokens: int
    first_token_s: float
    total_s: float


def run(options: argparse.Namespace) -> int:
    """Run the demo and return its exit status."""
    configure_logging("ERROR")
    question = options.request or QUESTION
    return run_async("demo", _demo, Console(), question, options)


async def _demo(console: Console, question: str, options: argparse.Namespace) -> int:
    tests = _read_tests(options)
    free_ports = ShimSettings(ports={door.name: 0 for door in DOORS}, single_port=None)
    async with anyio.create_task_group() as group:
        opened = await group.start(serve, free_ports, joining_command())
        urls = {door.door.name: door.url for door in opened.doors}
        headers = {"authorization": f"Bearer {free_ports.keys[0]}"} if free_ports.keys else {}
        async with httpx.AsyncClient(timeout=TIMEOUT_S, headers=headers) as client:
            status = await _ask_and_run(console, client, urls, (question, tests))
        group.cancel_scope.cancel()
    return status


def _read_tests(options: argparse.Namespace) -> str | None:
    """Return the tests of the answer: the file's, or the prepared ones of the prepared question."""
    if options.tests is None:
        return TESTS if options.request is None else None
    try:
        return Path(options.tests).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the tests cannot be read from {options.tests}: {error}"
        raise CommandError(msg) from error


async def _ask_and_run(
    console: Console, client: httpx.AsyncClient, urls: dict[str, str], task: tuple[str, str | None]
) -> int:
    question, tests = task
    with console.status("starting the doors, the engine and the sandbox ..."):
        started_s = time.perf_counter()
        health = (await client.get(f"{urls['atlas-proxy']}/health")).json()
    console.print(f"up after {time.perf_counter() - started_s:.1f} s: {_what_works(health)}", highlight=False)
    console.rule("question")
    console.print(Text(question))
    console.rule(f"answer, streamed from {urls['atlas-proxy']}/v1/chat/completions")
    answer = await _stream_answer(console, client, urls["atlas-proxy"], question)
    code = extract_code(answer.text)
    if tests is not None:
        console.rule("tests")
        console.print(Syntax(tests.rstrip(), "python", background_color="default"))
    console.rule(f"run by {urls['atlas-sandbox']}/execute")
    started_s = time.perf_counter()
    result = await _execute(client, urls["atlas-sandbox"], code, tests)
    _print_verdict(console, result, tests, code)
    _print_timings(console, answer, result, time.perf_counter() - started_s)
    return 0 if tests is None or result["success"] else FAILED


def _what_works(health: dict[str, Any]) -> str:
    return ", ".join(f"{name} {'ready' if health[name] else 'off'}" for name in ("inference", "sandbox", "lens"))


async def _stream_answer(console: Console, client: httpx.AsyncClient, url: str, question: str) -> Answer:
    """Ask, print the text as it arrives, and return it."""
    body = {
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "seed": SEED,
        "max_tokens": 1024,
    }
    started_s = time.perf_counter()
    first_s, parts, model, n_tokens = 0.0, [], "", 0
    async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        if response.is_error:
            await response.aread()
            raise CommandError(response.json()["error"]["message"])
        async for event in _events(response):
            if "error" in event:
                raise CommandError(event["error"]["message"])
            first_s = first_s or time.perf_counter() - started_s
            model = event["model"]
            n_tokens = (event.get("usage") or {}).get("completion_tokens", n_tokens)
            for choice in event["choices"]:
                text = choice["delta"].get("content", "")
                parts.append(text)
                console.out(text, end="", highlight=False)
    console.out("")
    return Answer("".join(parts), model, n_tokens, first_s, time.perf_counter() - started_s)


async def _events(response: httpx.Response) -> Any:
    async for line in response.aiter_lines():
        data = line.removeprefix("data: ")
        if line.startswith("data: ") and data != "[DONE]":
            yield json.loads(data)


async def _execute(client: httpx.AsyncClient, url: str, code: str, tests: str | None) -> dict[str, Any]:
    response = await client.post(f"{url}/execute", json={"code": code, "test_code": tests})
    if response.is_error:
        raise CommandError(response.json()["detail"])
    result: dict[str, Any] = response.json()
    return result


def extract_code(text: str) -> str:
    """Return the first fenced block of Python, else the first fenced block, else the whole text."""
    blocks = FENCE.findall(text)
    for language, block in blocks:
        if language.lower() in {"python", "py", "python3"}:
            return str(block)
    return str(blocks[0][1]) if blocks else text


def _print_verdict(console: Console, result: dict[str, Any], tests: str | None, code: str) -> None:
    for name in ("stdout", "stderr"):
        if result[name].strip():
            console.print(f"[dim]{name}[/dim]")
            console.out(result[name].rstrip(), highlight=False)
    if result["error_type"] is not None:
        console.print(Text(f"{result['error_type']}: {result['error_message']}"))
    if tests is None:
        ran = "it ran without an error" if result["success"] and code.strip() else "it did not run"
        console.print(f"verdict: [bold yellow]not verified[/] ({ran}, but no test checked it; give --tests FILE)")
        return
    colour, word = ("green", "passed") if result["success"] else ("red", "failed")
    counts = f"{result['tests_passed']} of {result['tests_run']} tests passed"
    how = f"isolation {result['isolation']}, result {result['result_trust'].replace('_', ' ')}"
    console.print(f"verdict: [bold {colour}]{word}[/] ({result['verdict']}, {counts}; {how})")


def _print_timings(console: Console, answer: Answer, result: dict[str, Any], round_trip_s: float) -> None:
    decode_s = max(answer.total_s - answer.first_token_s, 1e-9)
    console.rule("timings")
    console.print(
        f"{answer.model}: first token after {answer.first_token_s * 1000:.0f} ms, "
        f"{answer.n_tokens} tokens at {answer.n_tokens / decode_s:.0f} tokens/s; "
        f"run {result['execution_time_ms']} ms, {round_trip_s * 1000:.0f} ms with its way there and back",
        highlight=False,
    )
