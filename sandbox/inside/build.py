"""Compile: write the files, run each step, record how it ended, and hand over what was made.

The compilers are children of this process and read untrusted text, inside the same walls as a program. What they say
goes to standard error as it comes; its beginning is recorded, because the first error is the one that matters.
"""

import os
import subprocess
from typing import Any

from sandbox.inside import archive, source
from sandbox.inside.records import MAX_TEXT_CHARS, Recorder

FAILED = 1
NOT_STARTED = 127  # as a shell says
READ_BYTES = 64 * 1024
HEAD_BYTES = 32 * 1024  # of what all steps say; recorded in pieces that fit a record


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Record `step` for each step and at the end `built`, or `no_artefact`; return 0 when all went well."""
    source.write_files(arguments["files"])
    os.environ.update(arguments["environment"])
    for number, argv in enumerate(arguments["steps"]):
        status = _run_step(argv, recorder)
        recorder.add("step", number=number, status=status)
        if status != 0:
            return FAILED
    try:
        archive.pack(arguments["artefacts"], arguments["artefact_fd"])
    except FileNotFoundError as error:
        recorder.add("no_artefact", name=str(error.filename))
        return FAILED
    recorder.add("built")
    return 0


def _run_step(argv: list[str], recorder: Recorder) -> int:
    """Run one command to its end; return its status, negative for a signal."""
    head = bytearray()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        recorder.add("not_started", name=argv[0], message=error.strerror or str(error))
        return NOT_STARTED
    assert process.stdout is not None  # noqa: S101 - we asked for a pipe
    with process.stdout as pipe:
        while chunk := os.read(pipe.fileno(), READ_BYTES):
            head += chunk[: HEAD_BYTES - len(head)]
            os.write(2, chunk)
    status = process.wait()
    text = head.decode("utf-8", "replace")
    for start in range(0, len(text), MAX_TEXT_CHARS):
        recorder.add("said", text=text[start : start + MAX_TEXT_CHARS])
    return status
