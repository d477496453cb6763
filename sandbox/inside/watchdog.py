"""The memory of a tree of processes, from /proc, for machines where no cgroup can be had.

Proportional set size, so pages shared with the zygote count once. A poll can miss a spike between two looks; the
per-process data limit (RLIMIT_DATA) bounds what one process can add in that time. What the kernel holds for sockets
belongs to no process: it is counted by their number, for a job that has a network namespace of its own.
"""

import os
from collections.abc import Iterable

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SOCKET_BYTES = 425_984  # what one socket may hold in the kernel at the most that SO_SNDBUF grants (net.core.wmem_max)
N_FREE_SOCKETS = 64  # not counted: a program that has a few does not fill them


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


def process_memory(pid: int) -> int:
    """Return the bytes of one process: proportional where readable, else resident, 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:
        pass  # not dumpable: the resident size below is public
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def tree_memory(roots: Iterable[int]) -> dict[int, int]:
    """Return, for each root pid, the bytes used by it and all its descendants."""
    parents = _parents()
    totals = dict.fromkeys(roots, 0)
    for pid in parents:
        root = pid
        while root not in totals and root in parents:
            root = parents[root]
        if root in totals:
            totals[root] += process_memory(pid)
    return totals


def socket_memory(pid: int) -> int:
    """Return the bytes that the sockets in this process's network namespace may hold."""
    try:
        with open(f"/proc/{pid}/net/sockstat", "rb") as file:
            n_sockets = int(file.readline().split()[2])  # "sockets: used 3"
    except OSError:  # it ended while we looked, which the kernel says in several ways
        return 0
    return max(0, n_sockets - N_FREE_SOCKETS) * SOCKET_BYTES
