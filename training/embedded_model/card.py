"""Write the model card from what a run left: its loss, its figures, the sizes of its data.

    python -m training.embedded_model.card FOLDER

FOLDER is run.py's. Nothing in the card is typed by hand but the sentences. The curve of the loss is drawn beside it.
"""

import argparse
import json
import string
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from training.embedded_model.export import CONTEXT, NAME
from training.embedded_model.families import read_families
from training.embedded_model.generate import FOLDER
from training.embedded_model.loss_plot import write_plot
from training.embedded_model.pack import LONG, PADDING
from training.embedded_model.splits import is_held
from training.embedded_model.train import LONG_EVERY

_TEXT: Final = Path(__file__).with_name("card.md")
_COLUMNS: Final = ("greedy", "sampled", "pass@8")


def _table(figures: dict[str, Any]) -> str:
    lines = ["| asked | tasks | pass@1 | pass@1 sampled | pass@8 |", "|---|---|---|---|---|"]
    for title, cells in figures["table"].items():
        values = " | ".join(f"{cells[column]['value']:.2f}" for column in _COLUMNS)
        lines.append(f"| {title} | {cells['greedy']['n']} | {values} |")
    for title, cells in figures["table"].items():
        if "right tool" in cells:
            tool, valid = cells["right tool"]["value"], cells["valid arguments"]["value"]
            lines.append(f"\n{title}: the right tool of several {tool:.2f}, valid arguments {valid:.2f}.")
    return "\n".join(lines)


def _budgets(figures: dict[str, Any]) -> str:
    lines = ["| solved with 8 samples | the first | verified | 4 samples, 4 repairs |", "|---|---|---|---|"]
    for one in figures["budgets"]:
        values = " | ".join(f"{one[column]['value']:.2f}" for column in ("first", "verified", "repaired"))
        lines.append(f"| {one['title']} | {values} |")
    return "\n".join(lines)


def _sizes(folder: Path) -> dict[str, str]:
    """Return what the data and the run were."""
    rows = [np.load(folder / "rows" / f"{name}.npy", mmap_mode="r") for name in ("short", "long")]
    state = torch.load(folder / "run" / "checkpoint.pt", map_location="cpu", weights_only=True)
    lines = (folder / "run" / "loss.csv").read_text(encoding="utf-8").splitlines()
    last = [line.split(",") for line in lines if line.split(",")[3]][-1]
    shape, shards = state["shape"], sorted((folder / "data").glob("train-*.jsonl"))
    families = read_families(FOLDER)
    filled = [float((part[:, 1] != PADDING).mean()) for part in rows]
    share = (filled[0] * (LONG_EVERY - 1) + filled[1]) / LONG_EVERY  # of a step's places; the others hold padding
    return {
        "families": f"{len(families):,}",
        "held": f"{sum(map(is_held, families)):,}",
        "examples": f"{sum(path.read_bytes().count(10) for path in shards):,}",
        "tokens": f"{sum(int((part[:, 1] != PADDING).sum()) for part in rows) / 1e6:.1f}",
        "learnt": f"{state['step'] * state['batch'] * share / 1e6:.1f}",
        "minutes": f"{state['learnt_s'] / 60:.0f}",
        "loss": last[3],
        "parameters": f"{sum(one.numel() for one in state['network'].values()) / 1e6:.2f}",
        "shape": ", ".join(f"{key} {value}" for key, value in shape.items()),
    }


def write_card(folder: Path) -> Path:
    """Write the card beside the model, and the curve of the loss; return the card's path."""
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    model = folder / f"{NAME}.gguf"
    text = string.Template(_TEXT.read_text(encoding="utf-8")).substitute(
        _sizes(folder),
        name=NAME,
        context=CONTEXT,
        longest=LONG,
        megabytes=f"{model.stat().st_size / 1e6:.1f}",
        table=_table(figures),
        budgets=_budgets(figures),
        load=f"{figures['speed']['load_s']:.2f}",
        one=f"{figures['speed']['one']:.0f}",
        eight=f"{figures['speed']['eight']:.0f}",
    )
    write_plot(folder / "run" / "loss.csv", folder / f"{NAME}.svg")
    path = folder / f"{NAME}.md"
    path.write_text(text, encoding="utf-8")
    return path


def main() -> None:
    """Write the card, and say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print(write_card(parser.parse_args().folder))


if __name__ == "__main__":
    main()
