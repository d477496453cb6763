"""Memory limits for whole process trees by control groups (v1 or v2), where the host lets us make them.

Slots are made once and used again, because making and removing groups is slow on some hosts. A job joins a slot by
writing `0` to a descriptor of its list of tasks. Where no group can be made, `CgroupSlots.open` returns None and the
zygote's watchdog polls memory instead.
"""

import contextlib
import os
import threading
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "cinque-"
_SOCKET_BYTES = 32 << 20  # v1 counts buffers of sockets apart, and only where this limit is set; at it, sending waits


class Slot:
    """One reusable group. Not shared: exactly one job uses it at a time."""

    def __init__(self, folder: Path, *, version: int) -> None:
        self._folder = folder
        self._v1 = version == 1
        self._limit_bytes = 0
        self._kills_before = 0
        folder.mkdir(exist_ok=True)
        # v1: a single thread moves itself by `tasks` without the lock that costs 10 ms in `cgroup.procs`.
        self.procs_fd = os.open(folder / ("tasks" if self._v1 else "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)

    def arm(self, limit_bytes: int) -> None:
        """Set the limit and forget the previous job."""
        if limit_bytes != self._limit_bytes:
            if limit_bytes > self._limit_bytes:  # v1 keeps memory <= memory + swap at every moment
                self._limit_swap(limit_bytes)
            self._write("memory.limit_in_bytes" if self._v1 else "memory.max", limit_bytes)
            if limit_bytes < self._limit_bytes or self._limit_bytes == 0:
                self._limit_swap(limit_bytes)
            if self._v1:
                with contextlib.suppress(OSError):  # a kernel without this counter
                    self._write("memory.kmem.tcp.limit_in_bytes", min(_SOCKET_BYTES, limit_bytes))
            self._limit_bytes = limit_bytes
        with contextlib.suppress(OSError):  # v2 before Linux 6.12 cannot reset its peak
            self._write("memory.max_usage_in_bytes" if self._v1 else "memory.peak", 0)
        self._kills_before = self._kills()

    def _limit_swap(self, limit_bytes: int) -> None:
        name, value = ("memory.memsw.limit_in_bytes", limit_bytes) if self._v1 else ("memory.swap.max", 0)
        if (self._folder / name).exists():
            with contextlib.suppress(OSError):  # swap accounting may be off: then there is no swap to limit
                self._write(name, value)

    def peak_bytes(self) -> int | None:
        """Return the most memory the job used, None where the kernel cannot tell."""
        try:
            return int((self._folder / ("memory.max_usage_in_bytes" if self._v1 else "memory.peak")).read_text())
        except OSError:
            return None

    def has_killed(self) -> bool:
        """Tell whether the limit killed a process since `arm`."""
        return self._kills() > self._kills_before

    def close(self) -> None:
        """Remove the group; the kernel refuses while a process is in it, and then it stays behind, empty later."""
        os.close(self.procs_fd)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _write(self, name: str, value: int) -> None:
        (self._folder / name).write_text(str(value))

    def _kills(self) -> int:
        text = (self._folder / ("memory.oom_control" if self._v1 else "memory.events")).read_text()
        for line in text.splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return 0


class CgroupSlots:
    """The slots of one sandbox, made on demand and kept until it closes. Thread-safe."""

    def __init__(self, folder: Path, *, version: int) -> None:
        self._folder = folder
        self._version = version
        self._lock = threading.Lock()
        self._free: list[Slot] = []
        self._n_made = 0

    @classmethod
    def open(cls) -> "CgroupSlots | None":
        """Make our own group below the one we run in, or return None where that is not allowed."""
        for version, parent in _candidates():
            folder = parent / f"{_PREFIX}{os.getpid()}-{os.urandom(3).hex()}"
            try:
                _remove_leftovers(parent)
                folder.mkdir()
                slots = cls(folder, version=version)
                slot = slots.take()
                slot.arm(1 << 30)
                slots.give_back(slot)
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                continue
            return slots
        return None

    def take(self) -> Slot:
        """Return a slot that nobody else uses."""
        with self._lock:
            if self._free:
                return self._free.pop()
            self._n_made += 1
            number = self._n_made
        return Slot(self._folder / f"slot-{number}", version=self._version)

    def give_back(self, slot: Slot) -> None:
        """Return a slot whose job has ended."""
        with self._lock:
            self._free.append(slot)

    def close(self) -> None:
        """Remove every free slot and the group itself."""
        with self._lock:
            for slot in self._free:
                slot.close()
            self._free.clear()
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def _candidates() -> list[tuple[int, Path]]:
    """Return (version, folder of our own group) for each hierarchy that may limit memory."""
    found: list[tuple[int, Path]] = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.append((1, _ROOT / "memory" / path.lstrip("/")))
        elif not controllers and (_ROOT / "cgroup.controllers").exists():
            found.append((2, _ROOT / path.lstrip("/")))
    return found


def _remove_leftovers(parent: Path) -> None:
    """Remove groups of owners that were killed before they could."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            for slot in folder.glob("slot-*"):
                with contextlib.suppress(OSError):
                    slot.rmdir()
            with contextlib.suppress(OSError):
                folder.rmdir()
