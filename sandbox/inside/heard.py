"""Which failed checks of Python tests were heard: what an assert raised must end its test, wherever it was raised.

A failure that something swallowed, as `suppress(Exception)`, a task that nobody awaits, a thread or a child process,
fails the test in spite of it; so does a check that was begun and never ended. Heard is what a handler of the tests
judges anew, and what `raises` expects. What the program's own code may have caught is the program's business, as in
tests of something that runs callbacks. Knows nothing of how tests are run (`harness.py`, `under_pytest.py`).
"""

import ast
import asyncio
import contextlib
import mmap
import os
import sys
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

CANDIDATE = {"solution", "__main__"}  # modules of the program's, and names of its file
TEST_FILE = "test_solution.py"
GRACE_S = 1.0  # how long checks that still run at the end of their test may take
MAX_NOTED = 1000  # failures of one test that are told apart
MAX_SHOWN_BYTES = 400
_IDLING = {"threading.py", "queue.py", "selectors.py", "socket.py", "thread.py"}  # where a thread waits for others
_LOOKS_AT_CHILDREN = {"exitcode", "waitpid", "returncode", "WEXITSTATUS", "waitstatus_to_exitcode"}
_MAKES_CHILDREN = {"multiprocessing", "fork", "ProcessPoolExecutor"}

_raised: list[BaseException] = []  # by asserts of the current test
_pending: list[BaseException] = []  # those that nobody has heard
_loops: "weakref.WeakSet[asyncio.AbstractEventLoop]" = weakref.WeakSet()
_run: dict[str, Any] = {"folder": None, "pid": 0, "children": None}  # of the program, of this run


class TestChecksNothing(BaseException):
    """Raised in a test that checks nothing; no `except Exception` and no `raises(Exception)` of the test catches it."""

    __test__ = False  # not a test class, whatever pytest makes of its name


class CaseError(AssertionError):
    """What methods of a TestCase raise, noted where it is made."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        note(self)


CaseError.__name__ = CaseError.__qualname__ = "AssertionError"
CaseError.__module__ = "builtins"


def start(tree: ast.Module) -> None:
    """Begin a run of these tests in this process, after the program was loaded."""
    _run.update(folder=os.getcwd(), pid=os.getpid())
    words = {getattr(node, field, None) for node in ast.walk(tree) for field in ("id", "attr", "name", "module")}
    if words & _MAKES_CHILDREN and not words & _LOOKS_AT_CHILDREN:
        _run["children"] = mmap.mmap(-1, mmap.PAGESIZE)
    if "threading" in words:
        _watch_threads()
    if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree)) or "asyncio" in words:
        _watch_loops()


def note(error: BaseException) -> None:
    """Note what an assert raises, in the frame that does."""
    del _raised[:-MAX_NOTED]
    _raised.append(error)
    if os.getpid() != _run["pid"] and _run["children"] is not None:
        text = f"in a process that the tests started: {error}".encode("utf-8", "replace")[:MAX_SHOWN_BYTES]
        _run["children"][: len(text)] = text
    if threading.current_thread() is not threading.main_thread() or not _is_of_program(sys._getframe(1)):  # noqa: SLF001 - the stack is what is asked for
        _pending.append(error)


def raised(error: Any) -> Any:
    """Note an AssertionError that the tests are about to raise themselves; return it."""
    found = error() if isinstance(error, type) else error
    if isinstance(found, BaseException):
        note(found)
    return found


def _is_of_program(frame: types.FrameType | None) -> bool:
    """Tell whether code of the program called what runs, and so may catch what it raises."""
    while frame is not None:
        path = frame.f_code.co_filename
        folder = _run["folder"]
        if os.path.basename(path).removesuffix(".py") in CANDIDATE or (folder and path.startswith(f"{folder}/")):
            return True
        frame = frame.f_back
    return False


def _parts(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, and those that a group of them holds."""
    if error is not None:
        yield error
        for part in getattr(error, "exceptions", ()):
            if isinstance(part, BaseException):
                yield from _parts(part)


def _has(errors: list[BaseException], error: BaseException | None) -> bool:
    return any(one is part for part in _parts(error) for one in errors)


def again(lines: tuple[int, ...] = ()) -> None:
    """Raise once more what a handler caught, if an assert of the tests raised it, or what it asked in these lines."""
    error = sys.exc_info()[1]
    if error is not None and (_has(_raised, error) or _is_of_lines(error, lines)):
        raise error


def lost(lines: tuple[int, ...]) -> None:
    """Note what is about to be swallowed, if a check in these lines raised it."""
    error = sys.exc_info()[1]
    if error is not None and _is_of_lines(error, lines) and not _has(_pending, error):
        _pending.append(error)


def _is_of_lines(error: BaseException, lines: tuple[int, ...]) -> bool:
    return error.__traceback__ is not None and error.__traceback__.tb_lineno in lines


def judged() -> None:
    """Note that a handler judges what it caught."""
    forget(sys.exc_info()[1])


def forget(error: BaseException | None) -> None:
    """Take a failure for heard."""
    parts = list(_parts(error))
    _pending[:] = [one for one in _pending if not any(one is part for part in parts)]


def drop(error: BaseException) -> None:
    """Forget that a failure was ever raised: tests may catch it as they like."""
    forget(error)
    _raised[:] = [one for one in _raised if one is not error]


def mark() -> int:
    """Return how many failures nobody has heard so far."""
    return len(_pending)


