"""The memory of trees of processes, from /proc, for machines where no cgroup can be had.

Proportional set size, so pages shared with the zygote count once, and the tables that map pages. A poll can miss a
spike between two looks; the per-process data limit (RLIMIT_DATA) bounds what one process can add in that time. What
the kernel holds for sockets belongs to no process: it is counted by their number, in the job's network namespace
where it has one, else among the descriptors of its processes.
"""

import os
from collections.abc import Collection, Iterable

SOCKET_BYTES = 425_984  # what one socket may hold: twice what the kernel lets it send; the filter keeps it at that
N_FREE_SOCKETS = 64  # not counted: a program that has a few does not fill them
_COUNTED = (b"Pss:", b"VmRSS:", b"VmPTE:")


def _parents() -> dict[int, int]:
    """Return the parent of every process that this /proc shows."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
            parents[int(name)] = int(fields[1])
    return parents


def trees(roots: Iterable[int]) -> dict[int, set[int]]:
    """Return, for each root pid, itself and all its descendants."""
    parents = _parents()
    found: dict[int, set[int]] = {root: set() for root in roots}
    for pid in parents:
        root = pid
        while root not in found and root in parents:
            root = parents[root]
        if root in found:
            found[root].add(pid)
    return found


def process_memory(pid: int) -> int:
    """Return the bytes of one process: proportional where readable, else resident, 0 when it has ended."""
    told: dict[bytes, int] = {}
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            told = _sizes(file.read())
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            pages = _sizes(file.read())[b"Pss:"]
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return 0
    except PermissionError:  # not dumpable, or another user's
        pages = told.get(b"VmRSS:", 0)
    return pages + told.get(b"VmPTE:", 0)


def _sizes(text: bytes) -> dict[bytes, int]:
    """Return the sizes of a file in /proc that are counted, in bytes; other lines may say what a program likes."""
    words = (line.split() for line in text.splitlines() if line.startswith(_COUNTED))
    return {name: int(number) * 1024 for name, number, _ in words}


def socket_memory(pid: int) -> int:
    """Return the bytes that the sockets in this process's network namespace may hold."""
    try:
        with open(f"/proc/{pid}/net/sockstat", "rb") as file:
            n_sockets = int(file.readline().split()[2])  # "sockets: used 3"
    except OSError:  # it ended while we looked, which the kernel says in several ways
        return 0
    return _held_by(n_sockets)


def tcp_memory(pid: int) -> int:
    """Return the bytes that wait in the connections of this process's network namespace, where they may grow."""
    n_bytes = 0
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", "rb") as file:
                queues = [line.split()[4].partition(b":") for line in file.readlines()[1:]]
        except OSError:  # it ended while we looked, or there is no such protocol
            continue
        n_bytes += sum(int(sending, 16) + int(received, 16) for sending, _, received in queues)
    return n_bytes


def open_socket_memory(pids: Collection[int]) -> int:
    """Return the bytes that the sockets which these processes have open may hold."""
    found: set[str] = set()
    n_unknown = 0
    for pid in pids:
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):
                target = os.readlink(f"{folder}/{name}")
                if target.startswith("socket:"):
                    found.add(target)
        except PermissionError:  # of one that hides, each descriptor counts; how many it has is public since Linux 6.2
            n_unknown += os.stat(folder).st_size
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended, or a descriptor was closed, while we looked
    return _held_by(len(found) + n_unknown)


def _held_by(n_sockets: int) -> int:
    return max(0, n_sockets - N_FREE_SOCKETS) * SOCKET_BYTES
