"""Real processes for the live tests: started, read line by line, watched to their end. Linux only.

Nothing here sleeps. A child's log is read by a thread that wakes whoever waits for a line; the end of any process,
ours or not, is waited for through its pidfd, which also cannot be mistaken for a later process of the same number.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import httpx

ROOT = Path(__file__).parents[2]
DOORS = ("atlas-proxy", "atlas-lens", "atlas-sandbox", "atlas-llama")
START_TIMEOUT_S = 60.0  # the MCP SDK alone takes two seconds to import on a busy machine
END_TIMEOUT_S = 20.0
NOWHERE = "http://127.0.0.1:9"  # the discard port, which nothing serves: a hub that cannot be reached


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Make the environment of a child: ours, without settings of the person who runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CINQUE_")}
    ports = json.dumps(dict.fromkeys(DOORS, 0))
    own = {
        "PYTHONPATH": str(ROOT),
        "CINQUE_HOME": str(home),
        "CINQUE_PORTS": ports,
        "CINQUE_MCP_PORT": "0",
        "CINQUE_ENGINE_HUB_ENDPOINT": NOWHERE,
        "COLUMNS": "200",  # so that no line of a table is cut
    }
    return inherited | own | variables


class Child:
    """A process of ours, with its stderr read to the end."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, stdout: int | IO[bytes]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that `interrupt` reaches it and its children, but not us
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False  # no process holds our pipe of its stderr any more
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines with the event *name*, oldest first."""
        with self._changed:
            return [line for line in map(_parsed, self._lines) if line.get("event") == name]

    def wait_for_event(self, name: str, n: int = 1) -> list[dict[str, Any]]:
        """Wait until *n* log lines have the event *name*; return all of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_ended or len(self.events(name)) >= n, START_TIMEOUT_S)
        events = self.events(name)
        assert len(events) >= n, f"{n} lines {name!r} did not come; stderr: {self.stderr}"
        return events

    def wait(self, timeout_s: float = END_TIMEOUT_S) -> int:
        """Wait for the process, and for every other that writes to the same stderr; return the exit status."""
        status = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        assert self._has_ended, "a process that was started by the one that ended still runs"
        return status

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait until the process and all its descendants are gone; return its exit status."""
        with Family.of(self.pid) as family:
            self.process.send_signal(number)
            status = self.wait()
            family.wait_until_ended()
        return status

    def interrupt(self) -> int:
        """Do what a terminal does on Ctrl-C: signal the whole process group; return the exit status."""
        with Family.of(self.pid) as family:
            os.killpg(self.pid, signal.SIGINT)
            status = self.wait()
            family.wait_until_ended()
        return status

    def close(self) -> None:
        """Free the pipes of a process that has ended."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line.decode())
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


def _parsed(line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


@contextlib.contextmanager
def started(*command: str, env: Mapping[str, str], stdout: int | IO[bytes] = subprocess.DEVNULL) -> Iterator[Child]:
    """Run `python COMMAND` as long as the context lasts; afterwards nothing of it may be left."""
    child = Child(command, env, stdout=stdout)
    try:
        yield child
    finally:
        if child.process.poll() is None:
            child.end(signal.SIGKILL)
        child.close()


def finished(*command: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `python COMMAND` to its end; nothing that it started may be left."""
    with started(*command, env=env, stdout=subprocess.PIPE) as child:
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        child.process.stdin.close()
        shown = child.process.stdout.read().decode()  # its end is the end of all that inherited it
        status = child.wait(START_TIMEOUT_S)
        return subprocess.CompletedProcess(command, status, shown, child.stderr)


@dataclass(frozen=True)
class Shim:
    """A running `cinque serve`."""

    child: Child
    home: Path
    urls: dict[str, str]  # of each door, by its name
    mcp_url: str  # without a path

    @property
    def mcp_pid(self) -> int:
        """Process id of the MCP server that was started last."""
        return int(self.child.events("mcp server is up")[-1]["pid"])

    @property
    def proxy(self) -> str:
        return self.urls["atlas-proxy"]

    @property
    def llama(self) -> str:
        return self.urls["atlas-llama"]

    @property
    def sandbox(self) -> str:
        return self.urls["atlas-sandbox"]

    def metric(self, name: str) -> float:
        """Scrape one of the metrics without labels."""
        text = httpx.get(f"{self.proxy}/metrics", timeout=END_TIMEOUT_S).text
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))

    @property
    def ports(self) -> list[int]:
        """Every port that it listens on."""
        return [int(url.rsplit(":", 1)[1]) for url in (*self.urls.values(), self.mcp_url)]


@contextlib.contextmanager
def serving(home: Path, **variables: str) -> Iterator[Shim]:
    """Run `cinque serve` on free ports until the context ends."""
    with started("-m", "shim", "serve", env=environment(home, **variables)) as child:
        doors = child.wait_for_event("door is open", len(DOORS))
        mcp_url = child.wait_for_event("mcp over http")[0]["url"]
        yield Shim(child, home, {door["door"]: door["url"] for door in doors}, mcp_url)


class Family:
    """A process and all that descend from it, watched from now on."""

    def __init__(self, pidfds: dict[int, int]) -> None:
        self._pidfds = pidfds

    @classmethod
    def of(cls, pid: int) -> "Family":
        """Watch *pid* and its descendants of this moment; those that are gone by then are no matter."""
        pidfds: dict[int, int] = {}
        for member in [pid, *_descendants(pid)]:
            with contextlib.suppress(ProcessLookupError):
                pidfds[member] = os.pidfd_open(member)
        return cls(pidfds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pidfd in self._pidfds.values():
            os.close(pidfd)

    def __len__(self) -> int:
        return len(self._pidfds)

    def wait_until_ended(self) -> None:
        """Wait until none of them runs."""
        deadline_s = time.monotonic() + END_TIMEOUT_S
        for pid, pidfd in self._pidfds.items():
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            is_over = poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000)
            assert is_over, f"process {pid} still runs: {_command(pid)}"


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # a process that has just ended
            # the name may hold blanks and parentheses, so the fields are counted from its last one
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return "gone"


def kill(pid: int) -> None:
    """End a process as a crash in native code would: without a word."""
    os.kill(pid, signal.SIGKILL)


def poll_until(is_reached: Callable[[], bool], timeout_s: float) -> float:
    """Ask until the answer is yes; return how long that took (seconds)."""
    started_s = time.monotonic()
    while not is_reached():
        assert time.monotonic() - started_s < timeout_s, f"not reached within {timeout_s:g} s"
    return time.monotonic() - started_s
