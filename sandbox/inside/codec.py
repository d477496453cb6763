"""Plain data as JSON text, and frames on a stream socket: what two jobs that do not trust each other may exchange.

Only exact built-in types travel: None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set,
frozenset, range. Nothing is ever unpickled, no class is looked up, and every frame and depth is bounded.
"""

import json
import math
import socket
import struct
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
MAX_FRAME_BYTES = 16 << 20
MAX_JSON_INT_BITS = 4096  # longer integers travel as hexadecimal text: the parser limits decimal digits
_LENGTH = struct.Struct("<I")


class NotPlainError(Exception):
    """Raised when a value has a type that cannot travel, is too deep, or is too large."""


class BadAnswerError(Exception):
    """Raised when what came over the wire is not what this module writes."""


def _encode(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise NotPlainError("a value nested too deeply, or containing itself")
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if value.bit_length() <= MAX_JSON_INT_BITS else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is list:
        return [_encode(item, depth + 1) for item in value]
    return _encode_tagged(value, kind, depth + 1)


def _encode_tagged(value: Any, kind: type, depth: int) -> dict[str, Any]:
    """Return a value that JSON has no form for as an object of one member, its type's name."""
    name = kind.__name__
    if kind is dict:
        return {name: [[_encode(key, depth), _encode(item, depth)] for key, item in value.items()]}
    if kind is tuple or kind is set or kind is frozenset:
        return {name: [_encode(item, depth) for item in value]}
    if kind is bytes or kind is bytearray:
        return {name: value.hex()}
    if kind is complex:
        return {name: [_encode(value.real, depth), _encode(value.imag, depth)]}
    if kind is range:
        return {name: [_encode(item, depth) for item in (value.start, value.stop, value.step)]}
    raise NotPlainError(f"a value of type {name}")


def encode(value: Any) -> Any:
    """Return a JSON-able form of plain data. Raises `NotPlainError`."""
    return _encode(value, 0)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda body: int(body, 16),
    "float": float,
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
    "dict": lambda body: {decode(key): decode(item) for key, item in body},
    "tuple": lambda body: tuple(decode(item) for item in body),
    "set": lambda body: {decode(item) for item in body},
    "frozenset": lambda body: frozenset(decode(item) for item in body),
    "complex": lambda body: complex(*(decode(item) for item in body)),
    "range": lambda body: range(*(decode(item) for item in body)),
}


def decode(form: Any) -> Any:
    """Return the value of an encoded form. Raises `BadAnswerError` for anything else."""
    if isinstance(form, list):
        return [decode(item) for item in form]
    if not isinstance(form, dict):
        return form
    try:
        ((tag, body),) = form.items()
        return _DECODERS[tag](body)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        raise BadAnswerError(f"an answer that is not plain data: {error}") from None


class Wire:
    """Frames of JSON over a stream socket: a length, then the text."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame. Raises `NotPlainError` when it is too large, OSError when the partner is gone."""
        text = json.dumps(message).encode()
        if len(text) > MAX_FRAME_BYTES:
            raise NotPlainError(f"a value of {len(text)} bytes")
        self._socket.sendall(_LENGTH.pack(len(text)) + text)

    def receive(self) -> dict[str, Any] | None:
        """Return the next frame, None at the end. Raises `BadAnswerError`."""
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        (size,) = _LENGTH.unpack(head)
        if size > MAX_FRAME_BYTES:
            raise BadAnswerError("an answer that is too large")
        text = self._exactly(size)
        if text is None:
            return None
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise BadAnswerError("an answer that is not JSON") from None
        if not isinstance(message, dict):
            raise BadAnswerError("an answer that is not an object")
        return message

    def _exactly(self, n_bytes: int) -> bytes | None:
        found = bytearray()
        while len(found) < n_bytes:
            try:
                chunk = self._socket.recv(min(n_bytes - len(found), 1 << 20))
            except ConnectionResetError:
                return None
            if not chunk:
                return None
            found += chunk
        return bytes(found)

    def is_quiet(self) -> bool:
        """Tell whether nothing has arrived that was not asked for."""
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return True