def after(n_before: int, value: Any) -> Any:
    """Take for heard what was raised since `mark`, by a call that expects it; return that call's value."""
    del _pending[n_before:]
    if _run["children"] is not None:
        _run["children"][:1] = b"\0"
    return value


@contextlib.contextmanager
def expecting() -> Iterator[None]:
    """Take for heard what is raised inside of a block that expects it, if the block then ends well."""
    n_before = mark()
    yield
    after(n_before, None)


def clear() -> None:
    """Forget what was raised: its test is over, and has not passed."""
    _raised.clear()
    _pending.clear()
    after(0, None)


def raise_lost() -> None:
    """At the end of a test that passed, raise what nobody has heard; wait a moment for checks that still run."""
    for loop in list(_loops):
        settle(loop)
    if threading.active_count() > 1:
        _settle_threads()
    _raised.clear()
    if _pending:
        error = _pending[0]
        clear()
        raise error
    children = _run["children"]
    if children is not None and children[0]:
        text = bytes(children[:MAX_SHOWN_BYTES]).rstrip(b"\0").decode("utf-8", "replace")
        children[:] = bytes(len(children))
        raise AssertionError(text)


def _checks(code: types.CodeType | None) -> bool:
    """Tell whether code is of the tests and has checks in it."""
    if code is None or os.path.basename(code.co_filename) != TEST_FILE:
        return False
    if any(name.startswith(("@", "assert", "fail")) for name in code.co_names):
        return True
    return any(_checks(part) for part in code.co_consts if isinstance(part, types.CodeType))


def _note_unseen(error: BaseException | None) -> None:
    """Note an exception that ended a check where nobody looks."""
    trace = None if error is None else error.__traceback__
    while trace is not None:
        if _checks(trace.tb_frame.f_code):
            if error is not None and not _has(_pending, error):
                _pending.append(error)
            return
        trace = trace.tb_next


def _watch_threads() -> None:
    """Hear what ends a thread of the tests, whatever hooks are set."""
    make: Callable[[], Callable[[threading.Thread], None]] = threading._make_invoke_excepthook  # type: ignore[attr-defined] # noqa: SLF001 - pytest replaces the public one

    def make_ours() -> Callable[[threading.Thread], None]:
        invoke = make()

        def noting(thread: threading.Thread) -> None:
            error = sys.exc_info()[1]
            if not isinstance(error, SystemExit):
                _note_unseen(error)
            invoke(thread)

        return noting

    threading._make_invoke_excepthook = make_ours  # type: ignore[attr-defined] # noqa: SLF001 - as above


def _settle_threads() -> None:
    """Wait for threads that run checks of the tests; one that does not end has not checked anything."""
    deadline = time.monotonic() + GRACE_S
    for thread in threading.enumerate():
        if thread is threading.current_thread() or not _is_checking(thread):
            continue
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive() and _is_checking(thread):
            text = "a thread that checks something still ran when its test ended; join it"
            _pending.append(TestChecksNothing(text))


def _is_checking(thread: threading.Thread) -> bool:
    """Tell whether a thread is inside a check of the tests, and does not just wait in the background for work."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the documented way to another thread's stack
    if frame is None or (thread.daemon and os.path.basename(frame.f_code.co_filename) in _IDLING):
        return False
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return any(map(_checks, codes))


def settle(loop: asyncio.AbstractEventLoop) -> None:
    """Let tasks of the tests that check something end before their loop does."""
    if loop.is_closed() or loop.is_running():
        return
    tasks = [task for task in asyncio.all_tasks(loop) if _checks(getattr(task.get_coro(), "cr_code", None))]
    if not tasks:
        return
    loop.run_until_complete(asyncio.wait(tasks, timeout=GRACE_S))
    for task in tasks:
        if not task.done():
            text = f"{task.get_coro().__name__} still ran in a task when its test ended; await the task"  # type: ignore[union-attr] # a coroutine has one
            _pending.append(TestChecksNothing(text))
        elif not task.cancelled():
            _note_unseen(task.exception())


def _never_awaited(coroutine: Any) -> None:
    """Note a coroutine of the tests that was thrown away before it began."""
    if _checks(getattr(coroutine, "cr_code", None)):
        name = coroutine.__name__
        _pending.append(
            TestChecksNothing(f"{name} was never awaited, so its checks never ran; write await {name}(...)")
        )


def _watch_loops() -> None:
    """Hear what event loops do with tasks and callbacks of the tests, by whatever way they are run."""
    owner = asyncio.base_events.BaseEventLoop
    run, close, tell = owner.run_until_complete, owner.close, owner.call_exception_handler
    cancel = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined] # noqa: SLF001 - what every runner ends with

    def noting_run(self: Any, future: Any) -> Any:
        _loops.add(self)
        return run(self, future)

    def settling_close(self: Any) -> None:
        settle(self)
        close(self)

    def noting_tell(self: Any, context: dict[str, Any]) -> None:
        _note_unseen(context.get("exception"))
        tell(self, context)

    def settling_cancel(loop: asyncio.AbstractEventLoop) -> None:
        settle(loop)
        cancel(loop)

    for name, value in (
        ("run_until_complete", noting_run),
        ("close", settling_close),
        ("call_exception_handler", noting_tell),
    ):
        setattr(owner, name, value)
    asyncio.runners._cancel_all_tasks = settling_cancel  # type: ignore[attr-defined] # noqa: SLF001 - as above
    warnings._warn_unawaited_coroutine = _never_awaited  # type: ignore[attr-defined] # noqa: SLF001 - what the interpreter calls
