"""Calls whose arguments have tags of their own: `<function=f><parameter=city>Rome</parameter></function>` and kin.

Values of parameters whose schema says "string" are taken as they are, but for one line end on either side; others are
JSON. The reader is lenient about white space, because models are.
"""

import json
import re
from typing import Any

from mcp_server.engine.chat.tool_formats.scanning import MAX_HEAD_CHARS, Schemas, Status, WrittenCall

_TAG = r"<[^<>\s]*?"  # the beginning of a tag with any prefix: `<`, `<atem:`
_PARAMETER = re.compile(
    rf"{_TAG}param(?:eter)?(?:=|\s+name=)\"?(?P<key>[^\"<>]+?)\"?(?:\s+string=\"(?P<is_text>true|false)\")?\s*>"
    rf"(?P<value>.*?)</[^<>\s]*?param(?:eter)?>",
    re.DOTALL,
)
_ARGUMENT = re.compile(
    r"<arg_key[^<>]*>(?P<key>.*?)</arg_key[^<>]*>\s*<arg_value[^<>]*>(?P<value>.*?)</arg_value[^<>]*>", re.DOTALL
)


class TaggedScanner:
    """A function's tag, its parameters' tags, up to the function's closing tag."""

    def __init__(self, mark: str, schemas: Schemas, *, head: str, close: str) -> None:
        """Start behind `mark`; the expression `head` matches it and all up to the first parameter, `name` in it."""
        self.calls: list[WrittenCall] = []
        self._schemas = schemas
        self._head = re.compile(head)
        self._close = close
        self._text = mark
        self._latest = len(mark) + MAX_HEAD_CHARS  # where the head must be over

    def feed(self, char: str) -> Status:
        """Read a letter."""
        self._text += char
        if not self._text.endswith(self._close):
            is_lost = len(self._text) == self._latest and not self._head.match(self._text)
            return Status.FAILED if is_lost else Status.MORE
        body = self._text[: -len(self._close)]
        match = self._head.match(body)
        if match is None:
            return Status.FAILED
        name = match["name"].strip()
        arguments = _parameters(body[match.end() :], self._schemas.get(name, {}))
        if arguments is None:
            return Status.FAILED
        self.calls = [WrittenCall(name, arguments)]
        return Status.DONE


def _parameters(body: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """Read the parameters; None when something else stands between them."""
    pattern = _ARGUMENT if "<arg_key" in body else _PARAMETER
    if pattern.sub("", body).strip():
        return None
    arguments: dict[str, Any] = {}
    for match in pattern.finditer(body):
        key = match["key"].strip()
        is_text = match.groupdict().get("is_text")
        wants_text = is_text == "true" if is_text else _is_text(schema, key)
        arguments[key] = _value(match["value"], wants_text=wants_text)
    return arguments


def _is_text(schema: dict[str, Any], key: str) -> bool:
    wanted = schema.get("properties", {}).get(key, {})
    return isinstance(wanted, dict) and wanted.get("type") == "string"


def _value(text: str, *, wants_text: bool) -> Any:
    text = text.removeprefix("\n").removesuffix("\n")
    if wants_text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
