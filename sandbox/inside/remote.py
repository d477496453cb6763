"""The candidate's half of a split run: load it, then answer calls until the tests hang up.

Untrusted from the first line of the candidate on. Whatever it sends, the tests in the other job see plain data and
judge it there; it has never seen them.
"""

import builtins
import inspect
import sys
from typing import Any

from sandbox.inside import codec, harness, program
from sandbox.inside.records import Recorder


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Serve the functions of the candidate over the channel to the partner job; return 0 at its end."""
    wire = codec.Wire(arguments["remote_fd"])
    module = harness.load_candidate(arguments, recorder)
    if module is None:
        wire.send({"loaded": False})
        return program.FAILED
    names = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    wire.send({"loaded": True, **_describe(names, arguments["remote"])})
    while (request := wire.receive()) is not None:
        wire.send(_answer(names, request))
    for stream in (sys.stdout, sys.stderr):
        program.flush(stream)
    return 0


def _describe(names: dict[str, Any], wanted: dict[str, list[str]]) -> dict[str, Any]:
    """Return which functions there are, the constants that the tests use, and what cannot travel."""
    values: dict[str, Any] = {}
    opaque = [name for name in wanted["functions"] if not callable(names.get(name))]
    for name in wanted["values"]:
        try:
            values[name] = codec.encode(names[name])
        except (KeyError, codec.NotPlainError):
            opaque.append(name)
    return {"values": values, "opaque": opaque}


def _answer(names: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Call one function; return its value, its exception, or that it cannot travel."""
    number = request["id"]
    args, kwargs = codec.decode(request["args"]), codec.decode(request["kwargs"])
    try:
        value = names[request["name"]](*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - the tests decide what an exception means, SystemExit among them
        return {"id": number, "raised": _exception(error), "args": _after(request["args"], args)}
    try:
        if inspect.iscoroutine(value):
            value.close()
            return {"id": number, "opaque": "a coroutine"}
        return {"id": number, "value": codec.encode(value), "args": _after(request["args"], args)}
    except codec.NotPlainError as error:
        return {"id": number, "opaque": str(error)}


def _after(before: Any, args: list[Any]) -> Any:
    """Return the arguments after the call if it changed them, for tests of functions that work in place."""
    try:
        after = codec.encode(args)
    except codec.NotPlainError:
        return None
    return None if after == before else after


def _exception(error: BaseException) -> dict[str, Any]:
    """Return an exception as its name, the built-in class nearest to it, and its text."""
    nearest = next(
        (kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind), "Exception"
    )
    try:
        args = codec.encode(list(error.args))
    except codec.NotPlainError:
        args = None
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a hostile __str__ may raise anything
        text = f"<unprintable: {type(broken).__name__}>"
    return {"type": type(error).__name__, "nearest": nearest, "args": args, "text": text}
