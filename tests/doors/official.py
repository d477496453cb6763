"""OpenAI's own schemas, and how a stream of theirs is read."""

import json
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator

SCHEMAS = json.loads((Path(__file__).parent / "openai_schemas.json").read_text(encoding="utf-8"))["$defs"]


def assert_official(value: Any, schema: str) -> None:
    """Check *value* against a component of OpenAI's API document."""
    Draft202012Validator({"$ref": f"#/$defs/{schema}", "$defs": SCHEMAS}).validate(value)


def events_of(response: httpx.Response) -> list[Any]:
    """Read the events of a stream that ends without a word."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, rest = response.text.split("\n\n")
    assert rest == ""
    return [json.loads(event.removeprefix("data: ")) for event in events]


def chunks_of(response: httpx.Response, schema: str) -> list[dict[str, Any]]:
    """Read a stream that ends by `[DONE]`; every chunk but for its finish_reason is an official one."""
    assert response.status_code == 200, response.text
    *events, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    for chunk in chunks:
        known = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in chunk["choices"]]
        assert_official({**chunk, "choices": known}, schema)
    return chunks
