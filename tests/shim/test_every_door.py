"""What every door does with every endpoint, whatever it is for: requests that cannot be answered are told so."""

import json
import random
from collections.abc import AsyncIterator

import httpx
import pytest
from jsonschema import Draft202012Validator

from shim.doors import DOORS
from shim.doors.door import Door, Endpoint
from tests.stack import open_doors, path_of, schema_of, smallest_body

ENDPOINTS = [(door, endpoint) for door in DOORS for endpoint in door.endpoints]
BODIES = [(door, endpoint) for door, endpoint in ENDPOINTS if endpoint.body is not None]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WRONG = ({"wrong": []}, [[]], "wrong", True)
PIECE = 4096  # bytes of one piece of a chunked body
LIMIT = 100_000  # bytes of a body, in this file's doors


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of this file from one event loop, so that the doors are built once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def clients(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    limits = {"max_body_bytes": LIMIT, "max_sync_body_bytes": LIMIT}
    async with open_doors(DOORS, tmp_path_factory.mktemp("home"), **limits) as clients:
        yield clients


@pytest.fixture
def client(door: Door, clients: dict[str, httpx.AsyncClient]) -> httpx.AsyncClient:
    return clients[door.name]


every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
every_endpoint = pytest.mark.parametrize(
    ("door", "endpoint"), ENDPOINTS, ids=[f"{door.name}-{e.method}-{e.path}" for door, e in ENDPOINTS]
)
every_body = pytest.mark.parametrize(
    ("door", "endpoint"), BODIES, ids=[f"{door.name}-{e.method}-{e.path}" for door, e in BODIES]
)


def assert_refused(response: httpx.Response, door: Door, status: int) -> None:
    """Check that *response* is an error of *status* in the envelope of *door*, and leaks nothing of our insides."""
    assert response.status_code == status, response.text
    door.error.model_validate_json(response.content, strict=True)
    assert "Traceback" not in response.text
    assert ".py" not in response.text


@every_door
@pytest.mark.parametrize("method", METHODS)
async def test_an_unknown_path_is_a_404(door: Door, method: str, client: httpx.AsyncClient) -> None:
    response = await client.request(method, "/no/such/path", content=b"not even JSON")
    assert_refused(response, door, 404)
    assert "/no/such/path" in response.text


@every_endpoint
async def test_a_wrong_method_is_a_405_that_tells_the_right_one(
    door: Door, endpoint: Endpoint, client: httpx.AsyncClient
) -> None:
    known = {e.method for e in door.endpoints if e.path == endpoint.path}
    for method in sorted(set(METHODS) - known):
        response = await client.request(method, path_of(endpoint))
        assert_refused(response, door, 405)
        assert known <= set(response.headers["allow"].split(", "))


@every_door
@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/openapi.json", "/metrics"])
async def test_the_pages_of_a_door_refuse_other_methods_in_its_envelope(
    door: Door, path: str, client: httpx.AsyncClient
) -> None:
    response = await client.post(path, json={})
    assert_refused(response, door, 405)
    assert "GET" in response.headers["allow"]


@every_body
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"a": 1,}',
        b'{"a": "\xff\xfe"}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"[" * 50_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda raw: repr(raw[:12]),
)
async def test_a_body_that_is_not_json_is_a_400(
    door: Door, endpoint: Endpoint, raw: bytes, client: httpx.AsyncClient
) -> None:
    response = await client.request(endpoint.method, path_of(endpoint), content=raw)
    assert_refused(response, door, 400)


@every_body
@pytest.mark.parametrize("value", [None, True, 7, 1.5, "text", [], [{}]], ids=repr)
async def test_a_body_that_is_no_object_is_a_400(
    door: Door, endpoint: Endpoint, value: object, client: httpx.AsyncClient
) -> None:
    response = await client.request(endpoint.method, path_of(endpoint), content=json.dumps(value))
    assert_refused(response, door, 400)


def answered_status(endpoint: Endpoint) -> int:
    """Return the status of a body that is right: what a path names is not here, as nothing was made before."""
    return 404 if "{" in endpoint.path else 200


