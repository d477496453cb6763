"""The MCP server as a child process: start, watch, restart with back-off.

The child's stdin is its leash: when the shim dies, even by kill -9, stdin ends and the child stops. When the child
dies, calls in flight fail at once, and a new child is started after a delay that doubles until one stays up. One that
lives but answers no ping is killed, and so restarted too. It knows nothing of tools or doors.
"""

import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import Process, TaskStatus

from shim.errors import BackendUnavailableError
from shim.gateway import Gateway
from shim.pipes import pipes

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.05  # a crash in native code is usually one request's; be back before its client retries
MAX_DELAY_S = 10.0  # a child that cannot start needs a person; more often only fills the log
STABLE_AFTER_S = 30.0  # a child that lived this long starts the delays anew
SETTINGS_STATUS = 2  # exit status of a child that cannot use its settings
REFUSED = "the MCP server refused its settings; the line above names the variable"
FOR_A_PERSON = {"CINQUE_LOG_LEVEL": "WARNING"}  # who reads what a command prints, not its log
STOP_GRACE_S = 5.0  # between closing stdin and SIGKILL; the child frees its model and its sandbox in it


class ChildSettingsError(Exception):
    """Raised when the MCP server cannot start with the settings it was given."""


@dataclass(frozen=True)
class Pings:
    """How a child that is stuck is found out."""

    interval_s: float = 5.0  # between an answer and the next ping
    timeout_s: float = 60.0  # its event loop is never busy for that long, whatever its threads do


@dataclass(frozen=True)
class SupervisorStatistics:
    """The child's life so far."""

    pid: int | None
    n_starts: int
    uptime_s: float


class Supervisor:
    """Keeps one MCP server running, and the gateway connected to it; lives as long as the shim."""

    def __init__(self, gateway: Gateway, command: Sequence[str], pings: Pings = Pings()) -> None:
        self._gateway = gateway
        self._pings = pings
        self._command = tuple(command)
        self._process: Process | None = None
        self._n_starts = 0
        self._started_s = 0.0

    def statistics(self) -> SupervisorStatistics:
        """Describe the child."""
        is_up = self._process is not None
        return SupervisorStatistics(
            pid=self._process.pid if self._process else None,
            n_starts=self._n_starts,
            uptime_s=time.monotonic() - self._started_s if is_up else 0.0,
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the child running until cancelled; starts when the first one is connected.

        Raises:
            ChildSettingsError: when the child refuses its settings; another start would only refuse them again.
        """
        delay_s = 0.0
        while True:
            begun_s = time.monotonic()
            status = await self._run_once(task_status if self._n_starts == 0 else anyio.TASK_STATUS_IGNORED)
            if status == SETTINGS_STATUS:
                raise ChildSettingsError(REFUSED)
            delay_s = restart_delay_s(delay_s, time.monotonic() - begun_s)
            log.error("the MCP server ended; it is started again", extra={"status": status, "delay_s": delay_s})
            await anyio.sleep(delay_s)

    async def _run_once(self, task_status: TaskStatus[None]) -> int | None:
        """Run one child to its end; return its exit status, negative for a signal."""
        async with child_process(self._command) as process:
            self._process, self._started_s = process, time.monotonic()
            self._n_starts += 1
            try:
                async with self._gateway.connected(pipes(process, self._gateway.disconnect)):
                    log.info("mcp server is up", extra={"pid": process.pid})
                    task_status.started()
                    await self._watch(process)
            finally:
                self._process = None
        return process.returncode

    async def _watch(self, process: Process) -> None:
        """Wait until *process* has ended; kill it when it does not answer."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._kill_when_silent, process)
            await process.wait()
            group.cancel_scope.cancel()

    async def _kill_when_silent(self, process: Process) -> None:
        is_answering = True
        while is_answering:
            await anyio.sleep(self._pings.interval_s)
            is_answering = await self._is_answering()
        log.error("the MCP server does not answer; it is killed", extra={"pid": process.pid})
        process.kill()

    async def _is_answering(self) -> bool:
        """Ping until an answer comes, or the time for it is over."""
        with anyio.move_on_after(self._pings.timeout_s):
            while True:
                try:
                    await self._gateway.ping()
                except BackendUnavailableError:  # the connection is lost; the process should end any moment
                    await anyio.sleep(self._pings.interval_s)
                else:
                    return True
        return False


def restart_delay_s(last_s: float, uptime_s: float) -> float:
    """Return the seconds to wait before the next start, after *last_s* before the one that was up for *uptime_s*."""
    if uptime_s > STABLE_AFTER_S:
        return FIRST_DELAY_S
    return min(MAX_DELAY_S, max(FIRST_DELAY_S, 2 * last_s))


@asynccontextmanager
async def child_process(command: Sequence[str], defaults: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
    """Start *command* with pipes, and *defaults* for variables that our environment has not.

    On the way out close its stdin, and kill it when that does not end it.
    """
    process = await anyio.open_process(command, stderr=None, env={**(defaults or {}), **os.environ})
    try:
        yield process
    finally:
        # Shielded: a cancelled shim must not leave a process with a model in memory behind.
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _stop(process: Process) -> None:
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(STOP_GRACE_S):
        await process.wait()
    if process.returncode is None:
        log.warning("the MCP server did not stop; it is killed", extra={"pid": process.pid})
        process.kill()
    await process.aclose()


def serving_command() -> tuple[str, ...]:
    """Return the command of the server that others join: a model of its own, stdio for the shim, HTTP for IDEs."""
    return (sys.executable, "-P", "-m", "mcp_server", "--own", "--transport", "stdio", "--transport", "http")


def joining_command() -> tuple[str, ...]:
    """Return the command of a server for one command: it joins the running engine, or else has its own.

    An IDE that joined that one would lose its engine a moment later, when the command ends.
    """
    return (sys.executable, "-P", "-m", "mcp_server", "--private", "--transport", "stdio")


@asynccontextmanager
async def one_session(gateway: Gateway) -> AsyncIterator[None]:
    """Connect *gateway* to a joining server for as long as the context lasts, without restarts.

    Raises:
        ChildSettingsError: when the server refuses its settings.
    """
    async with child_process(joining_command(), FOR_A_PERSON) as process, gateway.connected(pipes(process)):
        try:
            yield
        except BackendUnavailableError:
            with anyio.move_on_after(STOP_GRACE_S):
                await process.wait()
            if process.returncode == SETTINGS_STATUS:
                raise ChildSettingsError(REFUSED) from None
            raise
