"""A client of streamed completions that costs little: one connection a request, bytes looked at once.

It notes when the first text came and when the last, and how many tokens there were by the server's own count. The
fields that are asked for are OpenAI's; what a server knows beyond them is in its peer's `body`.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

DATA = b"data:"
LINE_BYTES = 1 << 20  # longest line of an answer


class RefusedError(Exception):
    """Raised when a server answers with an error; the message has it."""


@dataclass(frozen=True)
class Sample:
    """One answered request."""

    first_s: float  # from sending to the first text
    total_s: float  # to the end
    n_tokens: int


async def stream(url: str, body: dict[str, Any], *, n_expected: int) -> Sample:
    """Ask and read to the end.

    Args:
        url: of the endpoint.
        body: with `stream` true.
        n_expected: tokens counted where the server reports no usage and says that the length was reached.
    """
    started_s = time.perf_counter()
    first_s, n_pieces, usage, reason = None, 0, None, None
    async for event in events(url, body):
        if "error" in event:
            raise RefusedError(f"{url} answered {event}")
        for choice in event.get("choices", ()):
            text = choice.get("text") or choice.get("delta", {}).get("content")
            reason = choice.get("finish_reason") or reason
            if text:
                n_pieces += 1
                first_s = first_s or time.perf_counter() - started_s
        usage = event.get("usage") or usage
    total_s = time.perf_counter() - started_s
    n_tokens = usage["completion_tokens"] if usage else n_expected if reason == "length" else n_pieces
    return Sample(first_s or total_s, total_s, n_tokens)


async def gather(asks: list[Coroutine[Any, Any, Sample]]) -> tuple[list[Sample], float]:
    """Ask all at once; give the samples and the seconds until the last was done."""
    started_s = time.perf_counter()
    samples = await asyncio.gather(*asks)
    return list(samples), time.perf_counter() - started_s


async def get_status(url: str) -> int:
    """Give the status of a GET, 0 while nothing listens."""
    try:
        reader, writer = await _open(url, "GET", b"")
    except OSError:
        return 0
    try:
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except OSError:
        return 0
    finally:
        writer.close()


async def events(url: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Post, and give the data of each event of the answer."""
    reader, writer = await _open(url, "POST", json.dumps(body).encode())
    try:
        status = int((await reader.readline()).split()[1])
        is_chunked = False
        while (line := await reader.readline()) not in (b"\r\n", b""):
            is_chunked |= line.lower().startswith(b"transfer-encoding: chunked")
        if status != 200:  # noqa: PLR2004 - HTTP's word for well
            raise RefusedError(f"{url} answered {status}: {(await reader.read(2000)).decode('utf-8', 'replace')}")
        async for line in _lines(reader, is_chunked=is_chunked):
            data = line.removeprefix(DATA).strip()
            if line.startswith(DATA) and data != b"[DONE]":
                yield json.loads(data)
    finally:
        writer.close()


async def _open(url: str, method: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=LINE_BYTES)
    head = (
        f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return reader, writer


async def _lines(reader: asyncio.StreamReader, *, is_chunked: bool) -> AsyncIterator[bytes]:
    held = b""
    while data := await _piece(reader, is_chunked=is_chunked):
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            yield line


async def _piece(reader: asyncio.StreamReader, *, is_chunked: bool) -> bytes:
    if not is_chunked:
        return await reader.read(1 << 16)
    size = int((await reader.readline()).split(b";")[0] or b"0", 16)
    data = await reader.readexactly(size)
    await reader.readline()
    return data
