"""The tests' half of a split run: a module `solution` whose functions live in another job.

A call sends plain data and waits for plain data. When the tests need something that cannot travel, the run is given
up as `opaque` and the host repeats it in one process, saying so. The candidate cannot reach anything on this side.
"""

import builtins
import sys
import types
from typing import Any, NoReturn

from sandbox.inside import codec
from sandbox.inside.records import Recorder

MODULE = "solution"


class GivenUp(BaseException):
    """Raised when the tests need what cannot travel; no test may catch it, so it is recorded where it is raised."""


class ProgramEnded(BaseException):
    """Raised in a test whose call was never answered."""


class Partner:
    """The other job, as the tests see it."""

    def __init__(self, wire: codec.Wire, recorder: Recorder) -> None:
        self._wire = wire
        self._record = recorder.add
        self._n_calls = 0

    def give_up(self, what: str) -> NoReturn:
        """Record that this run cannot be split, and stop it."""
        self._record("opaque", what=what)
        raise GivenUp(what)

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the candidate; returns its value or raises its exception."""
        self._n_calls += 1
        try:
            request = {
                "id": self._n_calls,
                "name": name,
                "args": codec.encode(list(args)),
                "kwargs": codec.encode(kwargs),
            }
            if not self._wire.is_quiet():
                raise codec.BadAnswerError("an answer that nobody asked for")
            self._wire.send(request)
            reply = self._wire.receive()
        except codec.NotPlainError as error:
            self.give_up(str(error))
        except OSError:
            reply = None
        if reply is None:
            raise ProgramEnded(f"the program ended during the call of {name}")
        return self._understand(reply, args)

    def _understand(self, reply: dict[str, Any], args: tuple[Any, ...]) -> Any:
        if reply.get("id") != self._n_calls:
            raise codec.BadAnswerError("an answer to another question")
        if "opaque" in reply:
            self.give_up(str(reply["opaque"]))
        if reply.get("args") is not None:
            _change(args, codec.decode(reply["args"]))
        if "raised" in reply:
            raise _exception(reply["raised"])
        return codec.decode(reply["value"])


def _exception(raised: dict[str, Any]) -> BaseException:
    """Return an exception of the nearest built-in class, never of a class of the candidate's."""
    kind = getattr(builtins, str(raised["nearest"]), Exception)
    if not (isinstance(kind, type) and issubclass(kind, (Exception, SystemExit))):
        kind = Exception
    text = str(raised["text"])
    if raised["type"] != kind.__name__:
        text = f"{raised['type']}: {text}"
    args = codec.decode(raised["args"]) if raised["args"] is not None else [text]
    try:
        found = kind(*args)
    except TypeError:
        found = Exception(text)
    assert isinstance(found, BaseException)  # noqa: S101 - a built-in exception class makes one
    return found


def _change(old: Any, new: Any) -> None:
    """Make the arguments that the caller holds equal to what they became in the other job."""
    if isinstance(old, (list, tuple)) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            if type(before) is type(after) and isinstance(before, (list, tuple, dict, set, bytearray)):
                _change(before, after)
            elif isinstance(old, list):
                old[i] = after
    elif isinstance(old, (list, bytearray)):
        old[:] = new
    elif isinstance(old, (dict, set)):
        old.clear()
        old.update(new)


class RemoteFunction:
    """A function of the candidate, called in the other job."""

    __slots__ = ("__name__", "_partner")

    def __init__(self, name: str, partner: Partner) -> None:
        self.__name__ = name
        self._partner = partner

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return self._partner.call(self.__name__, args, kwargs)

    def __getattr__(self, name: str) -> NoReturn:
        """Anything but calling needs the function itself."""
        self._partner.give_up(f"the attribute {name} of a function")

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"


def connect(arguments: dict[str, Any], recorder: Recorder) -> types.ModuleType | None:
    """Wait until the candidate is loaded and return its stand-in; None when it did not load."""
    wire = codec.Wire(arguments["remote_fd"])
    try:
        hello = wire.receive()
    except codec.BadAnswerError:
        hello = None
    if hello is None or not hello.get("loaded"):
        recorder.add("unloaded")
        return None
    partner = Partner(wire, recorder)
    if hello["opaque"]:
        recorder.add("opaque", what=f"the name {hello['opaque'][0]}")
        return None
    module = types.ModuleType(MODULE)
    for statement in arguments["remote"]["imports"]:
        exec(statement, module.__dict__)  # noqa: S102 - an import of the standard library, chosen from a list
    for name in arguments["remote"]["functions"]:
        setattr(module, name, RemoteFunction(name, partner))
    for name, form in hello["values"].items():
        if name in arguments["remote"]["values"]:
            setattr(module, name, codec.decode(form))
    sys.modules[MODULE] = module
    return module
