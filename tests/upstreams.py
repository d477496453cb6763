"""Servers of remote models for tests, over real sockets on ports of the system's choice.

`RawUpstream` answers each request with bytes that the test wrote, and can die, wait or talk nonsense between any two of
them. `EngineUpstream` serves any `Engine` with the endpoints of llama-server that the remote engine uses, through
uvicorn in a thread of its own; it is the other half of the contract suite.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mcp_server.engine.types import (
    Delta,
    EmbeddingRequest,
    Engine,
    GenerationRequest,
    Message,
    RerankRequest,
    SamplingParams,
    TokenizeRequest,
    TokenLogprob,
)
from mcp_server.errors import CinqueError

EVENTS = "text/event-stream"
STATUS = {"model_not_found": 404, "not_supported": 501, "queue_full": 429, "internal_error": 500}


@dataclass(frozen=True)
class Received:
    """One request that a server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Wait:
    """A pause of an answer, until the test sets `go` or the client leaves."""

    go: asyncio.Event = field(default_factory=asyncio.Event)


CUT = object()  # the connection is reset here
Part = bytes | Wait | object
Answer = Sequence[Part]


def answer(document: Any, status: int = 200, kind: str = "application/json") -> Answer:
    """A whole answer."""
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head.encode() + body,)


def stream(*parts: dict[str, Any] | str | Part, done: bool = True) -> Answer:
    """A streamed answer: each dictionary or text is one event, whatever else is as in an `Answer`."""
    pieces: list[Part] = [f"HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()]
    events = (*parts, "[DONE]") if done else parts
    pieces += [_event(part) if isinstance(part, (dict, str)) else part for part in events]
    return (*pieces, b"0\r\n\r\n") if CUT not in parts else pieces


def _event(data: dict[str, Any] | str) -> bytes:
    event = f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def chunk(text: str = "", finish: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    """One chunk of a chat completion."""
    content = {"content": text} if text else {}
    return {"choices": [{"index": index, "delta": content | delta, "finish_reason": finish}]}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """The chunk with the usage."""
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion} | more}


