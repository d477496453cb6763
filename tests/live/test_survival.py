"""What is left when a process dies: kill -9 of the MCP server, of the shim, and an orderly end.

The doors outlive the MCP server; nothing outlives the shim.
"""

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mcp_server import listening
from tests.live.processes import END_TIMEOUT_S, Family, Shim, kill, poll_until, serving

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

ENDLESS: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "grammar": "root ::= [a-z ] root"}
SHORT: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
LOOP = {"code": "while True: pass", "timeout": 60}


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    """A server whose MCP server is killed again and again."""
    with serving(tmp_path_factory.mktemp("mortal-home")) as shim:
        yield shim


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        yield client


def kill_the_mcp_server(shim: Shim) -> None:
    n_starts = len(shim.child.events("mcp server is up"))
    with Family.of(shim.mcp_pid) as family:
        assert len(family) > 1, "the sandbox has processes of its own, which must end too"
        kill(shim.mcp_pid)
        family.wait_until_ended()
    shim.child.wait_for_event("mcp server is up", n_starts + 1)


def test_a_stream_ends_with_the_error_in_the_envelope_of_the_door(mortal: Shim, http: httpx.Client) -> None:
    with http.stream("POST", f"{mortal.proxy}/v1/chat/completions", json=ENDLESS | {"stream": True}) as response:
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line)
        assert json.loads(next(lines))["choices"]
        kill_the_mcp_server(mortal)
        *_, failure, done = lines
    assert json.loads(failure)["error"]["code"] == "backend_unavailable"
    assert done == "[DONE]"
    assert http.post(f"{mortal.proxy}/v1/chat/completions", json=SHORT).status_code == 200


def test_calls_in_flight_are_503s_with_retry_after_and_the_next_ones_work(mortal: Shim, http: httpx.Client) -> None:
    assert http.get(f"{mortal.sandbox}/health").json()["status"] == "healthy"
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(httpx.post, f"{mortal.sandbox}/execute", json=LOOP, timeout=60)
        poll_until(lambda: mortal.metric("cinque_sandbox_jobs_running") == 1, END_TIMEOUT_S)
        answering = pool.submit(httpx.post, f"{mortal.proxy}/v1/chat/completions", json=ENDLESS, timeout=60)
        poll_until(lambda: mortal.metric("cinque_engine_sequences_running") == 1, END_TIMEOUT_S)
        kill_the_mcp_server(mortal)
        refusals = [running.result(), answering.result()]
    for refusal in refusals:
        assert refusal.status_code == 503
        assert int(refusal.headers["retry-after"]) >= 1
    assert refusals[0].json()["code"] == "backend_unavailable"
    assert refusals[1].json()["error"]["code"] == "backend_unavailable"
    assert http.post(f"{mortal.proxy}/v1/chat/completions", json=SHORT).status_code == 200
    assert http.post(f"{mortal.sandbox}/execute", json={"code": "print(1)"}).json()["stdout"] == "1\n"


def busy(shim: Shim, http: httpx.Client) -> Family:
    """Let the server start all that it starts; return all its processes."""
    assert http.post(f"{shim.proxy}/v1/chat/completions", json=SHORT).status_code == 200
    assert http.post(f"{shim.sandbox}/execute", json={"code": "x = 1", "test_code": "assert x == 1"}).json()["success"]
    return Family.of(shim.child.pid)


def assert_ports_are_free(shim: Shim) -> None:
    for port in shim.ports:
        listening.bind("127.0.0.1", port, name="a test", setting="nothing").close()


def test_nothing_outlives_a_killed_shim(tmp_path: Path, http: httpx.Client) -> None:
    with serving(tmp_path) as shim, busy(shim, http) as family:
        assert len(family) > 3, "shim, MCP server and the sandbox's zygotes"
        kill(shim.child.pid)
        assert shim.child.wait() == -signal.SIGKILL
        family.wait_until_ended()
        assert_ports_are_free(shim)


def test_ctrl_c_ends_everything_in_order_whatever_is_under_way(tmp_path: Path, http: httpx.Client) -> None:
    with serving(tmp_path) as shim, ThreadPoolExecutor(2) as pool, ExitStack() as waiting:
        uploading = waiting.enter_context(connection(shim.proxy))
        uploading.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{")
        subscribed = waiting.enter_context(connection(shim.mcp_url))
        subscribed.sendall(f"GET /sse HTTP/1.1\r\nhost: {urlsplit(shim.mcp_url).netloc}\r\n\r\n".encode())
        assert b"200 OK" in subscribed.recv(1 << 16)
        busy(shim, http).__exit__()
        running = pool.submit(httpx.post, f"{shim.sandbox}/execute", json=LOOP, timeout=60)
        poll_until(lambda: shim.metric("cinque_sandbox_jobs_running") == 1, END_TIMEOUT_S)
        stream = ENDLESS | {"stream": True}
        streaming = pool.submit(httpx.post, f"{shim.proxy}/v1/chat/completions", json=stream, timeout=60)
        poll_until(lambda: shim.metric("cinque_engine_sequences_running") == 1, END_TIMEOUT_S)
        assert shim.child.interrupt() == 0
        for pending in (streaming, running):
            assert pending.exception() is None or isinstance(pending.exception(), httpx.RemoteProtocolError)
        assert b" 503 " in uploading.recv(1 << 16)
        assert "traceback" not in shim.child.stderr.lower()
        assert_ports_are_free(shim)


def connection(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=END_TIMEOUT_S)
