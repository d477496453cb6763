"""What this process may use of its machine: memory, as far as containers leave it any, and physical cores.

Read from Linux's own files; where they are missing the whole machine counts. Knows nothing of models.
"""

import os
from pathlib import Path

CPU_TOPOLOGY = Path("/sys/devices/system/cpu")
CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUP_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")  # of version 2, 2 and 1


def count_memory_bytes() -> int:
    """Count the memory that this process may use: the machine's, or less where a container limits it."""
    n_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cgroups = OWN_CGROUPS.read_text(encoding="ascii") if OWN_CGROUPS.is_file() else ""
    return min([n_bytes, *cgroup_limits(cgroups, CGROUP_ROOT)])


def cgroup_limits(cgroups: str, root: Path) -> list[int]:
    """List the limits of memory that hold for a process.

    Args:
        cgroups: what `/proc/self/cgroup` says.
        root: where the control groups are mounted. In a container the path of a group may be the host's, of which only
            the top is mounted, so every folder on the way up is asked.
    """
    limits = []
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / controllers
        folder = top / path.lstrip("/")
        for place in (folder, *folder.parents):
            limits += [int(text) for name in CGROUP_LIMITS if (text := _first_word(place / name)).isdigit()]
            if place == top:
                break
    return limits


def count_physical_cores() -> int:
    """Count cores, not hyperthreads: two threads on one core slow each other down (1 where nothing is known)."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in cpus:
        siblings = CPU_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(siblings.read_text(encoding="ascii").strip() if siblings.is_file() else str(cpu))
    return max(1, len(cores))


def _first_word(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""  # no such limit here
