"""The HTTP transports over ASGI, and the Unix socket by which stdio servers join a running one."""

import json
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from mcp_server import join
from mcp_server.app import build_server
from mcp_server.listening import PortInUseError
from mcp_server.settings import McpSettings
from mcp_server.stdio import serve_joiners
from mcp_server.transports import bind_http, http_app
from shim.settings import ShimSettings
from tests.stack import scripted_capabilities

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
MIN_BODY_BYTES = 64 * 1024 * 1024

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="joining needs Unix sockets")


@asynccontextmanager
async def http_client(home: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve both HTTP transports over ASGI, and give a client of them."""
    capabilities = scripted_capabilities(home)
    app = http_app(build_server(capabilities), McpSettings(home=home, **settings))
    try:
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8800") as client:
                yield client
    finally:
        capabilities.retrieval.close()


async def test_health_tells_who_serves(tmp_path: Path) -> None:
    async with http_client(tmp_path, api_key="key") as client:
        body = (await client.get("/health")).json()
        assert (body["status"], body["pid"]) == ("ok", os.getpid())


async def test_a_client_initializes_over_http(tmp_path: Path) -> None:
    async with http_client(tmp_path) as client:
        response = await client.post("/mcp", json=INITIALIZE, headers=HEADERS)
        assert response.status_code == 200
        assert '"protocolVersion"' in response.text


@pytest.mark.parametrize("path", ["/mcp", "/messages/?session_id=" + "0" * 32])
@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}], ids=str)
async def test_pages_of_foreign_sites_are_refused(path: str, headers: dict[str, str], tmp_path: Path) -> None:
    async with http_client(tmp_path) as client:
        response = await client.post(path, json=INITIALIZE, headers={**HEADERS, **headers})
        assert response.status_code in {403, 421}


@pytest.mark.parametrize("path", ["/sse", "/health"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": ""},
        {"host": "a@localhost"},
        {"host": "localhost/a"},
        {"origin": "https://evil.example"},
        {"origin": "http://localhost/a"},
        {"origin": "ftp://localhost:8800"},
    ],
    ids=str,
)
async def test_a_refusal_is_an_answer_and_no_traceback(path: str, headers: dict[str, str], tmp_path: Path) -> None:
    async with http_client(tmp_path) as client:  # whose transport raises what the app raises
        response = await client.get(path, headers=headers)
        assert response.status_code == (403 if "origin" in headers else 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8800", "127.0.0.1", "[::1]", "[::1]:8800"])
async def test_loopback_has_many_names(host: str, tmp_path: Path) -> None:
    async with http_client(tmp_path) as client:
        for origin in (f"http://{host}", "http://localhost:3000", "https://127.0.0.1"):
            headers = {**HEADERS, "host": host, "origin": origin}
            assert (await client.post("/mcp", json=INITIALIZE, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("entry", "host", "is_known"),
    [
        ("gpu.lan:*", "gpu.lan:8800", True),
        ("gpu.lan:*", "gpu.lan", True),
        ("GPU.lan", "gpu.lan:8800", True),
        ("gpu.lan:8800", "gpu.lan:8800", True),
        ("gpu.lan:8800", "gpu.lan:1", False),
        ("gpu.lan", "gpu.lan.evil.example", False),
    ],
)
async def test_a_host_of_the_settings_and_its_pages_are_let_in(
    entry: str,
    host: str,
    is_known: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    async with http_client(tmp_path, allowed_hosts=(entry,)) as client:
        for origin in ({}, {"origin": f"http://{host}"}, {"origin": f"https://{host}"}):
            headers = {**HEADERS, "host": host, **origin}
            response = await client.post("/mcp", json=INITIALIZE, headers=headers)
            assert response.status_code == (200 if is_known else 421)


@pytest.mark.parametrize("key", ["clé", "a\nb", " a", "a ", "\x7f"])
@pytest.mark.parametrize("settings", [McpSettings, ShimSettings])
def test_a_key_that_cannot_be_sent_is_refused_unseen(
    settings: type[BaseSettings], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CINQUE_API_KEY", key)
    with pytest.raises(ValidationError, match="CINQUE_API_KEY cannot be sent") as caught:
        settings()
    assert caught.value.errors()[0]["loc"] == ()


@pytest.mark.parametrize("given", ["", "Bearer wrong", "key", "Bearer key2", b"Bearer \xff"])
async def test_without_the_key_both_transports_are_a_401(given: str, tmp_path: Path) -> None:
    async with http_client(tmp_path, api_key="key") as client:
        for method, path in (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/"), ("GET", "/nothing")):
            response = await client.request(method, path, headers={**HEADERS, "authorization": given})
            assert response.status_code == 401


@pytest.mark.parametrize(
    "given", [{"authorization": "Bearer key"}, {"authorization": "bEARER  key"}, {"x-api-key": "key"}]
)
async def test_the_key_opens_the_transport(given: dict[str, str], tmp_path: Path) -> None:
    async with http_client(tmp_path, api_key="key") as client:
        headers = {**HEADERS, **given}
        assert (await client.post("/mcp", json=INITIALIZE, headers=headers)).status_code == 200


async def test_a_body_of_20_megabytes_is_taken(tmp_path: Path) -> None:
    """The SDK's own limit of 4 MiB would refuse a project."""
    padded = {**INITIALIZE, "params": {**INITIALIZE["params"], "_meta": {"padding": "x" * 20_000_000}}}
    async with http_client(tmp_path) as client:
        assert (await client.post("/mcp", json=padded, headers=HEADERS)).status_code == 200


def test_the_body_limit_cannot_be_set_below_a_project() -> None:
    assert McpSettings().max_body_bytes >= MIN_BODY_BYTES
    assert McpSettings(max_body_bytes=MIN_BODY_BYTES).max_body_bytes == MIN_BODY_BYTES
    with pytest.raises(ValidationError):
        McpSettings(max_body_bytes=MIN_BODY_BYTES - 1)


def test_a_port_in_use_is_told_with_the_setting() -> None:
    listener, url = bind_http(McpSettings(port=0))
    with listener:
        listener.listen()
        assert url == f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PortInUseError, match="CINQUE_MCP_PORT"):
            bind_http(McpSettings(port=listener.getsockname()[1]))


