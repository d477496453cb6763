"""What the demo asks of the two doors: an answer that streams, further candidates, and a run with tests.

An ordinary HTTP client, which knows URLs and documented JSON only.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from shim.errors import CommandError

SEED = 7  # the prepared question has one answer, today and tomorrow
MAX_TOKENS = 1024  # of an answer
VARIED = {"temperature": 0.7, "top_p": 0.95, "seed": SEED}  # candidates that differ, and the same ones every time

FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What the model wrote, and how long it took."""

    text: str
    model: str
    n_tokens: int
    first_token_s: float
    total_s: float


@dataclass(frozen=True)
class DemoDoors:
    """The chat door and the sandbox door."""

    client: httpx.AsyncClient
    chat_url: str
    sandbox_url: str

    async def health(self) -> dict[str, Any]:
        """Ask the chat door what works."""
        return _json(await self.client.get(f"{self.chat_url}/health"))

    async def stream_answer(self, question: str, on_text: Callable[[str], None]) -> Answer:
        """Ask for the likeliest answer; tell its text as it comes."""
        body = {
            **_question(question),
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            "seed": SEED,
        }
        started_s = time.perf_counter()
        first_s, parts, model, n_tokens = 0.0, [], "", 0
        async with self.client.stream("POST", f"{self.chat_url}/v1/chat/completions", json=body) as response:
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
                    on_text(text)
        return Answer("".join(parts), model, n_tokens, first_s, time.perf_counter() - started_s)

    async def draw(self, question: str, n: int) -> list[str]:
        """Ask for *n* further answers that differ."""
        body = {**_question(question), **VARIED, "n": n}
        response = await self.client.post(f"{self.chat_url}/v1/chat/completions", json=body)
        if response.is_error:
            raise CommandError(response.json()["error"]["message"])
        choices = sorted(response.json()["choices"], key=lambda choice: choice["index"])
        return [choice["message"]["content"] or "" for choice in choices]

    async def execute(self, code: str, tests: str | None) -> dict[str, Any]:
        """Run *code* with *tests*."""
        response = await self.client.post(f"{self.sandbox_url}/execute", json={"code": code, "test_code": tests})
        if response.is_error:
            raise CommandError(response.json()["detail"])
        return _json(response)


def extract_code(text: str) -> str:
    """Return the first fenced block of Python, else the first fenced block, else the whole text."""
    blocks = FENCE.findall(text)
    for language, block in blocks:
        if language.lower() in {"python", "py", "python3"}:
            return str(block)
    return str(blocks[0][1]) if blocks else text


def _question(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], "max_tokens": MAX_TOKENS}


def _json(response: httpx.Response) -> dict[str, Any]:
    parsed: dict[str, Any] = response.json()
    return parsed


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        data = line.removeprefix("data: ")
        if line.startswith("data: ") and data != "[DONE]":
            yield json.loads(data)
