"""How busy the machine is beside a benchmark: the share of its time that its host gave to others, from /proc/stat."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CPU_TIMES = Path("/proc/stat")
STOLEN_COLUMN = 7  # of the numbers in its first line


@dataclass
class Stolen:
    """Share of all processors' time, 0 to 1, that the host gave to others while the block ran."""

    share: float = 0.0


@contextmanager
def watching_host() -> Iterator[Stolen]:
    """Measure while the block runs; 0 where nothing tells."""
    stolen = Stolen()
    before = _ticks()
    try:
        yield stolen
    finally:
        taken, total = (now - then for now, then in zip(_ticks(), before, strict=True))
        stolen.share = taken / max(1, total)


def _ticks() -> tuple[int, int]:
    if not CPU_TIMES.is_file():
        return 0, 0
    numbers = [int(word) for word in CPU_TIMES.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    return numbers[STOLEN_COLUMN], sum(numbers[: STOLEN_COLUMN + 1])
