"""Limits for whole process trees by control groups (v1 or v2), where the host lets us make them: memory, processors.

Slots are made once, with their limits, and used again, because making and removing groups is slow on some hosts. A job
joins a slot by writing `0` to a descriptor of each of its lists of tasks. Where no group can be made,
`CgroupSlots.open` returns None and a watchdog polls memory instead. In v2 a group that holds processes cannot hold
groups with limits, so ours is made below the nearest group above us that hands the memory controller down.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
_PREFIX = "cinque-"
_SOCKET_BYTES = 32 << 20  # v1 counts buffers of sockets apart, and only where this limit is set; at it, sending waits
_PROBE_BYTES = 1 << 30  # limit of the slot that shows whether groups work; a compilation's default, so it is used
_PERIOD_US = 100_000  # what has used up its share of the processors waits for the next period
_READ_BYTES = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where slots are made. In v1 each kind of limit has a hierarchy of its own."""

    version: int
    memory: Path  # a folder for our own groups
    cpu: Path | None = None  # the same for processors; None: nothing limits them

    def folders(self, below: str = "") -> dict[str, Path]:
        """Return every folder of this place, or of one slot of it, by the name of the descriptor to join it."""
        found = {"cgroup": self.memory / below}
        if self.cpu is not None and self.cpu != self.memory:
            found["cpu"] = self.cpu / below
        return found


