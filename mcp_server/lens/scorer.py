"""Scores code by how likely it is to be correct.

No lens weights exist in this version, so the scorer answers the documented disabled state: neutral numbers,
`enabled` false, verdict `unavailable`. It never guesses. It knows nothing of models, HTTP or MCP.
"""

import time

from mcp_server.lens.types import Score

NEUTRAL_ENERGY = 0.0
NEUTRAL_PROBABILITY = 0.5


class DisabledScorer:
    """The scorer of a machine without lens weights."""

    is_enabled = False

    def score(self, text: str) -> Score:
        """Answer the neutral score; *text* is not read."""
        started = time.perf_counter()
        del text
        return Score(
            cx_energy=NEUTRAL_ENERGY,
            cx_normalized=NEUTRAL_PROBABILITY,
            gx_score=NEUTRAL_PROBABILITY,
            verdict="unavailable",
            gx_available=False,
            enabled=False,
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
        )
