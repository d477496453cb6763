"""Who gets in at every door, and what the log says of each request: ids, hosts, origins, keys."""

import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from mcp_server.telemetry import JsonLines
from shim.doors import DOORS
from shim.doors.door import Door
from tests.stack import closed_door

KEY = "correct horse"
PAGES = ("/health", "/docs", "/docs/start.js", "/openapi.json", "/metrics")
ORIGIN = "https://app.example"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}

pytestmark = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


def assert_refused(response: httpx.Response, door: Door, status: int) -> None:
    assert response.status_code == status, response.text
    door.error.model_validate_json(response.content, strict=True)


@pytest.fixture
def access_lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Read the access lines as an operator sees them."""
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonLines())

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in caplog.text.splitlines()]
        return [line for line in lines if line["logger"] == "cinque.access"]

    return read


async def test_each_request_gets_an_id_of_its_own(door: Door) -> None:
    async with closed_door(door) as client:
        ids = [(await client.get(path)).headers["x-request-id"] for path in ("/docs", "/docs", "/no/such/path")]
        assert len(set(ids)) == 3
        assert all(identifier.startswith("req_") for identifier in ids)


@pytest.mark.parametrize("identifier", ["a", "trace:1.2-3_4", "x" * 128])
async def test_a_harmless_id_of_the_caller_is_kept(door: Door, identifier: str) -> None:
    async with closed_door(door) as client:
        response = await client.get("/docs", headers={"x-request-id": identifier})
        assert response.headers.get_list("x-request-id") == [identifier]


@pytest.mark.parametrize("identifier", [b"", b"x" * 129, b'a"b', b"a b", b"a\x1b[31m", b"caf\xe9", "é".encode()])
async def test_another_id_of_the_caller_is_replaced(door: Door, identifier: bytes) -> None:
    async with closed_door(door) as client:
        response = await client.get("/docs", headers={b"x-request-id": identifier})
        assert response.headers["x-request-id"].startswith("req_")


async def test_each_request_is_one_line_with_its_id(door: Door, access_lines: Callable[[], Any]) -> None:
    async with closed_door(door) as client:
        await client.post("/no/such/path?secret=1", headers={"x-request-id": "mine"}, content=b"secret")
    (line,) = access_lines()
    assert line["request_id"] == "mine"
    expected = {"door": door.name, "method": "POST", "path": "/no/such/path", "status": 404, "level": "info"}
    assert line.items() >= expected.items()
    assert line["response_bytes"] > 0
    assert "secret" not in json.dumps(line)


async def test_a_refusal_at_the_guard_is_logged_too(door: Door, access_lines: Callable[[], Any]) -> None:
    async with closed_door(door) as client:
        await client.get("/health", headers={"host": "evil.example"})
    assert [line["status"] for line in access_lines()] == [403]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8090", "[::1]:8090", "[::1]"])
async def test_a_loopback_host_is_let_in(door: Door, host: str) -> None:
    async with closed_door(door) as client:
        assert (await client.get("/docs", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "a]b["]
)
@pytest.mark.parametrize("path", ["/health", "/docs", "/no/such/path"])
async def test_a_foreign_host_is_a_403(door: Door, host: str, path: str) -> None:
    async with closed_door(door) as client:
        assert_refused(await client.get(path, headers={"host": host}), door, 403)


@pytest.mark.parametrize("hosts", [("gpu.lan",), ("*",)])
async def test_a_host_of_the_settings_is_let_in(door: Door, hosts: tuple[str, ...]) -> None:
    async with closed_door(door, allowed_hosts=hosts) as client:
        assert (await client.get("/docs", headers={"host": "gpu.lan:8090"})).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null", "http://[", "junk"])
async def test_a_page_of_a_foreign_origin_is_a_403(door: Door, origin: str) -> None:
    async with closed_door(door) as client:
        assert_refused(await client.post("/no/such/path", headers={"origin": origin}), door, 403)


async def test_a_page_of_the_door_itself_may_call_it(door: Door) -> None:
    async with closed_door(door) as client:
        origin = f"http://localhost:{door.port}"
        assert (await client.get("/docs", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize("origins", [(ORIGIN,), ("*",)])
async def test_a_configured_origin_may_call(door: Door, origins: tuple[str, ...]) -> None:
    async with closed_door(door, cors_origins=origins) as client:
        preflight = await client.options("/no/such/path", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] in {ORIGIN, "*"}
        assert "x-request-id" in preflight.headers
        called = await client.get("/docs", headers={"origin": ORIGIN})
        assert called.headers["access-control-allow-origin"] in {ORIGIN, "*"}
        assert "x-request-id" in called.headers["access-control-expose-headers"].lower()


async def test_another_origin_gets_no_leave_from_a_preflight(door: Door) -> None:
    for settings in ({}, {"cors_origins": ("https://other.example",)}):
        async with closed_door(door, **settings) as client:
            preflight = await client.options("/no/such/path", headers=PREFLIGHT)
            assert "access-control-allow-origin" not in preflight.headers
            assert preflight.is_client_error


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": b"Bearer \xff"},
        {"x-api-key": "wrong"},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
    ],
    ids=str,
)
async def test_without_the_key_every_endpoint_is_a_401(door: Door, headers: dict[str, Any]) -> None:
    async with closed_door(door, api_key=KEY) as client:
        for path in [endpoint.path for endpoint in door.endpoints if not endpoint.is_open] + ["/no/such/path"]:
            assert_refused(await client.get(path, headers=headers), door, 401)


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"x-api-key": KEY}], ids=str
)
async def test_the_key_opens_the_door(door: Door, headers: dict[str, str]) -> None:
    async with closed_door(door, api_key=KEY) as client:
        assert_refused(await client.get("/no/such/path", headers=headers), door, 404)


async def test_health_and_documentation_need_no_key(door: Door) -> None:
    async with closed_door(door, api_key=KEY) as client:
        for path in PAGES:
            assert (await client.get(path)).status_code in {200, 503}, path
        assert_refused(await client.get("/docsecret"), door, 401)


async def test_with_a_key_the_host_does_not_matter(door: Door) -> None:
    async with closed_door(door, api_key=KEY, host="0.0.0.0") as client:  # noqa: S104 - the subject
        assert (await client.get("/docs", headers={"host": "gpu.lan"})).status_code == 200


async def test_two_doors_of_one_process_keep_their_ids_apart(door: Door, access_lines: Callable[[], Any]) -> None:
    async with closed_door(door) as one, closed_door(DOORS[0]) as other:
        await one.get("/docs", headers={"x-request-id": "one"})
        await other.get("/docs", headers={"x-request-id": "other"})
    assert [(line["request_id"], line["door"]) for line in access_lines()] == [
        ("one", door.name),
        ("other", DOORS[0].name),
    ]
