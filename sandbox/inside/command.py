"""Become the program: write the files, unpack what was built, and replace this process by the command.

From then on nothing of ours is left in the process; the init that waits for it sees the program's own exit status.
Descriptor 3 is the channel for events where the job has one, and the next the channel to a partner job.
"""

import os
import signal
from typing import Any

from sandbox.inside import archive, source
from sandbox.inside.records import Recorder

NOT_STARTED = 127  # as a shell says
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)  # the interpreter's own choices must not be inherited


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Start the command; returns only when it could not be started, after recording `not_started`."""
    source.write_files(arguments["files"])
    if "artefact_fd" in arguments:
        archive.unpack(arguments["artefact_fd"])
        os.close(arguments["artefact_fd"])
    for name in ("events_fd", "remote_fd"):
        if name in arguments:
            os.set_inheritable(arguments[name], True)  # noqa: FBT003 - the only argument
    os.environ.update(arguments["environment"])
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    argv = arguments["argv"]
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - running the program is what this process is for
    except OSError as error:
        recorder.add("not_started", name=argv[0], message=error.strerror or str(error))
    return NOT_STARTED
