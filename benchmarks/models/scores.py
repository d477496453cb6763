"""Shares with their 95 % intervals, and pass@k of a task's samples. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_Z: Final = 1.96  # of the normal distribution, for 95 %


@dataclass(frozen=True)
class Share:
    """A mean over tasks, and the interval that holds the true one 95 times in a hundred."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.2f}-{self.high:.2f})"


def share(values: Sequence[float]) -> Share:
    """Average values of 0 to 1 over tasks, with Wilson's interval, which is too wide where values are not 0 or 1.

    Raises:
        ValueError: there are none.
    """
    n = len(values)
    if not n:
        msg = "There is no task to average over."
        raise ValueError(msg)
    p = sum(values) / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Share(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)), n)


def pass_at(k: int, passed: Sequence[bool]) -> float:
    """Return the chance that one of *k* samples, drawn from those that were judged, passes (Chen and others, 2021)."""
    n, n_right = len(passed), sum(passed)
    if n < k:
        return 0.0
    return 1.0 - math.comb(n - n_right, k) / math.comb(n, k)
