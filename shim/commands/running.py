"""How a command runs: a mistake of the user's, or a thing that is down, is one line on stderr and an exit status.

Only a defect of ours shows a traceback. `cinque mcp` does without this module: an IDE would wait for its imports.
"""

import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from pydantic import ValidationError
from pydantic_settings import SettingsError

from mcp_server.listening import PortInUseError
from shim.errors import ApiError, CommandError
from shim.supervisor import ChildSettingsError

FAILED = 1
UNUSABLE = 2  # the command line or the settings: the same command would fail again
PREFIX = "CINQUE_"
FIELD = re.compile(r'field "(\w+)"')  # how pydantic-settings names the variable that it cannot parse
MISTAKES = (CommandError, PortInUseError, ChildSettingsError, ValidationError, SettingsError)


def run_async(name: str, function: Callable[..., Awaitable[int]], *arguments: Any) -> int:
    """Run *function* to its exit status; what a person can mend is told in one line."""
    try:
        return anyio.run(function, *arguments)
    except BaseException as error:
        cause = _innermost(error)
        if isinstance(cause, BrokenPipeError | SystemExit):  # the reader of our output has left, as `head` does
            return FAILED
        if not isinstance(cause, (*MISTAKES, ApiError)):
            raise
        print(f"cinque {name}: {_one_line(cause)}", file=sys.stderr)  # noqa: T201 - a command speaks to a person
        return UNUSABLE if isinstance(cause, MISTAKES) else FAILED


async def cancel_on_signal(scope: anyio.CancelScope) -> None:
    """Cancel *scope* at Ctrl-C or SIGTERM: the orderly end of a command that runs until it is told to stop."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


def _one_line(error: BaseException) -> str:
    if isinstance(error, SettingsError) and (field := FIELD.search(str(error))):  # a list or object that is not JSON
        return f"{PREFIX}{field[1].upper()}: {error.__cause__ or error}"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        if not first["loc"]:  # a rule over several settings, whose message names them
            return first["msg"].removeprefix("Value error, ")
        variable = str(first["loc"][0]).upper()
        variable = variable if variable.startswith(PREFIX) else PREFIX + variable
        return f"{variable}={first['input']!r}: {first['msg']}"
    return str(error)


def _innermost(error: BaseException) -> BaseException:
    """Unwrap task groups, which wrap even a single failure."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