@dataclass
class Ide:
    """A program that speaks with a joined server over pipes, as over its stdin and stdout."""

    to_relay: int
    from_relay: int
    statuses: list[int] = field(default_factory=list)  # of the relay, once it ended

    def tell(self, message: dict[str, Any]) -> None:
        os.write(self.to_relay, json.dumps(message).encode() + b"\n")

    def leave(self) -> None:
        """Close the relay's stdin; the descriptor stays ours to close."""
        os.dup2(self.from_relay, self.to_relay)

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.tell(message)
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(self.from_relay, 1 << 16)
        return dict(json.loads(line))


@contextmanager
def relayed(connection: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ide]:
    """Relay *connection* with pipes in the place of this process's stdin and stdout, as under an IDE."""
    stdin_read, stdin_write = os.pipe()
    stdout_read, stdout_write = os.pipe()
    with os.fdopen(stdin_read) as stdin, os.fdopen(stdout_write, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        patch.setattr("sys.stdout", stdout)
        ide = Ide(stdin_write, stdout_read)
        relay = threading.Thread(target=lambda: ide.statuses.append(join.relay(connection)))
        relay.start()
        yield ide
        relay.join(5)
    os.close(stdin_write)
    os.close(stdout_read)


@asynccontextmanager
async def joinable(home: Path) -> AsyncIterator[anyio.CancelScope]:
    """Serve those who join at *home*; cancel the scope to stop."""
    capabilities = scripted_capabilities(home)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            await group.start(serve_joiners, build_server(capabilities), McpSettings(home=home))
            yield group.cancel_scope
            group.cancel_scope.cancel()
    capabilities.retrieval.close()


async def connect(home: Path) -> socket.socket:
    connection = await run_sync(join.connect, home)
    assert connection is not None
    return connection


async def test_a_joined_program_speaks_with_the_running_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with joinable(tmp_path):
        with relayed(await connect(tmp_path), monkeypatch) as ide:
            answer = await run_sync(ide.ask, INITIALIZE)
            assert answer["result"]["serverInfo"]["name"] == "cinque"
            ide.tell({"jsonrpc": "2.0", "method": "notifications/initialized"})
            text = "word " * 50_000  # more than a pipe or a socket holds
            call = {"name": "tokenize", "arguments": {"text": text}}
            answer = await run_sync(ide.ask, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
            assert answer["result"]["structuredContent"]["n_tokens"] == 50_001
            ide.leave()
    assert ide.statuses == [0]


async def test_the_end_of_the_server_ends_the_program_that_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with AsyncExitStack() as stack:
        scope = await stack.enter_async_context(joinable(tmp_path))
        with relayed(await connect(tmp_path), monkeypatch) as ide:
            await run_sync(ide.ask, INITIALIZE)
            scope.cancel()
            await stack.aclose()
    assert ide.statuses == [1]
    assert "has stopped" in capsys.readouterr().err


async def test_a_program_that_leaves_amid_its_answers_ends_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with joinable(tmp_path):
        leaver = await connect(tmp_path)
        questions = [INITIALIZE, *({"jsonrpc": "2.0", "id": 2 + i, "method": "tools/list"} for i in range(200))]
        await run_sync(leaver.sendall, b"".join(json.dumps(question).encode() + b"\n" for question in questions))
        await run_sync(leaver.recv, 1)  # answers are on their way
        leaver.close()
        await anyio.wait_all_tasks_blocked()
        await is_served(tmp_path)
    assert "joined" not in caplog.text


async def test_a_session_that_fails_is_told_and_ends_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with joinable(tmp_path):
        with monkeypatch.context() as patch:
            patch.setattr("mcp_server.stdio.LineReader", fail)
            with await connect(tmp_path) as failing:
                assert await run_sync(failing.recv, 1) == b""
        await is_served(tmp_path)
    assert "ZeroDivisionError" in caplog.text


async def is_served(home: Path) -> None:
    """Join and get an answer."""
    with await connect(home) as connection:
        await run_sync(connection.sendall, json.dumps(INITIALIZE).encode() + b"\n")
        assert await run_sync(connection.recv, 1) == b"{"


async def test_only_this_user_may_join(tmp_path: Path) -> None:
    async with joinable(tmp_path):
        path = join.socket_path(tmp_path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


def test_nobody_is_joined_where_nobody_serves(tmp_path: Path) -> None:
    assert join.connect(tmp_path) is None
    path = join.socket_path(tmp_path)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.exists()
    assert join.connect(tmp_path) is None
    assert join.connect(tmp_path / ("x" * 200)) is None


async def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = join.socket_path(tmp_path)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with joinable(tmp_path):
        (await connect(tmp_path)).close()


async def test_a_second_server_leaves_the_socket_alone_until_the_first_has_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = join.socket_path(tmp_path)
    async with joinable(tmp_path) as first:
        owned = path.stat().st_ino
        async with joinable(tmp_path):
            assert "another server" in caplog.text
            assert path.stat().st_ino == owned
            await is_served(tmp_path)
            first.cancel()
            while not path.exists() or path.stat().st_ino == owned:
                await anyio.lowlevel.checkpoint()
            await is_served(tmp_path)
        assert not path.exists()


async def test_a_home_too_deep_for_a_socket_is_served_without_joiners(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with joinable(tmp_path / ("x" * 200)):
        pass
    assert "nobody can join" in caplog.text
