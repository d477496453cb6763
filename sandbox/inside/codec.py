"""Plain data as JSON text, and frames on a stream socket: what two jobs that do not trust each other may exchange.

Only exact built-in types travel: None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set,
frozenset, range. Nothing is ever unpickled, no class is looked up, and every frame and depth is bounded.
"""

import json
import math
import socket
import struct
from typing import Any

MAX_DEPTH = 100
MAX_FRAME_BYTES = 16 << 20
MAX_JSON_INT_BITS = 4096  # longer integers travel as hexadecimal text: the parser limits decimal digits
_LENGTH = struct.Struct("<I")
_TAGGED = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


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
    if kind is dict:
        return {"dict": [[_encode(key, depth + 1), _encode(item, depth + 1)] for key, item in value.items()]}
    if kind in _TAGGED:
        return {_TAGGED[kind]: [_encode(item, depth + 1) for item in value]}
    if kind is bytes or kind is bytearray:
        return {kind.__name__: value.hex()}
    if kind is complex:
        return {"complex": [_encode(value.real, depth + 1), _encode(value.imag, depth + 1)]}
    if kind is range:
        return {"range": [_encode(item, depth + 1) for item in (value.start, value.stop, value.step)]}
    raise NotPlainError(f"a value of type {kind.__name__}")


def encode(value: Any) -> Any:
    """Return a JSON-able form of plain data. Raises `NotPlainError`."""
    return _encode(value, 0)


def _decode_tagged(tag: str, body: Any) -> Any:
    if tag == "int":
        return int(body, 16)
    if tag == "float":
        return float(body)
    if tag == "bytes":
        return bytes.fromhex(body)
    if tag == "bytearray":
        return bytearray.fromhex(body)
    items = [decode(item) for item in body] if tag != "dict" else []
    if tag == "dict":
        return {decode(key): decode(item) for key, item in body}
    if tag == "complex":
        return complex(*items)
    if tag == "range":
        return range(*items)
    return _SEQUENCES[tag](items)


def decode(form: Any) -> Any:
    """Return the value of an encoded form. Raises `BadAnswerError` for anything else."""
    if isinstance(form, list):
        return [decode(item) for item in form]
    if not isinstance(form, dict):
        return form
    try:
        ((tag, body),) = form.items()
        return _decode_tagged(tag, body)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
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
