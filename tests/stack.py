"""A whole Cinque in one process: real tools, gateway and doors over scripted capabilities.

`scripted_capabilities` gives what the tools work with; `connected_gateway` a gateway over an in-memory MCP connection;
`door_client` an HTTP client of one door over ASGI. No process, no port, no model.
"""

import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import anyio
import httpx
from mcp.client._memory import InMemoryTransport
from pydantic import BaseModel

from mcp_server.app import build_server
from mcp_server.capabilities import Capabilities
from mcp_server.contract import Finding
from mcp_server.engine.types import Engine, Model, PullProgress
from mcp_server.errors import InvalidRequestError, ModelNotFoundError
from mcp_server.lens.scorer import DisabledScorer
from mcp_server.ports import Retriever
from mcp_server.settings import McpSettings
from sandbox.errors import UnknownLanguageError
from sandbox.types import ExecutionRequest, ExecutionResult, Language, SandboxStatus, SyntaxReport, Verdict
from shim.app import build_door, door_router
from shim.doors.door import Door, Endpoint, Services
from shim.gateway import Gateway
from shim.metrics import Metrics
from shim.settings import ShimSettings
from tests.fakes import SCRIPTED_MODEL, ScriptedEngine
from tests.retrieving import ScriptedRetrieval

SCRIPTED_NOTICE = "the scripted model knows its script only"
PYTHON = Language("python", ("py", "python3"), "Python 3.11.0")
PASSED = ExecutionResult(
    success=True,
    compile_success=True,
    tests_run=1,
    tests_passed=1,
    lint_score=10.0,
    stdout="",
    stderr="",
    error_type=None,
    error_message=None,
    execution_time_ms=5,
    verdict=Verdict.OK,
    exit_code=0,
    isolation="namespaces",
    result_trust="in_process",
    peak_memory_bytes=10_000_000,
)


class ScriptedSandbox:
    """An `Executor` that answers `results` in order, then the last one again; an exception among them is raised.

    With a `gate`, every execution waits until it is set, or until it is cancelled, which sets `was_cancelled`.
    """

    def __init__(
        self, results: Sequence[ExecutionResult | Exception] = (PASSED,), *, gate: threading.Event | None = None
    ) -> None:
        self.requests: list[ExecutionRequest] = []
        self.was_started = threading.Event()
        self.was_cancelled = threading.Event()
        self._results = list(results)
        self._gate = gate

    def execute(self, request: ExecutionRequest, *, cancelled: threading.Event | None = None) -> ExecutionResult:
        self._check(request.language)
        self.requests.append(request)
        self.was_started.set()
        while self._gate is not None and not self._gate.wait(0.005):
            if cancelled is not None and cancelled.is_set():
                self.was_cancelled.set()
                return PASSED
        result = self._results[min(len(self.requests), len(self._results)) - 1]
        if isinstance(result, Exception):
            raise result
        return result

    def check_syntax(
        self, code: str, language: str, filename: str | None = None, *, cancelled: threading.Event | None = None
    ) -> SyntaxReport:
        del cancelled
        self._check(language)
        try:
            compile(code, filename or "main.py", "exec")
        except SyntaxError as error:
            message = f"SyntaxError: {error.msg} (line {error.lineno})"
            return SyntaxReport(valid=False, errors=(message,), language="python", check_time_ms=1)
        return SyntaxReport(valid=True, errors=(), language="python", check_time_ms=1)

    def languages(self) -> tuple[Language, ...]:
        return (PYTHON,)

    def status(self) -> SandboxStatus:
        played = self._results + self._results[-1:] * len(self.requests)
        n_passed = sum(isinstance(r, ExecutionResult) and r.success for r in played[: len(self.requests)])
        return SandboxStatus(
            "namespaces",
            ready=True,
            detail="scripted",
            n_executed=len(self.requests),
            n_passed=n_passed,
            n_failed=len(self.requests) - n_passed,
        )

    def close(self) -> None:
        """There is nothing to close."""

    def _check(self, language: str) -> None:
        if language not in {PYTHON.name, *PYTHON.aliases}:
            msg = f"the sandbox does not know {language!r}; it knows python"
            raise UnknownLanguageError(msg, param="language")


