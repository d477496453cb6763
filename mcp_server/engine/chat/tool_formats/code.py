"""Calls written as code: `[get_weather(city="Rome")]` of a Python list, and Gemma's `call:get_weather{city:...}`.

Nothing is run: Python's own parser reads the calls, and only literals are taken for arguments.
"""

import ast
import re
from typing import Any

from mcp_server.engine.chat.tool_formats.scanning import Status, WrittenCall

GEMMA_QUOTE = '<|"|>'
_GEMMA_HEAD = re.compile(r"call:(?P<name>[^{\s]+)$")
_GEMMA_ITEM = re.compile(
    r"\s*(?:<\|\"\|>(?P<text>.*?)<\|\"\|>|(?P<mark>[{}\[\]:,])|(?P<word>[^{}\[\]:,<\s]+))", re.DOTALL
)
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


class PythonScanner:
    """A Python list of calls with keyword arguments."""

    def __init__(self) -> None:
        self.calls: list[WrittenCall] = []
        self._text = ""
        self._depth = 0
        self._quote = ""
        self._is_escaped = False

    def feed(self, char: str) -> Status:
        """Read a letter."""
        if not self._text and char.isspace():
            return Status.MORE
        if not self._text and char != "[":
            return Status.FAILED
        self._text += char
        if self._quote:
            is_end = char == self._quote and not self._is_escaped
            self._is_escaped = char == "\\" and not self._is_escaped
            self._quote = "" if is_end else self._quote
            return Status.MORE
        self._quote = char if char in "\"'" else ""
        self._depth += (char in "[({") - (char in "])}")
        return Status.MORE if self._depth else self._finish()

    def _finish(self) -> Status:
        try:
            self.calls = _python_calls(self._text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return Status.FAILED
        return Status.DONE if self.calls else Status.FAILED


class GemmaScanner:
    """`call:name{key:<|"|>text<|"|>,other:3}`: bare keys, texts between marks of their own."""

    def __init__(self) -> None:
        self.calls: list[WrittenCall] = []
        self._text = ""
        self._depth = 0

    def feed(self, char: str) -> Status:
        """Read a letter."""
        self._text += char
        if self._text.count(GEMMA_QUOTE) % 2:
            return Status.MORE
        self._depth += (char in "{[") - (char in "}]")
        if char != "}" or self._depth > 0:
            return Status.MORE
        head, _, body = self._text.partition("{")
        match = _GEMMA_HEAD.search(head)
        try:
            arguments = _gemma_value(_gemma_items("{" + body))
        except (ValueError, IndexError, RecursionError):
            return Status.FAILED
        self.calls = [WrittenCall(match["name"], arguments)] if match and isinstance(arguments, dict) else []
        return Status.DONE if self.calls else Status.FAILED


def _python_calls(text: str) -> list[WrittenCall]:
    tree = ast.parse(text.strip(), mode="eval").body
    if not isinstance(tree, ast.List):
        msg = "no list"
        raise ValueError(msg)  # noqa: TRY004  # the caller asks whether the text is a call
    calls = []
    for node in tree.elts:
        if not isinstance(node, ast.Call) or node.args or any(keyword.arg is None for keyword in node.keywords):
            msg = "no call with keywords"
            raise ValueError(msg)
        arguments = {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords}
        calls.append(WrittenCall(ast.unparse(node.func), arguments))
    return calls


def _literal(node: ast.expr) -> Any:
    """Evaluate a literal; the words of JSON are literals too."""
    if isinstance(node, ast.Name) and node.id in _WORDS:
        return _WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {str(_literal(key)): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    value = ast.literal_eval(node)
    if value is not None and not isinstance(value, str | int | float | bool):
        msg = "no JSON"
        raise ValueError(msg)
    return value


def _gemma_items(text: str) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    at = 0
    while at < len(text.rstrip()):
        match = _GEMMA_ITEM.match(text, at)
        if match is None:
            msg = "unreadable"
            raise ValueError(msg)
        kind = str(match.lastgroup)
        items.append((kind, match[kind]))
        at = match.end()
    items.reverse()
    return items


def _gemma_value(items: list[tuple[str, Any]]) -> Any:
    """Read one value off the end of the reversed items."""
    kind, value = items.pop()
    if kind == "text":
        return value
    if kind == "word":
        return _WORDS[value] if value in _WORDS else float(value) if "." in value else int(value)
    if value == "[":
        return _gemma_members(items, "]", lambda: _gemma_value(items))
    if value == "{":
        return dict(_gemma_members(items, "}", lambda: _gemma_pair(items)))
    msg = "unexpected mark"
    raise ValueError(msg)


def _gemma_members(items: list[tuple[str, Any]], close: str, read: Any) -> list[Any]:
    members: list[Any] = []
    while items[-1] != ("mark", close):
        members.append(read())
        if items[-1] == ("mark", ","):
            items.pop()
    items.pop()
    return members


def _gemma_pair(items: list[tuple[str, Any]]) -> tuple[str, Any]:
    _, key = items.pop()
    if items.pop() != ("mark", ":"):
        msg = "no colon"
        raise ValueError(msg)
    return str(key), _gemma_value(items)