class Slot:
    """One reusable group with its limits. Not shared: exactly one job uses it at a time."""

    def __init__(self, place: Place, name: str, limit_bytes: int, cpus: float) -> None:
        self._place = place
        self._name = name
        self.limit_bytes = limit_bytes
        self.fds: dict[str, int] = {}  # to join it, by the names that a job knows
        self._events_fd = self._peak_fd = -1
        self._kills_before = 0
        try:
            self._make(cpus)
        except BaseException:
            self.close()
            raise

    def _make(self, cpus: float) -> None:
        v1 = self._place.version == 1
        folders = self._place.folders(self._name)
        for folder in folders.values():
            folder.mkdir(exist_ok=True)
        memory = folders["cgroup"]
        _write(memory / ("memory.limit_in_bytes" if v1 else "memory.max"), self.limit_bytes)
        # Swap accounting may be off: then there is no swap to limit. v1 limits memory and swap together.
        _write_if_there(memory / ("memory.memsw.limit_in_bytes" if v1 else "memory.swap.max"), v1 * self.limit_bytes)
        if v1:
            _write_if_there(memory / "memory.kmem.tcp.limit_in_bytes", min(_SOCKET_BYTES, self.limit_bytes))
        if self._place.cpu is not None:
            quota = max(1000, int(cpus * _PERIOD_US))  # the kernel takes no less than a millisecond
            _write(folders["cpu"] / "cpu.cfs_quota_us" if v1 else memory / "cpu.max", quota)
        # v1: a single thread moves itself by `tasks` without the lock that costs 10 ms in `cgroup.procs`.
        for name, folder in folders.items():
            self.fds[name] = os.open(folder / ("tasks" if v1 else "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
        events = memory / ("memory.oom_control" if v1 else "memory.events")
        self._events_fd = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
        peak = memory / ("memory.max_usage_in_bytes" if v1 else "memory.peak")
        with contextlib.suppress(OSError):  # v2 can reset it since Linux 6.12, and only for who keeps it open
            self._peak_fd = os.open(peak, os.O_RDWR | os.O_CLOEXEC)

    def arm(self) -> None:
        """Forget the previous job."""
        if self._peak_fd >= 0:
            os.pwrite(self._peak_fd, b"0", 0)
        self._kills_before = self._kills()

    def peak_bytes(self) -> int | None:
        """Return the most memory the job used, None where the kernel cannot tell."""
        return int(os.pread(self._peak_fd, _READ_BYTES, 0)) if self._peak_fd >= 0 else None

    def has_killed(self) -> bool:
        """Tell whether the limit killed a process since `arm`."""
        return self._kills() > self._kills_before

    def close(self) -> None:
        """Remove the group; the kernel refuses while a process is in it, and then it stays behind, empty later."""
        for fd in (*self.fds.values(), self._events_fd, self._peak_fd):
            if fd >= 0:
                os.close(fd)
        self.fds.clear()
        self._events_fd = self._peak_fd = -1
        _remove(self._place.folders(self._name).values())

    def _kills(self) -> int:
        for line in os.pread(self._events_fd, _READ_BYTES, 0).splitlines():
            name, _, value = line.partition(b" ")
            if name == b"oom_kill":
                return int(value)
        return 0


class CgroupSlots:
    """The slots of one sandbox, made on demand and kept until it closes. Thread-safe."""

    def __init__(self, place: Place, cpus: float) -> None:
        self._place = place
        self._cpus = cpus
        self._lock = threading.Lock()
        self._free: dict[int, list[Slot]] = {}  # by limit: changing one fails while a dead job's pages are not gone
        self._n_made = 0
        self._closed = False

    @classmethod
    def open(cls, cpus: float = 0.0) -> "CgroupSlots | None":
        """Make our own group, or return None where that is not allowed.

        `cpus` is how many processors a slot may keep busy, 0 for all; where the kernel cannot tell, all it is.
        """
        name = f"{_PREFIX}{os.getpid()}-{os.urandom(3).hex()}"
        for place in _places(name, wants_cpu=cpus > 0):
            slots = cls(place, cpus)
            try:
                _make_place(place)
                slots.give_back(slots.take(_PROBE_BYTES))
            except OSError:
                slots.close()
                continue
            if cpus > 0 and place.cpu is None:
                _log.warning("no control group limits processors here: CINQUE_SANDBOX_CPUS has no effect")
            return slots
        return None

    def take(self, limit_bytes: int) -> Slot:
        """Return a slot with this limit that nobody else uses, armed."""
        with self._lock:
            free = self._free.get(limit_bytes)
            slot = free.pop() if free else None
            if slot is None:
                self._n_made += 1
                slot = Slot(self._place, f"slot-{self._n_made}", limit_bytes, self._cpus)
        slot.arm()
        return slot

    def give_back(self, slot: Slot) -> None:
        """Return a slot whose job has ended."""
        with self._lock:
            if not self._closed:
                self._free.setdefault(slot.limit_bytes, []).append(slot)
                return
        slot.close()
        _remove(self._place.folders().values())

    def close(self) -> None:
        """Remove every slot and the group itself; what is in use goes when it is given back."""
        with self._lock:
            self._closed = True
            free = [slot for slots in self._free.values() for slot in slots]
            self._free.clear()
        for slot in free:
            slot.close()
        _remove(self._place.folders().values())


def _write(path: Path, value: int) -> None:
    path.write_text(str(value))


def _write_if_there(path: Path, value: int) -> None:
    with contextlib.suppress(OSError):
        if path.exists():
            _write(path, value)


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty yet, or never made
            folder.rmdir()


def _places(name: str, *, wants_cpu: bool) -> Iterator[Place]:
    """Yield where a group of ours with this name may be made, best first; those that limit processors if wanted."""
    own = _own_groups()
    for parent in _handing_down(own.get("", "/")):
        controllers = _words(parent / "cgroup.subtree_control")
        if "memory" in controllers:
            if wants_cpu and "cpu" in controllers:
                yield Place(2, parent / name, parent / name)
            yield Place(2, parent / name)
    if "memory" in own:
        memory = ROOT / "memory" / own["memory"].lstrip("/") / name
        if wants_cpu and "cpu" in own:
            yield Place(1, memory, ROOT / "cpu" / own["cpu"].lstrip("/") / name)
        yield Place(1, memory)


def _own_groups() -> dict[str, str]:
    """Return the group we are in by controller; that of v2 by the empty name."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return {}
    found = [line.split(":", 2) for line in lines]
    return {name: path for _, controllers, path in found for name in controllers.split(",")}


def _handing_down(path: str) -> Iterator[Path]:
    """Yield the v2 group at the path and those above it; nothing where v2 is not what is mounted."""
    if (ROOT / "cgroup.controllers").exists():
        group = ROOT / path.lstrip("/")
        yield group
        for parent in group.parents:
            if parent.is_relative_to(ROOT):
                yield parent


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _make_place(place: Place) -> None:
    for folder in place.folders().values():
        _remove_leftovers(folder.parent)
        folder.mkdir()
    if place.version == 2:  # noqa: PLR2004 - the version's number
        kinds = "+memory" if place.cpu is None else "+memory +cpu"
        (place.memory / "cgroup.subtree_control").write_text(kinds)


def _remove_leftovers(parent: Path) -> None:
    """Remove groups of owners that were killed before they could."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            _remove([*folder.glob("slot-*"), folder])
