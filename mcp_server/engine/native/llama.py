"""The one importer of llama_cpp: the low-level functions as `native`, and its log.

Importing this module loads the shared library (0.1 s or more), so only the worker thread's side imports it. The log
that llama.cpp would print is kept here, the last lines of it, because a failed load returns NULL and explains itself
only there. Structures of this library change between releases: the version is pinned and checked at import.
"""

import ctypes
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as native

from mcp_server.errors import EngineError

PINNED_VERSION = "0.3.36"  # its structures are laid out as this package expects
__all__ = ["forget_log", "last_errors", "native", "silenced"]

LOG_LINES_KEPT = 40  # lines; enough for a failed load, which logs 3-10 warnings and errors
LOG_LEVEL_WARN = 3  # ggml's levels: 1 debug, 2 info, 3 warn, 4 error, 5 continue the last one
LOG_LEVEL_ERROR = 4
STDERR = 2  # file descriptor
MESSAGE_LINES = 3  # lines of log that an error message quotes

_lines: deque[tuple[int, str]] = deque(maxlen=LOG_LINES_KEPT)


@native.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes function type of an untyped library
def _keep_line(level: int, text: bytes, _user_data: Any) -> None:
    if level in (LOG_LEVEL_WARN, LOG_LEVEL_ERROR) and (line := text.decode("utf-8", "replace").strip()):
        _lines.append((level, line))


def forget_log() -> None:
    """Drop the lines kept so far, so that `last_errors` speaks of what comes next."""
    _lines.clear()


def last_errors() -> str:
    """Join the last error lines, or failing those the last warnings, into one sentence; "" when there are none."""
    errors = [line for level, line in _lines if level == LOG_LEVEL_ERROR]
    return "; ".join((errors or [line for _, line in _lines])[-MESSAGE_LINES:])


@contextmanager
def silenced() -> Iterator[None]:
    """Send file descriptor 2 to nowhere meanwhile, for calls that print past the log callback.

    A grammar that does not parse is printed whole with `fprintf(stderr)`, and it is what a user wrote, which no log
    may show. The price: what another thread logs in these milliseconds is lost too, since a process has one stderr.
    """
    saved = os.dup(STDERR)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, STDERR)
            yield
        finally:
            os.dup2(saved, STDERR)
            os.close(nowhere)
    finally:
        os.close(saved)


def _start() -> None:
    if llama_cpp.__version__ != PINNED_VERSION:
        msg = f"llama-cpp-python is {llama_cpp.__version__}; install {PINNED_VERSION}, whose structures this expects."
        raise EngineError(msg)
    native.llama_log_set(_keep_line, ctypes.c_void_p(0))
    native.llama_backend_init()


_start()
