"""HTTP to the servers of one remote model: connections, keys, time limits, retries, and failures as our errors.

One client a server, so that a dead one takes no connection from the others. A request is tried again, on another
server where there is one, only when no connection came about: once something was sent, the server may be at work.
Closing a stream early, as cancelling does, closes its connection, which is how these servers learn of an abort.
"""

import json
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar

import anyio
import httpx

from mcp_server.engine.remote.answer import EventSplitter
from mcp_server.engine.remote.errors import ServerFailureError, UnreachableError, clip, refusal
from mcp_server.engine.remote.pool import Clock, Replica, ReplicaPool
from mcp_server.engine.remote.settings import RemoteModel, RemoteSettings
from mcp_server.errors import InvalidRequestError, QueueFullError, UpstreamError

T = TypeVar("T")
LEAST_ERROR = 300  # HTTP status; redirects are not followed, since they would carry the key elsewhere
MAX_ERROR_BYTES = 64 << 10  # of a refusal's body that are read
MAX_ANSWER_BYTES = 256 << 20  # of an answer that is not a stream: embeddings of a large batch
RETRY_DELAY_S = 0.05  # before the first further try at the same server; doubles
MODELS_PATH = "/v1/models"
JSON_HEADERS = {"Content-Type": "application/json"}


class Reader(Protocol):
    """What is told of one stream."""

    def begin(self) -> None:
        """Note that the request is about to be sent; again with a further try."""
        ...

    def receive(self, url: str, data: str) -> None:
        """Take the data of one event of the server at *url*; may raise `ValueError` or `CinqueError`."""
        ...

    def end(self, url: str) -> None:
        """Note that the stream is over; may raise as `receive`."""
        ...