class ScriptedCatalog:
    """A `Catalog` of the scripted engine's model and of others by name; pulls in two steps."""

    def __init__(self, *names: str) -> None:
        self._models = [_model(SCRIPTED_MODEL, is_default=True), *(_model(name) for name in names)]

    def list(self) -> tuple[Model, ...]:
        return tuple(self._models)

    def resolve(self, name: str | None) -> Model:
        for model in self._models:
            if name in (None, "", "default", model.model_id):
                return model
        msg = f"there is no model {name!r} here"
        raise ModelNotFoundError(msg, param="model")

    def notice(self) -> str:
        return SCRIPTED_NOTICE

    def check(self, model: Model) -> None:
        """Every scripted model is sound."""

    def pull(
        self,
        repo_id: str,
        filename: str,
        on_progress: Callable[[PullProgress], None],
        cancelled: threading.Event | None = None,
    ) -> Model:
        del repo_id, cancelled
        on_progress(PullProgress(50, 100))
        on_progress(PullProgress(100, 100))
        model = _model(filename.removesuffix(".gguf"))
        self._models.append(model)
        return model

    def removable(self, name: str) -> Model:
        model = self.resolve(name)
        if model.source == "embedded":
            msg = f"{name} is embedded and cannot be removed"
            raise InvalidRequestError(msg, param="model")
        return model

    def remove(self, name: str) -> None:
        self._models.remove(self.removable(name))


def _model(name: str, *, is_default: bool = False) -> Model:
    return Model(
        model_id=name,
        path=f"/models/{name}.gguf",
        source="embedded" if is_default else "local",
        size_bytes=1000,
        created_at=1_700_000_000,
        is_default=is_default,
        is_loaded=False,
    )


def scripted_capabilities(
    home: Path,
    *,
    engine: Engine | None = None,
    sandbox: ScriptedSandbox | None = None,
    models: Sequence[str] = (),
    retrieval: Retriever | None = None,
) -> Capabilities:
    """Make capabilities that need nothing of the machine; retrieval is real, over words only, but for its symbols."""
    return Capabilities(
        settings=McpSettings(home=home),
        engine=engine or ScriptedEngine(["def f():\n    return 1\n"], models=models),
        catalog=ScriptedCatalog(*models),
        sandbox=sandbox or ScriptedSandbox(),
        retrieval=retrieval or ScriptedRetrieval(home),
        scorer=DisabledScorer(),
        diagnose=lambda: (Finding("python", "ok", "3.11", "", ""),),
    )


@asynccontextmanager
async def connected_gateway(capabilities: Capabilities, restart_wait_s: float = 0.05) -> AsyncIterator[Gateway]:
    """Connect a gateway to a server over *capabilities*, without a process between them; closes their retrieval."""
    gateway = Gateway(restart_wait_s)
    try:
        async with gateway.connected(InMemoryTransport(build_server(capabilities))):
            yield gateway
    finally:
        capabilities.retrieval.close()


@asynccontextmanager
async def open_door(
    door: Door,
    home: Path,
    *,
    engine: Engine | None = None,
    sandbox: ScriptedSandbox | None = None,
    models: Sequence[str] = (),
    retrieval: Retriever | None = None,
    **settings: object,
) -> AsyncIterator[httpx.AsyncClient]:
    """Open *door* over scripted capabilities and give a client of it."""
    capabilities = scripted_capabilities(home, engine=engine, sandbox=sandbox, models=models, retrieval=retrieval)
    async with connected_gateway(capabilities) as gateway, door_client(door, gateway, **settings) as client:
        yield client


@asynccontextmanager
async def open_doors(
    doors: Sequence[Door], home: Path, **settings: object
) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """Open *doors* over one scripted server and give their clients by name; for a fixture that many tests share."""
    async with connected_gateway(scripted_capabilities(home)) as gateway, AsyncExitStack() as clients:
        yield {door.name: await clients.enter_async_context(door_client(door, gateway, **settings)) for door in doors}


