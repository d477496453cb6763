"""One job under a guard of its own: fork the program, confine it, watch it, report, clean up.

What confines the program is given by the caller: nothing more where the process lives in a sandbox already
(`single.py`), a user id and landlock rules where it does not (`fenced.py`).
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from sandbox.inside import job, syscalls
from sandbox.inside.guard import SETUP_ERROR, Duties, Guard


@dataclass(frozen=True)
class Confinement:
    """How one program is kept apart."""

    duties: Duties
    enter: Callable[[], bytes]  # in the program's process, before anything of it runs; returns its call filter
    withdraw: Callable[[], bytes]  # in the guard, once the program is on its way; returns the guard's filter or nothing
    clean: Callable[[], None]  # in the guard, when every process of the job is dead
    n_processes: int
    environment: dict[str, str] = field(default_factory=lambda: job.ENVIRONMENT)
    requirements_path: str | None = None  # where the job's set lies, if not at the usual place


def run(request: dict[str, Any], fds: dict[str, int], lifeline: int, confinement: Confinement) -> None:
    """Run one job to its end in this process, whose children are all the job's, and report it to the host."""
    host = socket.socket(fileno=fds.pop("host"))
    errors, errors_write = os.pipe()
    started = time.monotonic()
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # before there is a program that could look at this process
    guard = Guard(confinement.duties, host, lifeline)
    program = os.fork()
    if program == 0:
        guard.forget()
        _become_program(request, fds, errors_write, confinement)
    for fd in (*fds.values(), errors_write):
        os.close(fd)
    if bpf := confinement.withdraw():
        syscalls.install_filter(bpf)
    ended_by = guard.watch(program, started)
    wall_s = time.monotonic() - started
    confinement.clean()
    guard.report(ended_by, wall_s, errors)


def _become_program(request: dict[str, Any], fds: dict[str, int], errors_fd: int, confinement: Confinement) -> NoReturn:
    try:
        os.setsid()
        job.join_groups(fds)
        job.set_limits({**request["limits"], "n_processes": confinement.n_processes}, request["kind"])
        arguments, recorder = job.open_channels(fds)
        if confinement.requirements_path is not None:
            arguments["requirements_path"] = confinement.requirements_path
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(fds[name], number)
        bpf = confinement.enter()
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # a fork leaves it off; who watches memory must be able to look
        syscalls.drop_capabilities()
        syscalls.install_filter(bpf)
        kept = job.close_all_but_kept(fds)
    except BaseException as error:  # noqa: BLE001 - whatever stopped us, the host must learn it; nothing ran yet
        with contextlib.suppress(OSError):
            os.write(errors_fd, SETUP_ERROR + f"setting up a job: {error!r}".encode())
        os._exit(job.SETUP_FAILED)
    job.look_fresh()
    job.set_environment(confinement.environment)
    job.run_harness(request["kind"], arguments, recorder, kept=kept)