@every_body
async def test_the_smallest_body_is_answered(endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    response = await client.request(endpoint.method, path_of(endpoint), json=smallest_body(endpoint))
    assert response.status_code == answered_status(endpoint), response.text


@every_body
async def test_a_missing_field_is_named(door: Door, endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    body = smallest_body(endpoint)
    for name in body:
        rest = {other: value for other, value in body.items() if other != name}
        response = await client.request(endpoint.method, path_of(endpoint), json=rest)
        assert_refused(response, door, 400)
        assert param_of(response) == name


@every_body
async def test_a_field_of_a_wrong_type_is_named(door: Door, endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    schema, body = schema_of(endpoint), smallest_body(endpoint)
    for name, field in schema["properties"].items():
        accepts = Draft202012Validator({**field, "$defs": schema.get("$defs", {})})
        wrong = next(value for value in WRONG if not accepts.is_valid(value))
        response = await client.request(endpoint.method, path_of(endpoint), json={**body, name: wrong})
        assert_refused(response, door, 400)
        assert param_of(response).split(".")[0] == name


@every_body
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "-" + "9" * 400, "-1", "0"])
async def test_no_number_breaks_a_door(door: Door, endpoint: Endpoint, number: str, client: httpx.AsyncClient) -> None:
    body = json.dumps(smallest_body(endpoint))[:-1]
    for name in schema_of(endpoint)["properties"]:
        raw = f'{body}, "{name}": {number}}}'
        response = await client.request(endpoint.method, path_of(endpoint), content=raw)
        if response.status_code != answered_status(endpoint):
            assert_refused(response, door, 400)


@every_body
@pytest.mark.parametrize("encoding", ["with-length", "chunked"])
async def test_a_body_beyond_the_limit_is_a_413(
    door: Door, endpoint: Endpoint, encoding: str, client: httpx.AsyncClient
) -> None:
    smallest = json.dumps(smallest_body(endpoint)).encode()
    for n_bytes, is_refused in ((LIMIT, False), (LIMIT + 1, True)):
        raw = smallest + b" " * (n_bytes - len(smallest))
        content = pieces(raw) if encoding == "chunked" else raw
        response = await client.request(endpoint.method, path_of(endpoint), content=content)
        if is_refused:
            assert_refused(response, door, 413)
            assert str(LIMIT) in response.text
        else:
            assert response.status_code == answered_status(endpoint)


@every_endpoint
async def test_head_answers_like_get_without_a_body(endpoint: Endpoint, client: httpx.AsyncClient) -> None:
    if endpoint.method != "GET":
        return
    got = await client.get(path_of(endpoint))
    head = await client.head(path_of(endpoint))
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


@every_door
async def test_two_hundred_pieces_of_garbage_are_never_a_5xx(door: Door, client: httpx.AsyncClient) -> None:
    dice = random.Random(door.name)  # noqa: S311 - the same garbage every time
    for _ in range(200):
        endpoint = dice.choice(door.endpoints)
        path = dice.choice([path_of(endpoint), path_of(endpoint) + dice.choice(["/", "//", "%00", "/../..", "?a=%ff"])])
        method = dice.choice([endpoint.method, *METHODS])
        response = await client.request(method, path, content=garbage(dice, endpoint))
        assert response.status_code < 500 or response.status_code == 501, (method, path, response.text)


def garbage(dice: random.Random, endpoint: Endpoint) -> bytes:
    """Make a body that is almost one: a random value in a field, a cut, a flipped byte, or noise."""
    if endpoint.body is None or dice.random() < 0.2:
        return dice.randbytes(dice.randrange(64))
    body = smallest_body(endpoint)
    for name in dice.sample(list(schema_of(endpoint)["properties"]), 2 if len(body) > 1 else 1):
        body[name] = dice.choice(
            [None, -1, 0, 2**63, 1e308, "", "\u0000", "🙂" * 9, [], [None], {}, {"": {}}, [[["x"]]]]
        )
    raw = bytearray(json.dumps(body).encode())
    if dice.random() < 0.3:
        raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw[: dice.randrange(len(raw))] if dice.random() < 0.2 else raw)


def param_of(response: httpx.Response) -> str:
    body = response.json()
    return str(body.get("error", body)["param"])


async def pieces(raw: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), PIECE):
        yield raw[start : start + PIECE]
