"""The ATLAS sandbox: the documented fields of execute, syntax check, languages and health."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from mcp_server.contract import ExecutionRequest, Verdict
from sandbox.errors import InvalidRequestError, SandboxUnavailableError
from shim.doors.atlas.sandbox import DOOR
from tests.stack import PASSED, ScriptedSandbox, closed_door, open_door

DOCUMENTED = {
    "success",
    "compile_success",
    "tests_run",
    "tests_passed",
    "lint_score",
    "stdout",
    "stderr",
    "error_type",
    "error_message",
    "execution_time_ms",
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Serve all tests of this file from one event loop, so that the door is built once."""
    return "asyncio"


@pytest.fixture(scope="module")
def box() -> ScriptedSandbox:
    return ScriptedSandbox()


@pytest.fixture(scope="module")
async def client(box: ScriptedSandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with open_door(DOOR, tmp_path_factory.mktemp("home"), sandbox=box) as client:
        yield client


async def test_a_run_answers_the_documented_members_and_ours(client: httpx.AsyncClient) -> None:
    body = (await client.post("/execute", json={"code": "print()", "test_code": "assert True"})).json()
    assert set(body) >= DOCUMENTED
    assert body == {
        "success": True,
        "compile_success": True,
        "tests_run": 1,
        "tests_passed": 1,
        "lint_score": 10.0,
        "stdout": "",
        "stderr": "",
        "error_type": None,
        "error_message": None,
        "execution_time_ms": 5,
        "verdict": "OK",
        "exit_code": 0,
        "isolation": "namespaces",
        "result_trust": "in_process",
        "peak_memory_bytes": 10_000_000,
        "type_errors": [],
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"timeout_s": 30.0}),
        ({"language": "py"}, {"language": "py"}),
        ({"test_code": "assert f() == 1"}, {"test_code": "assert f() == 1"}),
        ({"test_code": None, "requirements": None}, {"test_code": None, "requirements": ()}),
        ({"test_code": ""}, {"test_code": None}),
        ({"requirements": ["numpy", "rich>=13"]}, {"requirements": ("numpy", "rich>=13")}),
        ({"timeout": 0.5}, {"timeout_s": 0.5}),
        ({"timeout": 60}, {"timeout_s": 60.0}),
        ({"timeout": 61}, {"timeout_s": 60.0}),
        ({"timeout": 10**400}, {"timeout_s": 60.0}),
        ({"stdin": "é\n", "files": {"data/a.txt": "1"}}, {"stdin": "é\n", "files": {"data/a.txt": "1"}}),
    ],
    ids=lambda value: ",".join(value) or "nothing",
)
async def test_a_field_reaches_the_sandbox_and_the_timeout_is_capped(
    client: httpx.AsyncClient, box: ScriptedSandbox, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    response = await client.post("/execute", json={"code": "x = 1", **fields})
    assert response.status_code == 200, response.text
    assert box.requests[-1] == replace(ExecutionRequest("x = 1", timeout_s=30.0), **expected)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"files": {"a": 1}}, "files.a"),
        ({"code": None}, "code"),
    ],
    ids=str,
)
async def test_a_field_that_cannot_be_used_is_named(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    response = await client.post("/execute", json={"code": "x", **fields})
    assert response.status_code == 400
    assert (response.json()["code"], response.json()["param"]) == ("invalid_request", param)


@pytest.mark.parametrize("path", ["/execute", "/syntax-check"])
async def test_an_unknown_language_is_a_400_that_lists_the_known(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(path, json={"code": "x", "language": "cobol"})
    assert response.status_code == 400
    assert response.json() == {
        "detail": "the sandbox does not know 'cobol'; it knows python",
        "code": "unknown_language",
        "param": "language",
    }


async def test_a_program_that_fails_is_a_200_with_its_verdict(tmp_path: Path) -> None:
    crashed = replace(
        PASSED,
        success=False,
        tests_passed=0,
        lint_score=None,
        stderr="Traceback ...",
        error_type="ZeroDivisionError",
        error_message="division by zero",
        verdict=Verdict.RUNTIME_ERROR,
        exit_code=None,
        peak_memory_bytes=None,
    )
    async with open_door(DOOR, tmp_path, sandbox=ScriptedSandbox([crashed])) as client:
        response = await client.post("/execute", json={"code": "1/0"})
        assert response.status_code == 200
        body = response.json()
        assert (body["success"], body["verdict"], body["error_type"]) == (False, "RUNTIME_ERROR", "ZeroDivisionError")
        assert (body["lint_score"], body["exit_code"], body["peak_memory_bytes"]) == (None, None, None)


async def test_without_tests_nothing_is_called_verified(tmp_path: Path) -> None:
    untested = replace(PASSED, tests_run=0, tests_passed=0, result_trust="not_tested")
    async with open_door(DOOR, tmp_path, sandbox=ScriptedSandbox([untested])) as client:
        body = (await client.post("/execute", json={"code": "x = 1"})).json()
        assert (body["result_trust"], body["tests_run"]) == ("not_tested", 0)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SandboxUnavailableError("no isolation works here"), 503, "sandbox_unavailable"),
        (InvalidRequestError("../x leaves the workspace", param="files"), 400, "invalid_request"),
    ],
    ids=["unavailable", "invalid"],
)
async def test_the_sandboxs_own_refusal_is_an_error(error: Any, status: int, code: str, tmp_path: Path) -> None:
    async with open_door(DOOR, tmp_path, sandbox=ScriptedSandbox([error])) as client:
        response = await client.post("/execute", json={"code": "x"})
        assert response.status_code == status
        assert response.json() == {"detail": error.message, "code": code, "param": error.param}


