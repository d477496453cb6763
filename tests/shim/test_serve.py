"""Every door on its port, over real sockets; the MCP server behind them is a process that never answers."""

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from pydantic import ValidationError

from mcp_server.listening import PortInUseError
from mcp_server.serve import run as run_mcp_server
from shim.doors import DOORS
from shim.errors import CommandError
from shim.serve import Opened, _app, serve
from shim.settings import ShimSettings
from shim.supervisor import ChildSettingsError
from tests.stack import shim_settings

NEVER_ANSWERS = (sys.executable, "-S", "-c", "import sys; sys.stdin.read()")
REFUSES_ITS_SETTINGS = (sys.executable, "-S", "-c", "raise SystemExit(2)")
FREE_PORTS = {door.name: 0 for door in DOORS}

pytestmark = pytest.mark.usefixtures("restored_logging")


@asynccontextmanager
async def served(settings: ShimSettings) -> AsyncIterator[Opened]:
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            yield await group.start(serve, settings, NEVER_ANSWERS)
            group.cancel_scope.cancel()


async def fail_to_serve(settings: ShimSettings, command: tuple[str, ...] = NEVER_ANSWERS) -> None:
    async with anyio.create_task_group() as group:
        await group.start(serve, settings, command)


async def title_at(client: httpx.AsyncClient, url: str) -> str:
    return str((await client.get(f"{url}/openapi.json")).json()["info"]["title"])


async def test_every_door_answers_on_a_port_of_its_own() -> None:
    async with served(shim_settings(ports=FREE_PORTS)) as opened, httpx.AsyncClient() as client:
        assert {door.door.name: await title_at(client, door.url) for door in opened.doors} == {
            door.name: door.title for door in DOORS
        }
        assert len({httpx.URL(door.url).port for door in opened.doors}) == len(DOORS)


async def test_on_a_single_port_every_door_has_a_prefix() -> None:
    async with served(shim_settings(single_port=0)) as opened, httpx.AsyncClient() as client:
        assert len({httpx.URL(door.url).port for door in opened.doors}) == 1
        for door in opened.doors:
            assert door.url.endswith(f"/{door.door.name}")
            assert await title_at(client, door.url) == door.door.title
            assert (await client.get(f"{door.url}/docs/start.js")).status_code == 200
            missing = await client.get(f"{door.url}/no/such/path")
            assert missing.status_code == 404
            door.door.error.model_validate_json(missing.content)


async def test_a_key_guards_a_door_under_its_prefix() -> None:
    async with served(shim_settings(single_port=0, api_key="key")) as opened, httpx.AsyncClient() as client:
        for door in opened.doors:
            assert (await client.get(f"{door.url}/v1/models")).status_code == 401
            assert (await client.get(f"{door.url}/docs")).status_code == 200


async def test_the_ports_are_free_again_afterwards() -> None:
    async with served(shim_settings(ports=FREE_PORTS)) as opened, httpx.AsyncClient() as client:
        assert await title_at(client, opened.doors[0].url)
    port = httpx.URL(opened.doors[0].url).port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_an_address_of_version_6_is_in_brackets() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with served(shim_settings(host="::1", ports=FREE_PORTS)) as opened, httpx.AsyncClient() as client:
        assert opened.doors[0].url.startswith("http://[::1]:")
        assert await title_at(client, opened.doors[0].url) == opened.doors[0].door.title


async def test_a_port_in_use_is_told_with_its_door_and_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        door = DOORS[-1]
        with pytest.RaisesGroup(PortInUseError) as caught:
            await fail_to_serve(shim_settings(ports={**FREE_PORTS, door.name: port}))
        told = str(caught.value.exceptions[0])
        assert door.title in told
        assert f"127.0.0.1:{port}" in told
        assert "CINQUE_PORTS" in told
        with pytest.RaisesGroup(pytest.RaisesExc(PortInUseError, match="CINQUE_SINGLE_PORT")):
            await fail_to_serve(shim_settings(single_port=port))


async def test_a_port_for_an_unknown_door_is_refused() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(CommandError, match="CINQUE_PORTS names no door: atlas-poxy")):
        await fail_to_serve(shim_settings(ports={"atlas-poxy": 0}))


async def test_a_server_that_refuses_its_settings_stops_the_doors() -> None:
    with anyio.fail_after(10), pytest.RaisesGroup(ChildSettingsError, flatten_subgroups=True):
        await fail_to_serve(shim_settings(ports=FREE_PORTS), REFUSES_ITS_SETTINGS)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 - the subject
def test_a_door_beyond_loopback_needs_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="CINQUE_API_KEY"):
        shim_settings(host=host)
    assert shim_settings(host=host, api_key="key").host == host
    monkeypatch.setenv("CINQUE_MCP_HOST", host)
    assert run_mcp_server(["http"]) == 2


@pytest.mark.parametrize("port", [-1, 65536, 10**30])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(ValidationError, match=DOORS[0].name):
        shim_settings(ports={DOORS[0].name: port})
    with pytest.raises(ValidationError, match="single_port"):
        shim_settings(single_port=port)


async def test_with_a_single_port_a_path_below_no_door_is_a_json_404() -> None:
    app = _app(shim_settings(single_port=0), {}, {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost") as client:
        response = await client.get("/nowhere")
    assert response.status_code == 404
    assert "/atlas-proxy" in response.json()["error"]["message"]