class RemoteHttp:
    """Sends requests to whichever server of one model is best."""

    def __init__(self, model: RemoteModel, settings: RemoteSettings, clock: Clock) -> None:
        self._model = model
        self._settings = settings
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._places = anyio.Semaphore(settings.max_connections)
        self.n_waiting = 0
        self.pool = ReplicaPool(model, settings, self._probe, clock)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request and give its answer, a JSON object.

        Raises:
            CinqueError: as `stream`.
        """
        return await self._attempt(lambda replica: self._json(replica, "POST", path, body))

    async def get(self, path: str) -> dict[str, Any]:
        """Ask for a JSON object, within the time limit of a probe.

        Raises:
            CinqueError: as `stream`.
        """
        return await self._attempt(lambda replica: self._json(replica, "GET", path, None))

    async def stream(self, path: str, body: dict[str, Any], reader: Reader) -> None:
        """Send a request and hand over the data of every event as it arrives.

        Args:
            path: below the server's root, such as `/v1/completions`.
            body: of the request.
            reader: told what happens; its `ValueError` means that the server wrote nonsense.

        Raises:
            UpstreamError: The server cannot be reached, failed, or refused the key.
            CinqueError: The refusal of the request that it answered.
        """
        await self._attempt(lambda replica: self._stream(replica, path, body, reader))

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.aclose()

    async def _attempt(self, send: Callable[[Replica], Awaitable[T]]) -> T:
        """Send when there is a place, to the best server; again where no connection came about."""
        async with self._place():
            tried: set[str] = set()
            for n_tries in range(self._settings.connect_retries):
                replica = await self.pool.pick(tried)
                try:
                    with replica.asked():
                        return await send(replica)
                except UnreachableError:
                    tried.add(replica.url)
                    if not self.pool.is_usable:
                        raise
                if len(tried) == len(self.pool.replicas):
                    await anyio.sleep(RETRY_DELAY_S * 2**n_tries)
                    tried.clear()
            replica = await self.pool.pick(tried)
            with replica.asked():
                return await send(replica)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for one of the places for requests at once, unless too many wait already."""
        if self._places.value == 0 and self.n_waiting >= self._settings.max_waiting:
            msg = f"{self.n_waiting} requests wait for {self._model.model_id}, as many as may; try again later."
            raise QueueFullError(msg)
        self.n_waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.n_waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def _stream(self, replica: Replica, path: str, body: dict[str, Any], reader: Reader) -> None:
        async def read(response: httpx.Response) -> None:
            is_stream = "event-stream" in response.headers.get("content-type", "")
            splitter = EventSplitter()
            if is_stream:
                async for data in response.aiter_bytes():
                    for event in splitter.feed(data):
                        reader.receive(replica.url, event)
            else:  # a server that does not stream: its answer is one event
                reader.receive(replica.url, (await _read(response, MAX_ANSWER_BYTES)).decode("utf-8", "replace"))
            reader.end(replica.url)

        reader.begin()
        await self._exchange(replica, ("POST", path, body), read)

    async def _json(self, replica: Replica, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []

        async def read(response: httpx.Response) -> None:
            document = json.loads(await _read(response, MAX_ANSWER_BYTES))
            if not isinstance(document, dict):
                msg = "JSON that is no object"
                raise ValueError(msg)  # noqa: TRY004 - as malformed JSON
            answers.append(document)

        await self._exchange(replica, (method, path, body), read)
        return answers[0]

    async def _exchange(
        self,
        replica: Replica,
        asked: tuple[str, str, dict[str, Any] | None],
        read: Callable[[httpx.Response], Awaitable[None]],
    ) -> None:
        """Send one request to one server and have its answer read; turn every failure into one of ours."""
        method, path, body = asked
        url, name = endpoint(replica.url, path), f"{self._model.model_id} at {replica.url}"
        content, headers = _encode(body), self._headers()
        try:
            async with self._client(replica.url).stream(
                method, url, content=content, headers=headers, timeout=self._timeout(method)
            ) as response:
                if response.status_code >= LEAST_ERROR:
                    words = await _read(response, MAX_ERROR_BYTES)
                    raise refusal(self._model, replica.url, response.status_code, words)
                await read(response)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            msg = f"{name} cannot be reached ({_words(error)}). Start its server, or correct its URL in models.toml."
            raise UnreachableError(msg) from error
        except httpx.TimeoutException as error:
            msg = f"{name} was silent for too long ({_words(error)}); raise CINQUE_REMOTE_READ_TIMEOUT_S if it is slow."
            raise ServerFailureError(msg) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            msg = f"{name} broke off before its answer was whole ({_words(error)}). Its own log says why."
            raise ServerFailureError(msg) from error
        except ValueError as error:
            msg = f"{name} answered what cannot be read: {clip(str(error))}. Is it an OpenAI-compatible server?"
            raise ServerFailureError(msg) from error

    async def _probe(self, replica: Replica) -> None:
        await self._json(replica, "GET", MODELS_PATH, None)

    def _client(self, url: str) -> httpx.AsyncClient:
        if url not in self._clients:
            self._clients[url] = httpx.AsyncClient(
                verify=_tls(),
                trust_env=not is_loopback(url),  # a proxy of the environment cannot reach a server on this machine
                limits=httpx.Limits(
                    max_connections=None,  # places are given out above, where waiting is counted
                    max_keepalive_connections=self._settings.max_connections,
                    keepalive_expiry=self._settings.keepalive_s,
                ),
            )
        return self._clients[url]

    def _timeout(self, method: str) -> httpx.Timeout:
        s = self._settings
        if method == "GET":
            return httpx.Timeout(s.probe_timeout_s)
        return httpx.Timeout(connect=s.connect_timeout_s, read=s.read_timeout_s, write=s.write_timeout_s, pool=None)

    def _headers(self) -> dict[str, str]:
        """Give the header with the key, read anew for each request, so that a changed one needs no restart."""
        variable = self._model.api_key_env
        if variable is None:
            return JSON_HEADERS
        key = os.environ.get(variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            msg = f"The key of {self._model.model_id} is expected in the environment variable {variable}; set it there."
            raise UpstreamError(msg)
        return {**JSON_HEADERS, "Authorization": f"Bearer {key}"}


def endpoint(url: str, path: str) -> str:
    """Put a path behind a server's URL, which may end in /v1 or in the root of another API.

    A path that begins with /v1 belongs to the API; another one to the server itself.
    """
    root = url.rstrip("/")
    if root.endswith("/v1"):
        return root.removesuffix("/v1") + path
    is_api_root = httpx.URL(root).path not in ("", "/")
    return root + (path.removeprefix("/v1") if is_api_root else path)


def is_loopback(url: str) -> bool:
    """Tell whether a URL is of this machine."""
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _encode(body: dict[str, Any] | None) -> bytes | None:
    """Write a body; half a surrogate pair becomes a question mark.

    Raises:
        InvalidRequestError: A number in it is not finite, which JSON cannot say.
    """
    if body is None:
        return None
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        msg = "A number of the request is not finite; send a finite one."
        raise InvalidRequestError(msg, param="sampling") from error
    return text.encode("utf-8", "replace")


async def _read(response: httpx.Response, most: int) -> bytes:
    """Read a body, but no more than the limit and the block that passes it."""
    parts, n_bytes = [], 0
    async for data in response.aiter_bytes():
        parts.append(data)
        n_bytes += len(data)
        if n_bytes > most:
            break
    return b"".join(parts)


def _words(error: Exception) -> str:
    return clip(str(error)) or type(error).__name__


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Give the one TLS context: reading the certificates costs more than a request."""
    return httpx.create_ssl_context()
