"""Reading calls letter by letter: what a scanner is, and the letters of a JSON value counted to its end.

A scanner starts behind a format's opening mark and says after every letter whether it needs more, has whole calls, or
cannot have any. It looks at no letter twice and never ahead, so how the text was cut into tokens cannot matter.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

MAX_HEAD_CHARS = 256  # between the opening mark and the arguments: the name and some punctuation
FIRST_KEY_QUOTES = 2  # around the first key of an object
NAME_KEYS = ("name", "tool_name", "function")
ARGUMENT_KEYS = ("arguments", "parameters", "args")

Schemas = Mapping[str, dict[str, Any]]
"""The functions that may be called, each with the JSON schema of its arguments."""


class Status(Enum):
    """What a scanner says after a letter."""

    MORE = "more"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class WrittenCall:
    """A call as a model wrote it."""

    name: str
    arguments: dict[str, Any]


class Scanner(Protocol):
    """Reads what follows one opening mark."""

    calls: list[WrittenCall]

    def feed(self, char: str) -> Status:
        """Read a letter; `calls` is filled when the answer is DONE."""
        ...


class JsonValue:
    """The letters of one JSON object or array, up to the bracket that closes it."""

    def __init__(self) -> None:
        self.text = ""
        self._depth = 0
        self._is_in_string = False
        self._is_escaped = False

    def feed(self, char: str) -> bool:
        """Add a letter; True when the value is complete."""
        self.text += char
        if self._is_in_string:
            self._feed_string(char)
        elif char == '"':
            self._is_in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1
            return self._depth <= 0
        return False

    def parse(self) -> Any:
        """Give the value; raw line ends inside strings, which models write, are taken as they are.

        Raises:
            ValueError: The text is not JSON.
        """
        try:
            return json.loads(self.text, strict=False)
        except RecursionError as error:
            msg = "nested too deeply"
            raise ValueError(msg) from error

    def _feed_string(self, char: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif char == "\\":
            self._is_escaped = True
        elif char == '"':
            self._is_in_string = False


class ObjectScanner:
    """Calls as objects with a name and arguments, alone or in an array: `{"name": ..., "arguments": {...}}`."""

    def __init__(self, _mark: str, schemas: Schemas, *, needs_arguments: bool = False) -> None:
        self.calls: list[WrittenCall] = []
        self._schemas = schemas
        self._needs_arguments = needs_arguments  # and a known first key: for calls without a mark of their own
        self._value: JsonValue | None = None

    def feed(self, char: str) -> Status:
        """Read a letter."""
        if self._value is None:
            if char.isspace():
                return Status.MORE
            if char not in "{[":
                return Status.FAILED
            self._value = JsonValue()
        if self._value.feed(char):
            return self._finish(self._value)
        if self._needs_arguments and self._value.text.count('"') <= FIRST_KEY_QUOTES:
            return Status.MORE if _may_be_call(self._value.text) else Status.FAILED
        return Status.MORE

    def _finish(self, value: JsonValue) -> Status:
        try:
            self.calls = calls_in(value.parse(), self._schemas, needs_arguments=self._needs_arguments)
        except ValueError:
            return Status.FAILED
        return Status.DONE if self.calls else Status.FAILED


class NamedScanner:
    """A name, then its arguments as a JSON object: `get_weather[ARGS]{...}`."""

    def __init__(self, mark: str, head: str) -> None:
        """Start behind `mark`; the regular expression `head` matches it and all up to the arguments, `name` in it."""
        self.calls: list[WrittenCall] = []
        self._head = re.compile(head)
        self._before = mark
        self._name = ""
        self._value: JsonValue | None = None

    def feed(self, char: str) -> Status:
        """Read a letter."""
        if self._value is not None:
            return self._finish(self._value) if self._value.feed(char) else Status.MORE
        if char != "{":
            self._before += char
            return Status.MORE if len(self._before) <= MAX_HEAD_CHARS else Status.FAILED
        match = self._head.fullmatch(self._before)
        if match is None:
            return Status.FAILED
        self._name = match["name"]
        self._value = JsonValue()
        self._value.feed(char)
        return Status.MORE

    def _finish(self, value: JsonValue) -> Status:
        try:
            arguments = value.parse()
        except ValueError:
            return Status.FAILED
        self.calls = [WrittenCall(self._name, arguments)] if isinstance(arguments, dict) else []
        return Status.DONE if self.calls else Status.FAILED


def calls_in(value: Any, schemas: Schemas, *, needs_arguments: bool = False) -> list[WrittenCall]:
    """Read calls from a JSON value: an object or an array of them, with the keys that models use.

    Raises:
        ValueError: Something in it is no call.
    """
    if isinstance(value, list):
        return [call for item in value for call in calls_in(item, schemas, needs_arguments=needs_arguments)]
    if not isinstance(value, dict):
        msg = "no object"
        raise ValueError(msg)  # noqa: TRY004  # the caller asks whether the text is a call, not for a type
    if isinstance(value.get("function"), dict):  # as the OpenAI API has calls
        return calls_in(value["function"], schemas, needs_arguments=needs_arguments)
    name = next((value[key] for key in NAME_KEYS if isinstance(value.get(key), str)), None)
    found = [key for key in ARGUMENT_KEYS if key in value]
    if name is None and len(value) == 1 and next(iter(value)) in schemas:  # {"get_weather": {...}}
        (name, arguments), *_ = value.items()
    elif name is None or (needs_arguments and not found):
        msg = "no name or no arguments"
        raise ValueError(msg)
    else:
        arguments = value[found[0]] if found else {}
    return [WrittenCall(name, as_object(arguments))]


def as_object(arguments: Any) -> dict[str, Any]:
    """Give arguments as an object; some models write one as text inside a string.

    Raises:
        ValueError: They are none.
    """
    if isinstance(arguments, str):
        arguments = json.loads(arguments, strict=False) if arguments.strip() else {}
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        msg = "arguments are no object"
        raise ValueError(msg)  # noqa: TRY004  # the caller asks whether the text is a call, not for a type
    return arguments


def _may_be_call(text: str) -> bool:
    """Tell whether the beginning of a JSON value may be that of a call, by its first key."""
    match = re.fullmatch(r'[\[{\s]*(?:"(?P<key>[^"]*)(?P<rest>.*))?', text, re.DOTALL)
    if match is None:
        return False
    if match["key"] is None:
        return True
    keys = (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id")
    return match["key"] in keys if match["rest"] else any(key.startswith(match["key"]) for key in keys)
