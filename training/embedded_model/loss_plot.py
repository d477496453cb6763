"""Draw a run's loss as an SVG, so that it can be looked at and kept beside the model card."""

import math
from pathlib import Path
from typing import Final

_WIDTH: Final = 640  # pixels, as the two below
_HEIGHT: Final = 320
_MARGIN: Final = 40


def write_plot(log: Path, path: Path) -> None:
    """Draw the losses of a run (nats a token, on a logarithmic scale) over tokens: what is learnt, and rows held back.

    Nothing is written for a run that has no line in its log yet.
    """
    rows = [line.split(",") for line in log.read_text(encoding="utf-8").splitlines()]
    learnt = [(int(row[1]), float(row[2])) for row in rows]
    held = [(int(row[1]), float(row[3])) for row in rows if row[3]]
    if not learnt:
        return
    low = min(math.log10(loss) for _, loss in learnt + held)
    high = max(math.log10(loss) for _, loss in learnt + held)
    last = max(tokens for tokens, _ in learnt)

    def points(values: list[tuple[int, float]]) -> str:
        placed = []
        for tokens, loss in values:
            x = _MARGIN + (_WIDTH - 2 * _MARGIN) * tokens / last
            y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (math.log10(loss) - low) / max(1e-9, high - low)
            placed.append(f"{x:.1f},{y:.1f}")
        return " ".join(placed)

    title = f"loss (nats a token, from {10**high:.2f} to {10**low:.3f}) over {last / 1e6:.1f}M tokens"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="12">'
    parts = [
        head,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="20">{title}</text>',
        f'<polyline fill="none" stroke="#8ab" points="{points(learnt)}"/>',
        f'<polyline fill="none" stroke="#c33" points="{points(held)}"/>',
        f'<text x="{_WIDTH - 100}" y="20" fill="#c33">held out</text>',
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
