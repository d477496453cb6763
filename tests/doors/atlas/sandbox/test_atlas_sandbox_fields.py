"""Each documented field of the sandbox's door, answered by the real sandbox."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from shim.doors.atlas.sandbox import DOOR
from shim.gateway import Gateway
from tests.stack import door_client


@pytest.fixture(scope="module")
async def client(real_gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with door_client(DOOR, real_gateway) as client:
        yield client


async def execute(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/execute", json=fields)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_the_documented_request_has_the_documented_answer(client: httpx.AsyncClient) -> None:
    request = {"code": "print('hello from sandbox')", "language": "python", "test_code": None, "requirements": None}
    body = await execute(client, **request, timeout=30)
    assert body["execution_time_ms"] >= 0
    assert (body["success"], body["compile_success"], body["stdout"]) == (True, True, "hello from sandbox\n")
    assert (body["stderr"], body["error_type"], body["error_message"]) == ("", None, None)
    assert (body["verdict"], body["exit_code"], body["result_trust"]) == ("OK", 0, "not_tested")
    assert (body["tests_run"], body["tests_passed"]) == (0, 0)


async def test_tests_are_counted(client: httpx.AsyncClient) -> None:
    tests = "assert f(1) == 2\nassert f(2) == 3\n"
    body = await execute(client, code="def f(n):\n    return n + 1\n", test_code=tests)
    assert (body["success"], body["tests_run"], body["tests_passed"]) == (True, 2, 2)
    body = await execute(client, code="def f(n):\n    return 2\n", test_code=tests)
    assert (body["success"], body["verdict"], body["error_type"]) == (False, "WRONG_ANSWER", "AssertionError")


async def test_of_the_streams_the_ends_are_given_and_of_the_message_the_start(client: httpx.AsyncClient) -> None:
    code = (
        "import sys\nsys.stdout.write('a' * 5000 + 'z')\nsys.stderr.write('b' * 5000 + 'y')\n"
        "raise ValueError('m' + 'n' * 5000)"
    )
    body = await execute(client, code=code)
    assert (len(body["stdout"]), body["stdout"][-2:]) == (4000, "az")
    assert len(body["stderr"]) == 2000
    assert (len(body["error_message"]), body["error_message"][:2]) == (500, "mn")
    assert body["error_type"] == "ValueError"


async def test_standard_input_and_files_are_there(client: httpx.AsyncClient) -> None:
    code = "print(input() + open('data/a.txt').read())"
    assert (await execute(client, code=code, stdin="é\n", files={"data/a.txt": "1"}))["stdout"] == "é1\n"


async def test_a_timeout_has_its_documented_words(client: httpx.AsyncClient) -> None:
    body = await execute(client, code="while True:\n    pass", timeout=0.3)
    assert (body["success"], body["error_type"], body["verdict"]) == (False, "Timeout", "TIME_LIMIT")
    assert (body["error_message"], body["exit_code"]) == ("Execution timed out after 0.3s", None)


async def test_a_text_that_is_no_program_does_not_compile(client: httpx.AsyncClient) -> None:
    body = await execute(client, code="def foo(:\n pass")
    assert (body["compile_success"], body["error_type"]) == (False, "SyntaxError")
    assert body["error_message"] == "Line 1: invalid syntax"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"code": None}, "code"),
        ({"code": 1}, "code"),
        ({"code": ["print(1)"]}, "code"),
        ({"language": None}, "language"),
        ({"files": {"../x": ""}}, "files"),
        ({"files": {"/etc/x": ""}}, "files"),
        ({"files": {"a\0b": ""}}, "files"),
        ({"files": {"a": "", "a/b": ""}}, "files"),
        ({"files": {"solution.py": ""}}, "files"),
        ({"files": {"a": None}}, "files.a"),
        ({"files": [["a", ""]]}, "files"),
        ({"files": {str(number): "" for number in range(3000)}}, "files"),
        ({"requirements": ["--index-url=http://x"]}, "requirements"),
        ({"requirements": ["numpy"] * 33}, "requirements"),
        ({"requirements": "numpy"}, "requirements"),
        ({"requirements": [None]}, "requirements.0"),
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": None}, "timeout"),
        ({"test_code": 1}, "test_code"),
        ({"test_code": ["assert True"]}, "test_code"),
        ({"stdin": None}, "stdin"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_cannot_be_used_is_a_400_that_names_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    response = await client.post("/execute", content=json.dumps({"code": "print(1)", **fields}))
    assert response.status_code == 400, response.text
    body = response.json()
    assert (set(body), body["code"], body["param"]) == ({"detail", "code", "param"}, "invalid_request", param)
    assert body["detail"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"code": "\\ud800"}', b'{"code": "\xff"}', b"code=1", b'{"code": "x"} {}'], ids=repr
)
async def test_what_is_no_json_is_said_to_be_none(client: httpx.AsyncClient, raw: bytes) -> None:
    for path in ("/execute", "/syntax-check"):
        response = await client.post(path, content=raw)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_json")


async def test_more_than_the_door_takes_is_a_413(client: httpx.AsyncClient) -> None:
    response = await client.post("/execute", json={"code": "#" * (17 << 20)})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        ("", None),
        ("\0", "SyntaxError"),
        ("print('\\ud800')", "UnicodeEncodeError"),
        ("raise ValueError('\\udcff')", "ValueError"),
        ("#" * (4 << 20), None),
        ("\ufeffprint('é\U0001f40d')", None),
    ],
    ids=["empty", "nul", "surrogate", "surrogate raised", "large", "mark"],
)
async def test_an_odd_program_is_an_ordinary_answer(
    client: httpx.AsyncClient, code: str, error_type: str | None
) -> None:
    body = await execute(client, code=code)
    assert (body["success"], body["error_type"]) == (error_type is None, error_type)


async def test_a_field_that_is_not_documented_changes_nothing(client: httpx.AsyncClient) -> None:
    body = await execute(client, code="print(1)", memory="1TB", entry_point=None)
    assert (body["success"], body["stdout"]) == (True, "1\n")


@pytest.mark.parametrize("name", ["-o.c", "a\0.c", "x" * 300 + ".c", "../a.c", "é.c"], ids=lambda name: name[:9])
async def test_any_name_will_do_for_a_syntax_check(client: httpx.AsyncClient, name: str) -> None:
    if (await client.get("/languages")).json()["languages"]["c"] == "not installed":
        pytest.skip("gcc is not installed")
    response = await client.post("/syntax-check", json={"code": "int f(void);\n", "language": "c", "filename": name})
    assert (response.status_code, response.json().get("valid")) == (200, True), response.text


async def test_an_unknown_language_is_a_400_in_both(client: httpx.AsyncClient) -> None:
    for path in ("/execute", "/syntax-check"):
        response = await client.post(path, json={"code": "x", "language": "cobol"})
        assert (response.status_code, response.json()["code"]) == (400, "unknown_language")


async def test_the_documented_syntax_check_has_the_documented_answer(client: httpx.AsyncClient) -> None:
    request = {"code": "def foo(:\n    pass", "language": "python", "filename": "main.py"}
    body = (await client.post("/syntax-check", json=request)).json()
    assert body.pop("check_time_ms") >= 0
    assert body == {"valid": False, "errors": ["SyntaxError: invalid syntax (line 1)"], "language": "python"}


async def test_every_language_of_the_sandbox_is_listed(client: httpx.AsyncClient) -> None:
    languages = (await client.get("/languages")).json()["languages"]
    assert {"python", "javascript", "go", "rust", "c", "cpp", "bash"} <= set(languages)
    assert languages["python"].startswith("Python 3.")
    assert all(isinstance(version, str) and version for version in languages.values())


async def test_health_has_the_documented_member(client: httpx.AsyncClient) -> None:
    body = (await client.get("/health")).json()
    assert (body["status"], bool(body["isolation"])) == ("healthy", True)
