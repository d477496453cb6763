"""The other `cinque` commands as a person runs them: what they print, and the exit status that scripts read."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from mcp_server.contract import ToolName
from mcp_server.engine.models.catalog import ModelCatalog
from mcp_server.engine.settings import EngineSettings
from tests.live.processes import ROOT, Child, Shim, environment, finished, serving, started

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]


def cinque(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return finished("-m", "shim", *arguments, env=environment(home, **variables))


def test_models_are_listed_with_the_default_marked(shim: Shim) -> None:
    shown = cinque(shim.home, "models", "list", COLUMNS="40")
    assert (shown.returncode, shown.stderr) == (0, "")
    (row,) = [line for line in shown.stdout.splitlines() if "embedded" in line]
    assert "cinque-tiny-v0" in row, "a name that is cut cannot be copied"
    assert "default" in row
    assert "MB" in row


def test_a_model_that_cannot_be_pulled_is_one_line(shim: Shim) -> None:
    shown = cinque(shim.home, "models", "pull", "owner/name", "model.gguf")
    assert shown.returncode == 1
    (line,) = shown.stderr.splitlines()
    assert line.startswith("cinque models pull: owner/name/model.gguf cannot be downloaded from http://127.0.0.1:9: ")


def test_the_embedded_model_cannot_be_removed_and_that_is_one_line(shim: Shim) -> None:
    shown = cinque(shim.home, "models", "rm", "default")
    assert shown.returncode == 1
    (line,) = shown.stderr.splitlines()
    assert line.startswith("cinque models rm: ")


def test_the_doctor_finds_every_part_in_order(tmp_path: Path) -> None:
    shown = cinque(tmp_path, "doctor")
    assert shown.returncode == 0, shown.stdout
    assert shown.stderr == ""
    names = ("python", "llama.cpp", "model", "sandbox", "language python", "embedding model", "disk", "mcp", "torch")
    for name in names:
        assert any(line[9:].startswith(f"{name} ") for line in shown.stdout.splitlines()), name
    assert "missing  " not in shown.stdout


def test_a_port_in_use_stops_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown = cinque(tmp_path, "serve", CINQUE_PORTS=json.dumps({"atlas-proxy": port}))
    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith(f"cinque serve: ATLAS proxy cannot listen on 127.0.0.1:{port}: ")
    assert "CINQUE_PORTS" in line


def test_doors_beyond_loopback_without_a_key_are_refused_in_one_line(tmp_path: Path) -> None:
    shown = cinque(tmp_path, "serve", CINQUE_HOST="0.0.0.0")  # noqa: S104 - the subject
    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("cinque serve: CINQUE_HOST=0.0.0.0 is not loopback; set CINQUE_API_KEY")


@pytest.mark.timeout(14)  # less than the wait for a server that is restarted: nobody restarts this one
@pytest.mark.parametrize("command", ["serve", "models list"])
def test_a_setting_that_the_mcp_server_refuses_stops_the_command_too(command: str, tmp_path: Path) -> None:
    shown = cinque(tmp_path, *command.split(), CINQUE_ENGINE_N_SLOTS="0")
    assert (shown.returncode, shown.stdout) == (2, "")
    *log, line = shown.stderr.splitlines()
    assert line == f"cinque {command}: the MCP server refused its settings; the line above names the variable"
    refusal = json.loads(log[-1])["event"]
    assert refusal.startswith("the MCP server cannot start: CINQUE_ENGINE_N_SLOTS=0: ")
    assert "\n" not in refusal


def test_that_only_the_embedded_model_is_there_is_one_line_of_serve_and_mcp(tmp_path: Path) -> None:
    notice = ModelCatalog(EngineSettings(home=tmp_path, model="")).notice()
    assert "the embedded demonstration and test model" in notice
    env = environment(tmp_path)
    with started("-m", "shim", "serve", env=env, stdout=subprocess.PIPE) as served:
        assert sum(notice in line for line in start_of(served)) == 1
    with started("-m", "shim", "mcp", "--own", env=env, stdout=subprocess.PIPE) as mcp:
        assert len(mcp.wait_for_event(notice)) == 1
        assert mcp.process.stdin is not None
        assert mcp.process.stdout is not None
        mcp.process.stdin.close()
        assert mcp.process.stdout.read() == b"", "stdout belongs to the protocol"


def test_a_model_that_was_chosen_needs_no_notice(tmp_path: Path) -> None:
    env = environment(tmp_path, CINQUE_ENGINE_MODEL="cinque-tiny-v0")
    with started("-m", "shim", "serve", env=env, stdout=subprocess.PIPE) as served:
        assert not any("cinque models pull" in line for line in start_of(served))
        assert "cinque models pull" not in served.stderr


def start_of(served: Child) -> list[str]:
    """Return what `cinque serve` prints before it serves."""
    assert served.process.stdout is not None
    lines = []
    for line in served.process.stdout:
        lines.append(line.decode())
        if lines[-1].startswith("Ctrl-C"):
            break
    return lines


async def test_cinque_mcp_is_a_server_for_an_ide(shim: Shim) -> None:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "shim", "mcp"], env=environment(shim.home), cwd=ROOT
    )
    async with Client(parameters, mode="legacy") as client:
        assert client.server_info.name == "cinque"
        assert {tool.name for tool in (await client.list_tools()).tools} == set(ToolName)
        status = await client.call_tool(ToolName.STATUS, {})
    assert status.structured_content is not None
    assert status.structured_content["pid"] == shim.mcp_pid


def test_a_folder_is_indexed_and_searched_with_and_without_a_running_server(tmp_path: Path) -> None:
    words = {"CINQUE_RAG_DENSE": "false"}
    (tmp_path / "billing.py").write_text("def total_price(items):\n    return sum(items)\n", encoding="utf-8")

    def index_and_search(home: Path) -> None:
        indexed = cinque(home, "index", str(tmp_path), "--project", "billing", **words)
        assert (indexed.returncode, indexed.stderr) == (0, "")
        assert "billing: " in indexed.stdout
        found = cinque(home, "search", "total price", "--project", "billing", "-k", "1", **words)
        assert (found.returncode, found.stderr) == (0, "")
        assert f"{tmp_path}/billing.py:1  total_price" in found.stdout

    index_and_search(tmp_path / "nobody serves this")
    with serving(tmp_path / "served", **words) as running:
        index_and_search(running.home)
        assert cinque(running.home, "search", "zzzqqq", "--project", "billing", **words).returncode == 1
        assert cinque(running.home, "search", "x", "--project", "absent", **words).returncode == 2
        assert running.child.end() == 0
