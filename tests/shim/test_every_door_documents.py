"""What every door publishes of itself: its OpenAPI document, its page, and its metrics."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from shim.doors import DOORS
from shim.doors.door import Door
from tests.stack import closed_door, open_doors

pytestmark = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of this file from one event loop, so that the doors are built once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def clients(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    async with open_doors(DOORS, tmp_path_factory.mktemp("home")) as clients:
        yield clients


@pytest.fixture
def client(door: Door, clients: dict[str, httpx.AsyncClient]) -> httpx.AsyncClient:
    return clients[door.name]


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value for name, value in attrs if name in {"src", "href"} and value]


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value for sample in found}


async def test_the_document_is_valid_openapi(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


async def test_the_document_covers_every_endpoint(door: Door, client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    published = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (endpoint.method, re.sub(r":\w+\}", "}", path))
        for endpoint in door.endpoints
        for path in (endpoint.path, *endpoint.aliases)
    }
    assert published == served


async def test_every_operation_is_described_with_its_body_and_its_answer(door: Door, client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for endpoint in door.endpoints:
        operation = document["paths"][re.sub(r":\w+\}", "}", endpoint.path)][endpoint.method.lower()]
        assert operation["summary"]
        assert operation["description"]
        assert ("requestBody" in operation) == (endpoint.body is not None)
        assert operation["responses"]["200"]["content"]
        assert operation["responses"]["default"]["content"]["application/json"]["schema"]


async def test_every_reference_of_the_document_resolves_and_every_schema_is_used(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references(document)} == set(schemas)


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        return {part["$ref"]} if "$ref" in part else set().union(*map(references, part.values()), set())
    return set().union(*map(references, part), set()) if isinstance(part, list) else set()


async def test_the_page_loads_nothing_from_another_machine(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "://" not in page.text
    links = Links()
    links.feed(page.text)
    assert len(links.found) >= 3
    for link in links.found:
        assert not urlsplit(link).netloc
        assert not link.startswith("/"), "a path from the root would miss a door that is mounted under its name"
        loaded = await client.get(urljoin("/docs", link))
        assert loaded.status_code == 200
        assert loaded.content


async def test_the_page_starts_with_the_document_of_its_own_door(client: httpx.AsyncClient) -> None:
    script = await client.get("/docs/start.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert 'url: "openapi.json"' in script.text


async def test_metrics_count_requests_by_route_and_not_by_path(door: Door, client: httpx.AsyncClient) -> None:
    for path in ("/nothing/here", "/nothing/there", "/docs", "/docs"):
        await client.get(path)
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    counted = samples(response.text, "cinque_http_requests_total")
    assert counted[(door.name, "unmatched", "404")] >= 2
    assert counted[(door.name, "/docs", "200")] >= 2
    assert not [labels for labels in counted if "/nothing" in labels[1]]
    assert samples(response.text, "cinque_http_request_duration_seconds_count")[(door.name, "/docs")] >= 2


async def test_metrics_count_ids_in_paths_as_one_route(door: Door, client: httpx.AsyncClient) -> None:
    endpoint = next((endpoint for endpoint in door.endpoints if "{" in endpoint.path), None)
    if endpoint is None:
        return
    for identifier in ("a", "b"):
        await client.request(endpoint.method, re.sub(r"\{.*?\}", identifier, endpoint.path))
    counted = samples((await client.get("/metrics")).text, "cinque_http_requests_total")
    assert sum(value for labels, value in counted.items() if labels[1] == endpoint.path) >= 2


async def test_metrics_tell_what_the_server_did(client: httpx.AsyncClient) -> None:
    text = (await client.get("/metrics")).text
    assert samples(text, "cinque_mcp_server_up") == {(): 1.0}
    assert samples(text, "cinque_engine_sequences_running") == {(): 0.0}
    assert samples(text, "cinque_gateway_calls_in_flight") == {(): 0.0}


async def test_metrics_are_there_while_the_server_is_down(door: Door) -> None:
    async with closed_door(door) as client:
        text = (await client.get("/metrics")).text
        assert samples(text, "cinque_mcp_server_up") == {(): 0.0}
        assert samples(text, "cinque_engine_sequences_running") == {}