def closed_door(door: Door, **settings: object) -> httpx.AsyncClient:
    """Make a client of *door* whose MCP server is down and does not come back."""
    return door_client(door, Gateway(restart_wait_s=0), **settings)


def door_app(door: Door, gateway: Gateway, fallback: Door | None = None, **settings: object) -> Callable[..., object]:
    """Make the ASGI app of *door*, which falls back on *fallback*."""
    services = Services(gateway, shim_settings(**settings), door.port)
    return build_door(door, services, Metrics(gateway), fallback and door_router(fallback, services))


def shim_settings(**settings: object) -> ShimSettings:
    """Make the shim's settings, with *settings* over the defaults."""
    return ShimSettings(**settings)  # type: ignore[arg-type]  # pydantic checks each value


def door_client(door: Door, gateway: Gateway, fallback: Door | None = None, **settings: object) -> httpx.AsyncClient:
    """Make a client of *door*. Replies arrive whole: drive the app itself to see delivery and disconnects."""
    transport = httpx.ASGITransport(app=door_app(door, gateway, fallback, **settings), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url=f"http://localhost:{door.port}")


def path_of(endpoint: Endpoint) -> str:
    """Return the path of *endpoint* with something in the place of its parameters."""
    return re.sub(r"\{\w+(:\w+)?\}", "some-id", endpoint.path)


def schema_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the JSON schema of the body of *endpoint*; it is shared, so nobody may change it."""
    assert endpoint.body is not None
    return _schema(endpoint.body)


@cache
def _schema(body: type[BaseModel]) -> dict[str, Any]:
    return body.model_json_schema()


def _example(schema: dict[str, Any], whole: dict[str, Any]) -> Any:
    """Make the smallest value of *schema*: required members only."""
    if "$ref" in schema:
        return _example(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], whole)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema["type"] == "object":
        return {name: _example(schema["properties"][name], whole) for name in schema.get("required", ())}
    if schema["type"] == "array":
        return [_example(schema["items"], whole)] * schema.get("minItems", 0)
    return {"string": "x", "integer": 1, "number": 1.0, "boolean": False, "null": None}[schema["type"]]


def smallest_body(endpoint: Endpoint) -> dict[str, Any]:
    """Make the smallest body that *endpoint* answers."""
    return dict(_example(schema_of(endpoint), schema_of(endpoint)))


class Exchange:
    """One HTTP request driven by hand over ASGI: a test sees each message as it is sent, holds them, or leaves."""

    def __init__(self, app: Callable[..., Any], path: str, body: dict[str, Any], headers: Sequence[Any] = ()) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.pieces: list[str] = []
        self.is_complete = False
        self._app = app
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self._inbox = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        self._left = anyio.Event()
        self._may_send = anyio.Event()
        self._may_send.set()
        self._changed = anyio.Event()

    @property
    def text(self) -> str:
        """What was sent of the body so far."""
        return "".join(self.pieces)

    @property
    def events(self) -> list[str]:
        """The data of each server-sent event so far."""
        return [event.removeprefix("data: ") for event in self.text.split("\n\n") if event]

    async def run(self) -> None:
        """Send the request and collect the response until the app returns."""
        await self._app(self._scope, self._receive, self._send)

    def cut_body(self) -> None:
        """Send only the first half of the body, promising more."""
        whole = self._inbox[0]["body"]
        self._inbox = [{"type": "http.request", "body": whole[: len(whole) // 2], "more_body": True}]

    def hold(self) -> None:
        """Let the app's next send block, as a client does that reads no more."""
        self._may_send = anyio.Event()

    def release(self) -> None:
        """Let blocked sends go on."""
        self._may_send.set()

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def until(self, condition: Callable[["Exchange"], bool]) -> None:
        """Return as soon as *condition* holds after a message."""
        while not condition(self):
            await self._changed.wait()

    async def _receive(self) -> dict[str, Any]:
        if self._inbox:
            return self._inbox.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.pieces += [message["body"].decode()] if message["body"] else []
            self.is_complete = not message.get("more_body", False)
        self._changed.set()
        self._changed = anyio.Event()
        await self._may_send.wait()
