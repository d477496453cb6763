"""The official MCP client on every transport, in both protocol eras, against the real server.

`legacy` is the handshake of 2025-11-25 and before; `2026-07-28` has neither handshake nor session. The stdio servers
here join the engine of the one that runs, as an IDE's would.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters

from mcp_server.contract import ToolName
from tests.live.processes import ROOT, Child, Shim, environment, started

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

MODERN = "2026-07-28"
CONNECTIONS = [
    ("stdio", "legacy"),
    ("stdio", MODERN),
    ("http", "legacy"),
    ("http", MODERN),
    ("sse", "legacy"),
    ("sse", MODERN),
]
ENDLESS = {"grammar": "root ::= [a-z ] root", "temperature": 1.0}  # ends with the context only, after seconds
PROGRAM = "def double(x):\n    return 2 * x\n"
DOCUMENTS = [
    {"path": "src/double.py", "content": PROGRAM},
    {"path": "README.md", "content": "# Doubling\n\nTurns a number into twice that number.\n"},
]


def stdio_parameters(home: Path, *options: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "mcp_server", *options], env=environment(home), cwd=ROOT
    )


@dataclass
class User:
    """An MCP client that remembers which tools it has used."""

    client: Client
    used: set[str] = field(default_factory=set)

    async def call(self, tool: ToolName, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed; return its structured result."""
        self.used.add(tool)
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content

    async def fail(self, tool: ToolName, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must fail; return its structured error."""
        self.used.add(tool)
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error
        assert result.structured_content is not None
        assert set(result.structured_content) == {"code", "message", "param"}
        return result.structured_content

    async def running(self) -> int:
        """Return how many sequences the engine generates."""
        return int((await self.call(ToolName.STATUS))["engine"]["n_running"])


@asynccontextmanager
async def connected(shim: Shim, transport: str, era: str) -> AsyncIterator[User]:
    server: Any = {
        "stdio": lambda: stdio_parameters(shim.home),
        "http": lambda: f"{shim.mcp_url}/mcp",
        "sse": lambda: sse_client(f"{shim.mcp_url}/sse"),
    }[transport]()
    async with Client(server, mode=era) as client:
        yield User(client)


@pytest.mark.parametrize(("transport", "era"), CONNECTIONS)
async def test_every_tool_works(shim: Shim, transport: str, era: str) -> None:
    async with connected(shim, transport, era) as user:
        await use_the_model(user)
        await use_the_sandbox(user)
        await use_the_index(user, f"live-{transport}-{era}")
        listed = {tool.name for tool in (await user.client.list_tools()).tools}
        assert user.used == listed == set(ToolName)


async def use_the_model(user: User) -> None:
    sampling = {"max_tokens": 5, "temperature": 0}
    answer = await user.call(
        ToolName.GENERATE, messages=[{"role": "user", "content": "Write a function."}], sampling=sampling
    )
    assert answer["usage"]["completion_tokens"] == 5
    await use_the_texts(user)
    await use_the_models_memory(user)
    embedded = await user.call(ToolName.EMBED, input=["one", "two"])
    assert [len(vector) for vector in embedded["embeddings"]] == [embedded["dimensions"]] * 2
    models = (await user.call(ToolName.LIST_MODELS))["models"]
    assert models[0]["model_id"] == answer["model"]
    with anyio.fail_after(10):
        failure = await user.fail(ToolName.PULL_MODEL, repo_id="owner/name", filename="model.gguf")
    assert failure["code"] == "model_pull_failed"
    assert (await user.fail(ToolName.REMOVE_MODEL, model="default"))["code"] == "invalid_request"
    assert (await user.call(ToolName.SCORE, text=PROGRAM))["enabled"] is False


async def use_the_texts(user: User) -> None:
    counted = await user.call(ToolName.TOKENIZE, text="def f(): pass")
    assert counted["n_tokens"] == len(counted["tokens"]) > 0
    text = await user.call(ToolName.DETOKENIZE, token_ids=counted["tokens"])
    assert text["text"] == "def f(): pass"
    rendered = await user.call(ToolName.RENDER_PROMPT, messages=[{"role": "user", "content": "Write a function."}])
    assert "Write a function." in rendered["prompt"]
    refused = await user.fail(ToolName.RERANK, query="doubling", documents=[PROGRAM])
    assert refused["code"] == "not_supported", "the embedded model has no head for ranking, and says so"


async def use_the_models_memory(user: User) -> None:
    loaded = await user.call(ToolName.LOAD_MODEL)
    described = await user.call(ToolName.DESCRIBE_MODEL, model=loaded["model_id"])
    assert described["context_tokens"] == loaded["context_tokens"]
    assert (described["can_generate"], described["can_rerank"]) == (True, False)
    assert (await user.call(ToolName.UNLOAD_MODEL))["was_loaded"] is True
    assert (await user.call(ToolName.STATUS))["engine"]["loaded_models"] == []
    assert (await user.call(ToolName.UNLOAD_MODEL))["was_loaded"] is False


async def use_the_sandbox(user: User) -> None:
    passed = await user.call(ToolName.EXECUTE, code=PROGRAM, test_code="assert double(2) == 4")
    assert (passed["success"], passed["verdict"]) == (True, "OK")
    wrong = await user.call(ToolName.EXECUTE, code=PROGRAM, test_code="assert double(2) == 5")
    assert (wrong["success"], wrong["verdict"]) == (False, "WRONG_ANSWER")
    assert (await user.call(ToolName.CHECK_SYNTAX, code="def"))["valid"] is False
    why = await user.call(ToolName.ANALYZE_FAILURE, code="1 / 0", stderr=wrong["stderr"], verdict=wrong["verdict"])
    assert why["analysis"]["failure_type"] != "none"
    assert "python" in [entry["name"] for entry in (await user.call(ToolName.LIST_LANGUAGES))["languages"]]
    assert (await user.fail(ToolName.EXECUTE, code="", language="klingon"))["code"] == "unknown_language"
    status = await user.call(ToolName.STATUS)
    assert status["sandbox"]["ready"] is True
    findings = (await user.call(ToolName.DIAGNOSE))["findings"]
    assert "missing" not in {finding["state"] for finding in findings}


async def use_the_index(user: User, collection: str) -> None:
    report = await user.call(ToolName.INDEX, collection=collection, documents=DOCUMENTS)
    assert report["n_files"] == 2
    assert (await user.call(ToolName.INDEX_STATUS, collection=collection))["n_dense"] > 0
    listed = (await user.call(ToolName.LIST_COLLECTIONS))["collections"]
    assert collection in [entry["collection"] for entry in listed]
    found = await user.call(ToolName.RETRIEVE, collection=collection, query="twice a number")
    assert {hit["path"] for hit in found["hits"]} <= {"src/double.py", "README.md"}
    assert found["hits"]
    named = await user.call(ToolName.FIND_SYMBOL, collection=collection, symbol="double")
    assert [found["path"] for found in named["definitions"]] == ["src/double.py"]
    outline = await user.call(ToolName.OUTLINE, collection=collection, path="src/double.py")
    assert [item["symbol"] for item in outline["items"]] == ["double"]
    assert (await user.call(ToolName.OVERVIEW, collection=collection))["n_files"] == 2
    assert (await user.call(ToolName.DELETE_COLLECTION, collection=collection))["deleted"] is True
    assert (await user.fail(ToolName.RETRIEVE, collection=collection, query="x"))["code"] == "collection_not_found"


@pytest.mark.parametrize(("transport", "era"), CONNECTIONS)
async def test_a_cancelled_call_stops_the_engine(shim: Shim, transport: str, era: str) -> None:
    async with connected(shim, transport, era) as user:
        begun = anyio.Event()

        async def on_progress(_progress: float, _total: float | None, _message: str | None) -> None:
            begun.set()

        async with anyio.create_task_group() as group:
            arguments = {"prompt": "a", "sampling": ENDLESS}
            group.start_soon(lambda: user.client.call_tool(ToolName.GENERATE, arguments, progress_callback=on_progress))
            with anyio.fail_after(20):
                await begun.wait()
            assert await user.running() == 1
            group.cancel_scope.cancel()
        with anyio.fail_after(1):
            while await user.running():
                pass


@pytest.mark.parametrize(("transport", "era"), CONNECTIONS)
async def test_progress_arrives_in_order_and_adds_up_to_the_answer(shim: Shim, transport: str, era: str) -> None:
    steps: list[tuple[float, str]] = []

    async def on_progress(progress: float, _total: float | None, message: str | None) -> None:
        steps.append((progress, message or ""))

    async with connected(shim, transport, era) as user:
        arguments = {"prompt": "def ", "sampling": {"max_tokens": 60, "temperature": 1.0}}
        result = await user.client.call_tool(ToolName.GENERATE, arguments, progress_callback=on_progress)
    assert result.structured_content is not None
    assert [progress for progress, _ in steps] == sorted({progress for progress, _ in steps})
    deltas = [delta for _, message in steps for delta in json.loads(message)["deltas"]]
    assert "".join(delta["text"] for delta in deltas) == result.structured_content["completions"][0]["text"]


async def test_a_stdio_server_joins_the_running_engine(shim: Shim) -> None:
    async with connected(shim, "stdio", "legacy") as user:
        assert (await user.call(ToolName.STATUS))["pid"] == shim.mcp_pid


async def test_a_stdio_server_without_another_to_join_starts_its_own_engine(tmp_path: Path) -> None:
    async with Client(stdio_parameters(tmp_path)) as client:
        user = User(client)
        assert (await user.call(ToolName.STATUS))["http_url"] is None
        assert (await user.call(ToolName.TOKENIZE, text="a"))["n_tokens"] > 0


def test_a_joined_server_ends_with_a_message_when_its_engine_stops(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with (
        started("-m", "mcp_server", "--own", "--transport", "http", env=env) as engine,
        httpx.Client(base_url=engine.wait_for_event("mcp over http")[0]["url"]) as http,
        started("-m", "mcp_server", env=env, stdout=subprocess.PIPE) as joined,
    ):
        answer = Pipe(joined).ask("initialize", initialize_parameters())
        assert answer["serverInfo"]["name"] == http.get("/health").json()["name"]
        assert engine.end() == 0
        assert joined.wait() == 1
        assert joined.stderr == "cinque: the engine that this server had joined has stopped\n"


def test_nothing_but_json_rpc_is_on_stdout_of_a_server_with_an_engine_of_its_own(shim: Shim) -> None:
    with started("-m", "mcp_server", "--own", env=environment(shim.home), stdout=subprocess.PIPE) as server:
        pipe = Pipe(server)
        pipe.ask("initialize", initialize_parameters())
        pipe.tell("notifications/initialized", {})
        assert pipe.call(ToolName.STATUS)["structuredContent"]["pid"] == server.pid != shim.mcp_pid
        answers = [
            pipe.call(ToolName.GENERATE, messages=[{"role": "user", "content": "Hello"}], sampling={"max_tokens": 9}),
            pipe.call(ToolName.EXECUTE, code="print('on its own stdout')", test_code="def test_it():\n    print('x')"),
            pipe.call(ToolName.EMBED, input=["a"]),
            pipe.call(ToolName.INDEX, collection="raw", documents=DOCUMENTS),
        ]
        assert [answer["isError"] for answer in answers] == [False] * 4
        pipe.close()
        assert server.wait() == 0
    assert all(message["jsonrpc"] == "2.0" for message in pipe.messages)
    assert pipe.rest == b""


def initialize_parameters() -> dict[str, Any]:
    return {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"},
    }


class Pipe:
    """A client without an SDK: writes lines to a server's stdin, and takes every line of its stdout for JSON."""

    def __init__(self, child: Child) -> None:
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        self._stdin, self._stdout = child.process.stdin, child.process.stdout
        self.messages: list[dict[str, Any]] = []
        self.rest = b""  # what came after our last question
        self._n_asked = 0

    def tell(self, method: str, params: dict[str, Any], **members: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params} | members
        self._stdin.write(json.dumps(message).encode() + b"\n")
        self._stdin.flush()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a request and read on to its answer."""
        self._n_asked += 1
        self.tell(method, params, id=self._n_asked)
        for line in self._stdout:
            self.messages.append(json.loads(line))
            if self.messages[-1].get("id") == self._n_asked:
                result: dict[str, Any] = self.messages[-1]["result"]
                return result
        pytest.fail("stdout ended before the answer")

    def call(self, tool: ToolName, **arguments: Any) -> dict[str, Any]:
        """Call a tool, with progress."""
        parameters = {"name": tool, "arguments": arguments, "_meta": {"progressToken": self._n_asked}}
        return self.ask("tools/call", parameters)

    def close(self) -> None:
        """End the session, and read what the server still says."""
        self._stdin.close()
        self.rest = self._stdout.read()