async def test_syntax_is_checked_without_running(client: httpx.AsyncClient, box: ScriptedSandbox) -> None:
    n_run = len(box.requests)
    good = (await client.post("/syntax-check", json={"code": "def f(): pass"})).json()
    assert good == {"valid": True, "errors": [], "language": "python", "check_time_ms": 1}
    bad = await client.post("/syntax-check", json={"code": "def foo(:\n pass", "language": "py", "filename": "main.py"})
    assert bad.status_code == 200
    assert bad.json()["valid"] is False
    assert bad.json()["errors"] == ["SyntaxError: invalid syntax (line 1)"]
    assert len(box.requests) == n_run


async def test_languages_are_told_with_their_versions(client: httpx.AsyncClient) -> None:
    assert (await client.get("/languages")).json() == {"languages": {"python": "Python 3.11.0"}}


async def test_a_language_without_its_toolchain_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = ScriptedSandbox()
    go = replace(box.languages()[0], name="go", aliases=("golang",), version=None)
    monkeypatch.setattr(box, "languages", lambda: (go,))
    async with open_door(DOOR, tmp_path, sandbox=box) as client:
        assert (await client.get("/languages")).json() == {"languages": {"go": "not installed"}}


async def test_health_names_the_isolation(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {
        "status": "healthy",
        "isolation": "namespaces",
        "detail": "scripted",
    }


async def test_health_is_a_503_when_no_program_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = ScriptedSandbox()
    without = replace(box.status(), isolation="none", ready=False, detail="no user namespaces; run cinque doctor")
    monkeypatch.setattr(box, "status", lambda: without)
    async with open_door(DOOR, tmp_path, sandbox=box) as client:
        response = await client.get("/health")
        assert response.status_code == 503
        assert response.json() == {"status": "unhealthy", "isolation": "none", "detail": without.detail}


async def test_health_is_a_503_while_the_server_is_down() -> None:
    async with closed_door(DOOR) as client:
        response = await client.get("/health")
        assert response.status_code == 503
        assert (response.json()["status"], response.json()["isolation"]) == ("unhealthy", None)
