"""Make the embedded model from nothing: data, tokenizer, weights, figures, card. Goes on where it was interrupted.

    python -m training.embedded_model.run --out FOLDER [--examples N] [--minutes M]

Runs the commands of this folder one after the other, each in a process of its own, and leaves out what is there
already. FOLDER then holds `data/`, `tokenizer.json`, `rows/`, `run/`, the model as GGUF, `figures.json` and the card.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from training.embedded_model.export import NAME

# Training gives and takes back gigabytes every second; asked from the system anew each time, they cost half of it.
_MEMORY: Final = {
    "MALLOC_MMAP_THRESHOLD_": "10000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def _command(module: str, *arguments: object, may_say_no: bool = False) -> None:
    print(f"== {module} {' '.join(map(str, arguments))}", flush=True)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, check=not may_say_no, env=os.environ | _MEMORY)


def _is_older(path: Path, than: Path) -> bool:
    """Say whether *path* is missing, or of an earlier time: figures of another model."""
    return not path.exists() or path.stat().st_mtime_ns < than.stat().st_mtime_ns


def make(out: Path, n_examples: int, minutes: float) -> None:
    """Do every stage whose result is missing; data and training go on by themselves."""
    ours, model = "training.embedded_model", out / f"{NAME}.gguf"
    _command(f"{ours}.generate", "--out", out / "data", "--examples", n_examples)
    if not (out / "tokenizer.json").exists():
        _command(f"{ours}.tokenizer", out / "data", "--out", out / "tokenizer.json")
    if not (out / "rows" / "long.npy").exists():
        _command(f"{ours}.pack", out / "data", out / "tokenizer.json", "--out", out / "rows")
    if not model.exists():
        length = ["--minutes", minutes] if minutes else []
        _command(f"{ours}.train", out / "rows", "--out", out / "run", *length)
        _command(f"{ours}.export", out / "run" / "checkpoint.pt", out / "tokenizer.json", "--out", model)
    figures = out / "figures.json"
    if _is_older(figures, model):
        figures.unlink(missing_ok=True)
        arguments = ("--model", model, "--data", out / "data", "--json", figures)
        _command("benchmarks.model", *arguments, may_say_no=True)  # a claim that fails is in the card
    if not figures.exists():
        sys.exit(f"benchmarks.model ended without {figures}; its message stands above. Run this command again.")
    _command(f"{ours}.card", out)


def main() -> None:
    """Read the arguments, and make the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--examples", type=int, default=400_000, help="draws of the generator")
    parser.add_argument(
        "--minutes", type=float, default=0, help="time for training from now on; 0: every row once (minutes)"
    )
    options = parser.parse_args()
    make(options.out, options.examples, options.minutes)


if __name__ == "__main__":
    main()
