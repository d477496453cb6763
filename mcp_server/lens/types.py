"""The nouns of scoring: how likely a text is correct code, by the Geometric Lens' documented fields."""

from dataclasses import dataclass
from typing import Literal

LensVerdict = Literal["likely_correct", "uncertain", "likely_incorrect", "unavailable"]


@dataclass(frozen=True)
class Score:
    """One scored text. While no lens is loaded: `enabled` false, neutral values, verdict `unavailable`."""

    cx_energy: float  # cost field, lower is better
    cx_normalized: float  # 0-1
    gx_score: float  # 0-1, probability of being correct
    verdict: LensVerdict
    gx_available: bool
    enabled: bool
    latency_ms: float
