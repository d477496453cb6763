"""What a text of errors says went wrong, in one form for every language: `Cause`.

Readers (`python_traces.py`, `javascript_traces.py`, `compilers.py`, `crashes.py`) make it from text; `explain.py`
weighs it against the facts. The tables here say which kind of failure a class of error is. It reads no text itself.
"""

from dataclasses import dataclass

from sandbox.types import FailureType, TracebackFrame

MAX_FRAMES = 32  # innermost kept: a recursion has a thousand equal ones


@dataclass(frozen=True)
class Cause:
    """One error as a runtime or a compiler told it."""

    kind: FailureType
    error_class: str | None
    message: str
    frames: tuple[TracebackFrame, ...] = ()  # the call that failed is the last
    hint: str | None = None  # the toolchain's own advice
    is_compile_error: bool = False
    is_last: bool = True  # False: more text followed, so the program lived on


KINDS: dict[str, FailureType] = {
    "SyntaxError": "syntax",
    "IndentationError": "syntax",
    "TabError": "syntax",
    "TestSyntaxError": "syntax",
    "NameError": "name",
    "UnboundLocalError": "name",
    "ReferenceError": "name",
    "LinkError": "name",
    "TypeError": "type",
    "CompileError": "type",
    "std::bad_cast": "type",
    "IndexError": "index",
    "std::out_of_range": "index",
    "KeyError": "key",
    "ValueError": "value",
    "JSONDecodeError": "value",
    "UnicodeDecodeError": "value",
    "UnicodeEncodeError": "value",
    "RangeError": "value",
    "URIError": "value",
    "std::invalid_argument": "value",
    "std::domain_error": "value",
    "std::length_error": "value",
    "AttributeError": "attribute",
    "ImportError": "import",
    "ModuleNotFoundError": "import",
    "DependencyError": "import",
    "TestCollectionError": "import",
    "AssertionError": "assertion",
    "Failed": "assertion",  # pytest.fail and pytest.raises
    "TestRunFailed": "assertion",
    "TestsTampered": "assertion",
    "TestSkipped": "assertion",
    "Timeout": "timeout",
    "TimeoutError": "timeout",
    "MemoryError": "memory",
    "MemoryLimit": "memory",
    "std::bad_alloc": "memory",
    "NoTestsFound": "unknown",
    "NoTestsRun": "unknown",
}
"""Kind of each class of error, those of the sandbox's own judgement among them; other classes are `runtime`."""


def kind_of(error_class: str | None) -> FailureType:
    """Return the kind of *error_class*, which may be qualified."""
    if not error_class:
        return "unknown"
    return KINDS.get(error_class) or KINDS.get(short_name(error_class), "runtime")


def short_name(error_class: str | None) -> str:
    """Return a class' name without its module: `json.decoder.JSONDecodeError` is `JSONDecodeError`."""
    return (error_class or "").rpartition(".")[2]


def last_frames(frames: list[TracebackFrame]) -> tuple[TracebackFrame, ...]:
    """Return as many of the innermost frames as a cause holds."""
    return tuple(frames[-MAX_FRAMES:])
