"""Control groups: where they are made in v1 and v2, and that nothing of them is left, whatever is closed first."""

import os
from pathlib import Path

import pytest

from sandbox import cgroups
from sandbox.cgroups import CgroupSlots, Place

MIB = 1 << 20
GROUP = "cinque-1-abc"


@pytest.fixture
def hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like where control groups are mounted."""
    monkeypatch.setattr(cgroups, "ROOT", tmp_path / "fs")
    monkeypatch.setattr(cgroups, "OWN_GROUPS", tmp_path / "own")
    (tmp_path / "fs").mkdir()
    return tmp_path / "fs"


def v2(hierarchy: Path, own: str, handed_down: dict[str, str]) -> None:
    """Let there be v2 with these groups, the controllers that each hands down, and us in one of them."""
    (hierarchy / "cgroup.controllers").write_text("cpu memory pids\n")
    cgroups.OWN_GROUPS.write_text(f"0::{own}\n")
    for name, controllers in handed_down.items():
        (hierarchy / name).mkdir(exist_ok=True, parents=True)
        (hierarchy / name / "cgroup.subtree_control").write_text(f"{controllers}\n")


def places(*, wants_cpu: bool) -> list[Place]:
    return list(cgroups._places(GROUP, wants_cpu=wants_cpu))


def test_in_v2_a_group_is_made_beside_ours_where_memory_is_handed_down(hierarchy: Path) -> None:
    v2(hierarchy, "/a.slice/b.service", {"": "memory", "a.slice": "cpu memory", "a.slice/b.service": ""})
    nearest, above = hierarchy / "a.slice" / GROUP, hierarchy / GROUP
    assert places(wants_cpu=False) == [Place(2, nearest), Place(2, above)]
    assert places(wants_cpu=True) == [Place(2, nearest, nearest), Place(2, nearest), Place(2, above)]
    cgroups._make_place(Place(2, nearest, nearest))
    assert (nearest / "cgroup.subtree_control").read_text() == "+memory +cpu"


def test_in_v2_nothing_is_made_where_nothing_is_handed_down_or_we_are_elsewhere(hierarchy: Path) -> None:
    v2(hierarchy, "/", {"": "pids"})
    assert places(wants_cpu=True) == []
    v2(hierarchy, "/../other", {"": "pids"})
    assert places(wants_cpu=False) == []


def test_in_v1_memory_and_processors_have_a_folder_each(hierarchy: Path) -> None:
    cgroups.OWN_GROUPS.write_text("5:cpu,cpuacct:/x\n4:memory:/y/z\n1:name=systemd:/\n0::/\n")
    memory, cpu = hierarchy / "memory" / "y" / "z" / GROUP, hierarchy / "cpu" / "x" / GROUP
    assert places(wants_cpu=True) == [Place(1, memory, cpu), Place(1, memory)]
    assert Place(1, memory, cpu).folders("s") == {"cgroup": memory / "s", "cpu": cpu / "s"}
    cgroups.OWN_GROUPS.unlink()
    assert places(wants_cpu=True) == []


@pytest.mark.parametrize("cpus", [0.0, 0.5])
def test_slots_that_are_in_use_when_all_is_closed_go_when_they_are_given_back(cpus: float) -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    slots = CgroupSlots.open(cpus)
    if slots is None:
        pytest.skip("no control groups can be made here")
    folders = list(slots._place.folders().values())
    kept, other = slots.take(64 * MIB), slots.take(128 * MIB)
    slots.give_back(other)
    assert slots.take(128 * MIB) is other
    slots.give_back(other)
    slots.close()
    assert all(folder.exists() for folder in folders)
    slots.give_back(kept)
    assert not any(folder.exists() for folder in folders)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_slot_tells_the_peak_of_its_last_job_alone() -> None:
    slots = CgroupSlots.open()
    if slots is None:
        pytest.skip("no control groups can be made here")
    peaks = []
    for n_bytes in (48 * MIB, 0):
        slot = slots.take(256 * MIB)
        pid = os.fork()
        if pid == 0:
            os.write(slot.fds["cgroup"], b"0")
            bytearray(n_bytes)
            os._exit(0)
        os.waitpid(pid, 0)
        peaks.append(slot.peak_bytes() or 0)
        assert not slot.has_killed()
        slots.give_back(slot)
    slots.close()
    assert peaks[0] >= 48 * MIB > peaks[1]
