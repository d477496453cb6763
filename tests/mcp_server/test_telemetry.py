"""Log lines: one JSON object each, joined by request id, and without a word of what people asked."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mcp_server.errors import EngineError
from mcp_server.telemetry import JsonLines, configure_logging, request_id
from shim.doors.atlas import proxy
from tests.fakes import Reply, ScriptedEngine
from tests.stack import open_door

SECRET = "open sesame"  # noqa: S105 - what no log may hold
log = logging.getLogger("a.logger")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    caplog.handler.setFormatter(JsonLines())
    caplog.set_level(logging.DEBUG)
    return lambda: [json.loads(line) for line in caplog.text.splitlines()]


def test_a_line_has_time_level_logger_event_and_what_the_call_gave(lines: Any) -> None:
    log.warning("it is %s", "late", extra={"delay_s": 1.5, "where": Path("x"), "text": 'é "\n'})
    (line,) = lines()
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "a.logger",
        "event": "it is late",
        "delay_s": 1.5,
        "where": "x",
        "text": 'é "\n',
    }


def test_a_line_carries_the_request_id_and_the_traceback(lines: Any) -> None:
    token = request_id.set("req_1")
    try:
        assert 1 / 0
    except ZeroDivisionError:
        log.exception("failed")
    request_id.reset(token)
    log.info("after")
    failed, after = lines()
    assert failed["request_id"] == "req_1"
    assert failed["traceback"].startswith("Traceback")
    assert failed["traceback"].endswith("ZeroDivisionError: division by zero")
    assert "request_id" not in after


@pytest.mark.usefixtures("restored_logging")
def test_every_logger_writes_json_to_stderr_and_nothing_to_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    configure_logging("warning")
    configure_logging("warning")
    log.info("unseen")
    log.warning("seen")
    logging.getLogger("httpx").info("a URL, perhaps with a key")
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert json.loads(line)["event"] == "seen"
    assert sys.stdout is not sys.stderr


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("error", [None, EngineError("the batch failed")], ids=["answered", "failed"])
async def test_no_prompt_and_no_answer_is_logged(
    error: Exception | None,
    stream: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.setFormatter(JsonLines())
    caplog.set_level(logging.INFO)
    engine = ScriptedEngine([Reply((SECRET, " said"), error=error)])
    async with open_door(proxy.DOOR, tmp_path, engine=engine) as client:
        body = {"messages": [{"role": "user", "content": SECRET}], "stream": stream}
        response = await client.post("/v1/chat/completions", json=body)
        assert (SECRET in response.text) == (stream or error is None)
        await client.post("/v1/chat/completions", json={"messages": SECRET})
        await client.post("/v1/chat/completions", content=SECRET)
    assert "cinque.access" in caplog.text
    assert SECRET not in caplog.text
