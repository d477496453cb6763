"""Two hundred kinds of nonsense at each door, over real sockets: no failure, no traceback, and the next request works.

A 501 is no failure: it says what this model or this server cannot do.

The nonsense is made from the door's own OpenAPI document and a fixed seed, so a failure can be repeated.
"""

import contextlib
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from mcp_server.contract import ErrorCode
from tests.live.processes import DOORS, Shim, poll_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

N_REQUESTS = 200
ANSWER_TIMEOUT_S = 30.0
METHODS = ("get", "post", "put", "patch", "delete", "options", "head")
MIB = 1 << 20
HUGE_BYTES = 100 * MIB
MAX_GROWTH_BYTES = 48 * MIB  # a refused body may cost its first 16 MiB, and copies of them for a moment

GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "atlas-proxy": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}),
    "atlas-lens": ("/internal/lens/gx-score", {"text": "x = 1"}),
    "atlas-llama": ("/completion", {"prompt": "a", "max_tokens": 1}),
    "atlas-sandbox": ("/syntax-check", {"code": "x = 1", "language": "python", "filename": "x.py"}),
}
"""A request of each door that must work."""

HOSTILE: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1e308,
        10**400,
        "",
        "\0",
        "x" * 70000,
        "\U0010ffff",
        "'; DROP TABLE x; --",
        "../../etc/passwd",
    ),
    *([], [[]], {}, {"": {}}, [None], {"$ref": "#"}, "NaN", -0.0, 2**63, ["a"] * 1000),
)
BROKEN_BODIES = (
    *(b"", b"{", b"null", b"[]", b'"x"', b"{}{}", b"\xff\xfe{}", b'{"code": "\xc3\x28"}', b'{"text": "\\ud800"}'),
    *(b"\0" * 100, b"[" * 100_000, b'{"a":' * 50_000, b"\xef\xbb\xbf{}", b'{"n": NaN}', b'{"n": 1e999999}', b"a=1&b=2"),
    *(b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', b'{"n": ' + b"9" * 10_000 + b"}"),
)
RAW = (
    *(b"\r\n\r\n", b"\0" * 1000, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health\r\n",
        b"SSH-2.0-x\r\n\r\n",
    ),
    b"GET / HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    b"GET /%00%ff%2e%2e/%2e%2e HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer \xff\xfe\r\nx-request-id: \x01\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: localhost\r\norigin: http://[\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: [::\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
)


def repr_short(value: bytes) -> str:
    """Name a test by the start of its body."""
    return repr(value[:20])


def document(http: httpx.Client) -> list[tuple[str, str, bool]]:
    """Return (method, path, has a body) of every operation of a door."""
    paths = http.get("/openapi.json").json()["paths"]
    return [
        (method, path.replace("{", "%7B").replace("}", "%7D"), "requestBody" in operation)
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]


def nonsense(http: httpx.Client, path: str, body: dict[str, Any], choose: random.Random) -> Iterator[httpx.Response]:
    """Send one piece of nonsense after the other, for as long as asked."""
    operations = document(http)
    bodied = [(method, path) for method, path, has_body in operations if has_body]
    while True:
        method, target = choose.choice(bodied)
        yield http.request(method, target, content=choose.choice(BROKEN_BODIES))
        yield http.request(method, target, content=json.dumps(choose.choice(HOSTILE)))
        spoilt = body | {choose.choice([*body, "unknown"]): choose.choice(HOSTILE)}
        yield http.post(path, content=json.dumps(spoilt | {"max_tokens": 1}))
        yield http.request(choose.choice(METHODS), choose.choice(operations)[1])
        yield http.request(
            choose.choice(METHODS), "/" + choose.choice(("%00", "x" * 5000, "..%2f..", "é", "v1//x?a=%ff"))
        )
        kind = choose.choice(("text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "nonsense"))
        yield http.post(path, content=b"\xff" * choose.randrange(100), headers={"content-type": kind})


def is_failure(response: httpx.Response) -> bool:
    """Say whether a door failed, rather than refused."""
    is_refusal = response.status_code == 501 and ErrorCode.NOT_SUPPORTED in response.text
    return response.status_code >= 500 and not is_refusal


@pytest.mark.parametrize("door", DOORS)
def test_nonsense_is_refused_and_the_door_goes_on(shim: Shim, door: str) -> None:
    path, body = GOOD[door]
    with httpx.Client(base_url=shim.urls[door], timeout=ANSWER_TIMEOUT_S) as http:
        requests = nonsense(http, path, body, random.Random(door))  # noqa: S311 - repeatable on purpose
        for _ in range(N_REQUESTS):
            response = next(requests)
            assert not is_failure(response), (response.request, response.request.content[:200], response.text)
            assert "Traceback" not in response.text
        for raw in RAW:
            answer = send_raw(shim.urls[door], raw)
            assert not answer.startswith(b"HTTP/1.1 5"), (raw[:200], answer)
            assert b"Traceback" not in answer
        assert http.post(path, json=body).status_code == 200


@pytest.mark.parametrize("body", [*BROKEN_BODIES, *(json.dumps(value).encode() for value in HOSTILE)], ids=repr_short)
def test_nonsense_is_refused_by_the_mcp_server_too(shim: Shim, body: bytes) -> None:
    accepts = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    with httpx.Client(base_url=shim.mcp_url, timeout=ANSWER_TIMEOUT_S, headers=accepts) as http:
        answers = [
            http.post("/mcp", content=body),
            http.post("/mcp", content=body, headers={"mcp-protocol-version": "2026-07-28"}),
            http.post("/mcp", content=body, headers={"mcp-session-id": "no such session"}),
            http.post("/messages/", content=body, params={"session_id": "no session"}),
            http.post("/messages/", content=body, params={"session_id": "0" * 32}),
        ]
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text


def test_the_mcp_server_refuses_foreign_hosts_raw_bytes_and_unknown_paths(shim: Shim) -> None:
    for path in ("/sse", "/mcp", "/messages/"):
        assert httpx.get(f"{shim.mcp_url}{path}", headers={"host": "example.com"}).status_code == 421
    assert httpx.get(f"{shim.mcp_url}/sse", headers={"origin": "http://example.com"}).status_code == 403
    assert httpx.get(f"{shim.mcp_url}/nothing").status_code == 404
    for raw in RAW:
        answer = send_raw(shim.mcp_url, raw)
        assert not answer.startswith(b"HTTP/1.1 5"), (raw[:200], answer)
        assert b"Traceback" not in answer
    assert httpx.get(f"{shim.mcp_url}/health").status_code == 200


def send_raw(url: str, data: bytes) -> bytes:
    """Send bytes and no more; return all that comes back."""
    answer = b""
    with socket.create_connection(split(url), timeout=ANSWER_TIMEOUT_S) as connection:
        # a server that has seen enough may close before it has read everything
        with contextlib.suppress(OSError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                answer += part
    return answer


def split(url: str) -> tuple[str, int]:
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    return address.hostname, address.port


@pytest.mark.parametrize("door", DOORS)
def test_bodies_that_never_end_cost_nothing(shim: Shim, door: str) -> None:
    path, body = GOOD[door]
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n".encode()
    with contextlib.ExitStack() as waiting:
        for _ in range(20):
            patient = waiting.enter_context(socket.create_connection(split(shim.urls[door])))
            patient.sendall(head + b'{"te')
        for _ in range(20):
            with socket.create_connection(split(shim.urls[door])) as impatient:
                impatient.sendall(head + b"{")
        assert httpx.post(f"{shim.urls[door]}{path}", json=body, timeout=ANSWER_TIMEOUT_S).status_code == 200


@pytest.mark.parametrize("door", DOORS)
def test_a_body_beyond_the_limit_is_refused_without_being_kept(shim: Shim, door: str) -> None:
    path, body = GOOD[door]
    before = resident_bytes(shim.child.pid, "VmRSS")
    Path(f"/proc/{shim.child.pid}/clear_refs").write_text("5")  # the peak is counted from here
    with httpx.Client(base_url=shim.urls[door], timeout=60) as http:
        sized = http.post(path, content=megabytes(), headers={"content-length": str(HUGE_BYTES)})
        chunked = http.post(path, content=megabytes())
        assert (sized.status_code, chunked.status_code) == (413, 413)
        assert http.post(path, json=body).status_code == 200
    assert resident_bytes(shim.child.pid, "VmHWM") - before < MAX_GROWTH_BYTES


def test_a_large_body_within_the_limit_is_not_kept_after_its_answer(shim: Shim) -> None:
    before = resident_bytes(shim.child.pid, "VmRSS")
    with httpx.Client(base_url=shim.urls["atlas-lens"], timeout=60) as http:
        for _ in range(3):
            assert http.post("/v1/projects/sync", content=megabytes()).status_code == 400
    poll_until(lambda: resident_bytes(shim.child.pid, "VmRSS") - before < HUGE_BYTES, ANSWER_TIMEOUT_S)


def megabytes() -> Iterator[bytes]:
    block = b"x" * MIB
    for _ in range(HUGE_BYTES // MIB):
        yield block


def resident_bytes(pid: int, field: str) -> int:
    """Read one of the sizes in /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{field}:"))) * 1024
