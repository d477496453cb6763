"""Run a candidate as a program: `__main__`, its own output, its own exit status.

Looks to the program like `python solution.py`: sys.argv, sys.path, tracebacks, exit codes and exit handlers. What
ended it is recorded from the exception itself, never read back from text.
"""

import atexit
import contextlib
import os
import sys
import threading
import traceback
import types
from typing import Any

from sandbox.inside import source
from sandbox.inside.records import Recorder

FAILED = 1
EXIT_MASK = 0xFF
_print_exception = traceback.print_exception
_run_exit_handlers = atexit._run_exitfuncs  # noqa: SLF001 - no public way to run them short of ending the process


def prepare(arguments: dict[str, Any]) -> str:
    """Write the workspace, set up sys.path and sys.argv; return the path of the candidate's file."""
    source.write_files(arguments["files"])
    path: str = os.path.abspath(arguments["source_name"])
    sys.argv = [path]
    sys.path.insert(0, os.path.dirname(path))
    if arguments["requirements_path"] is not None:
        sys.path.append(arguments["requirements_path"])  # last: it can shadow nothing
    return path


def compile_candidate(arguments: dict[str, Any], path: str, recorder: Recorder) -> types.CodeType | None:
    """Compile the candidate and record whether that worked; on failure print the reason as Python does."""
    try:
        code = source.compile_program(arguments["files"][arguments["source_name"]], path)
    except source.SourceError as error:
        recorder.add("compile_error", type=error.kind, message=error.message, line=error.line)
        if isinstance(error.__cause__, SyntaxError):
            _print_exception(type(error.__cause__), error.__cause__, None, file=sys.stderr)
        else:
            sys.stderr.write(f"SyntaxError: {error.message}\n")
        return None
    recorder.add("compiled")
    return code


def report_exception(error: BaseException, path: str, recorder: Recorder, event: str = "exception") -> None:
    """Record an exception that escaped the candidate and print its traceback without our own frames."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a hostile __str__ may raise anything
        message = f"<unprintable: {type(broken).__name__}>"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != path:
        trace = trace.tb_next
    lines = [entry.tb_lineno for entry in _entries(trace) if entry.tb_frame.f_code.co_filename == path]
    line = lines[-1] if lines else None
    recorder.add(event, type=type(error).__name__, message=message, line=line)
    with contextlib.suppress(Exception):
        _print_exception(type(error), error, trace, file=sys.stderr)


def _entries(trace: types.TracebackType | None) -> list[types.TracebackType]:
    found = []
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


def exit_status(error: SystemExit) -> int:
    """Return the status that Python gives to a SystemExit, printing its text where it carries one."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & EXIT_MASK
    with contextlib.suppress(Exception):
        sys.stderr.write(f"{error.code}\n")
    return FAILED


def wind_down() -> None:
    """Do what the interpreter does at its end: join threads, run exit handlers, flush."""
    current = threading.current_thread()
    for thread in threading.enumerate():
        if thread is not current and not thread.daemon:
            thread.join()
    _run_exit_handlers()
    for stream in (sys.stdout, sys.stderr):
        flush(stream)


def flush(stream: Any) -> None:
    """Flush a standard stream, which the program may have closed or replaced by anything."""
    with contextlib.suppress(Exception):
        stream.flush()


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Run the candidate as `__main__`; return its exit status."""
    path = prepare(arguments)
    code = compile_candidate(arguments, path, recorder)
    if code is None:
        return FAILED
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    status = 0
    try:
        exec(code, main.__dict__)  # noqa: S102 - running the candidate is what this process is for
    except SystemExit as error:
        status = exit_status(error)
        if status:
            recorder.add("exited", status=status)
    except BaseException as error:  # noqa: BLE001 - whatever escapes a program ends it
        report_exception(error, path, recorder)
        status = FAILED
    try:
        wind_down()
    except SystemExit as error:
        status = exit_status(error)
    return status