class RawUpstream:
    """Answers by script: a list of answers to play in order, the last one again and again, or a function."""

    def __init__(self, *answers: Answer, choose: Callable[[Received], Answer] | None = None) -> None:
        self.received: list[Received] = []
        self.left = asyncio.Event()  # a client went away in the middle of an answer
        self.waiting = asyncio.Event()  # a `Wait` was reached
        self.url = ""
        self.writers: set[asyncio.StreamWriter] = set()
        self._answers = answers
        self._choose = choose or self._play

    def _play(self, _: Received) -> Answer:
        return self._answers[min(len(self.received), len(self._answers)) - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while (received := await _read(reader)) is not None:
                self.received.append(received)
                for part in self._choose(received):
                    if part is CUT:
                        return
                    if isinstance(part, Wait):
                        self.waiting.set()
                        if not await self._until(part.go, reader):
                            return
                    elif isinstance(part, bytes):
                        writer.write(part)
                        await writer.drain()
        except ConnectionError:
            self.left.set()
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _until(self, go: asyncio.Event, reader: asyncio.StreamReader) -> bool:
        """Wait for the test; False when the client leaves first."""
        going, leaving = asyncio.ensure_future(go.wait()), asyncio.ensure_future(reader.read(1))
        _, undone = await asyncio.wait((going, leaving), return_when=asyncio.FIRST_COMPLETED)
        for task in undone:
            task.cancel()
        await asyncio.gather(*undone, return_exceptions=True)
        if not going.done():
            self.left.set()
        return going.done()


async def _read(reader: asyncio.StreamReader) -> Received | None:
    """Read one request; None when the client has gone."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, _ = first.split(" ")
    return Received(method, path, headers, json.loads(body) if body else {})


@asynccontextmanager
async def listening(upstream: RawUpstream) -> AsyncIterator[RawUpstream]:
    """Let an upstream listen."""
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        for writer in tuple(upstream.writers):
            writer.transport.abort()
        await server.wait_closed()


def unused_url() -> str:
    """A URL where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


class EngineUpstream:
    """An engine behind the endpoints of llama-server."""

    def __init__(self, engine: Engine, context_tokens: int) -> None:
        self._engine = engine
        self._context_tokens = context_tokens
        posts = {
            "/v1/chat/completions": self._chat,
            "/v1/completions": self._complete,
            "/v1/embeddings": self._embed,
            "/v1/rerank": self._rerank,
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
            "/apply-template": self._render,
        }
        routes = [Route(path, self._guarded(handler), methods=["POST"]) for path, handler in posts.items()]
        self.app = Starlette(routes=[*routes, Route("/v1/models", self._models), Route("/props", self._props)])

    def _guarded(self, handler: Callable[[dict[str, Any]], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                body = await request.json()
                if body.get("stream"):
                    return _Events(lambda: handler(body))
                return JSONResponse(await handler(body))
            except CinqueError as error:
                return JSONResponse({"error": _error(error)}, STATUS.get(error.code, 400))

        return endpoint

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": "scripted"}]})

    async def _props(self, _: Request) -> Response:
        return JSONResponse({"default_generation_settings": {"n_ctx": self._context_tokens}, "total_slots": 8})

    async def _chat(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        messages = tuple(Message(message["role"], message["content"]) for message in body["messages"])
        return self._generate(GenerationRequest(messages, n=body.get("n", 1), sampling=_sampling(body)))

    async def _complete(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        return self._generate(GenerationRequest(prompt=body["prompt"], n=body.get("n", 1), sampling=_sampling(body)))

    async def _generate(self, request: GenerationRequest) -> AsyncIterator[dict[str, Any]]:
        """Generate in a task of its own, whose deltas are given one by one."""
        deltas: asyncio.Queue[tuple[Delta, ...]] = asyncio.Queue(1)
        running = asyncio.ensure_future(self._engine.generate(request, deltas.put))
        try:
            while not running.done() or not deltas.empty():
                getting = asyncio.ensure_future(deltas.get())
                await asyncio.wait((running, getting), return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    for delta in getting.result():
                        yield _chunk(delta)
                else:
                    getting.cancel()
            result = running.result()
        finally:
            running.cancel()
        for completion in result.completions:
            yield chunk(finish=completion.finish_reason, index=completion.index)
        yield usage(result.usage.prompt_tokens, result.usage.completion_tokens)

    async def _embed(self, body: dict[str, Any]) -> Any:
        result = await self._engine.embed(EmbeddingRequest(tuple(body["input"])))
        data = [{"index": i, "embedding": list(vector)} for i, vector in enumerate(result.embeddings)]
        return {"data": data[::-1], "usage": {"prompt_tokens": result.usage.prompt_tokens}}

    async def _rerank(self, body: dict[str, Any]) -> Any:
        result = await self._engine.rerank(RerankRequest(body["query"], tuple(body["documents"])))
        results = [{"index": i, "relevance_score": score} for i, score in enumerate(result.scores)]
        return {"results": sorted(results, key=lambda item: -item["relevance_score"])}

    async def _tokenize(self, body: dict[str, Any]) -> Any:
        result = await self._engine.tokenize(TokenizeRequest(body["content"], return_pieces=True))
        if not body["with_pieces"]:
            return {"tokens": result.tokens}
        pieces = zip(result.tokens, result.pieces or (), strict=True)
        return {"tokens": [{"id": token, "piece": bytes(piece).decode()} for token, piece in pieces]}

    async def _detokenize(self, body: dict[str, Any]) -> Any:
        return {"content": (await self._engine.detokenize(tuple(body["tokens"]))).text}

    async def _render(self, body: dict[str, Any]) -> Any:
        messages = tuple(Message(message["role"], message["content"]) for message in body["messages"])
        return {"prompt": (await self._engine.render(GenerationRequest(messages))).prompt}


def _sampling(body: dict[str, Any]) -> SamplingParams:
    return SamplingParams(
        max_tokens=body.get("max_tokens"),
        stop=tuple(body.get("stop", ())),
        n_logprobs=body.get("top_logprobs") if body.get("logprobs") else None,
    )


def _chunk(delta: Delta) -> dict[str, Any]:
    made = chunk(delta.text, index=delta.index)
    made["choices"][0]["logprobs"] = {"content": [_logprob(entry) for entry in delta.logprobs]}
    return made


def _logprob(entry: TokenLogprob) -> dict[str, Any]:
    top = [{"id": t.token_id, "token": t.token, "logprob": t.logprob, "bytes": list(t.bytes_)} for t in entry.top]
    own = {"id": entry.token_id, "token": entry.token, "logprob": entry.logprob, "bytes": list(entry.bytes_)}
    return own | {"top_logprobs": top}


def _error(error: CinqueError) -> dict[str, Any]:
    return {"message": error.message, "code": error.code, "type": "invalid_request_error", "param": error.param}


class _Events(Response):
    """A stream whose generation ends when the client leaves."""

    def __init__(self, start: Callable[[], Awaitable[AsyncIterator[dict[str, Any]]]]) -> None:
        super().__init__()
        self._start = start

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        del scope
        async with anyio.create_task_group() as group:
            group.start_soon(self._leave, receive, group.cancel_scope)
            await self._send(send)
            group.cancel_scope.cancel()

    async def _leave(self, receive: Any, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _send(self, send: Any) -> None:
        head = {"type": "http.response.start", "headers": [(b"content-type", EVENTS.encode())]}
        has_begun = False
        events = await self._start()
        try:
            async for event in events:
                if not has_begun:
                    await send(head | {"status": 200})
                    has_begun = True
                await send({"type": "http.response.body", "body": _data(event), "more_body": True})
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        except CinqueError as error:
            if not has_begun:
                await send(head | {"status": STATUS.get(error.code, 400)})
            body = json.dumps({"error": _error(error)}).encode()
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n" if has_begun else body})
        finally:
            await events.aclose()  # type: ignore[attr-defined]  # a generator, whose task must end now


def _data(event: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


class _PromptServer(uvicorn.Server):
    """Ends when told, where uvicorn looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_over = threading.Event()

    async def main_loop(self) -> None:
        await asyncio.to_thread(self.is_over.wait)


@contextmanager
def serving(upstream: EngineUpstream) -> Any:
    """Serve in a thread; give the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(upstream.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = _PromptServer(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        listener.listen()
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.is_over.set()
            thread.join()


ASK = GenerationRequest((Message("user", "hello"),), sampling=SamplingParams(temperature=0))
HELLO = stream(chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage(5, 2))


def gone() -> RawUpstream:
    """A server that nobody started."""
    upstream = RawUpstream()
    upstream.url = unused_url()
    return upstream


def collector() -> tuple[list[Delta], Any]:
    seen: list[Delta] = []

    async def on_delta(deltas: tuple[Delta, ...]) -> None:
        seen.extend(deltas)

    return seen, on_delta
