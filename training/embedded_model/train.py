"""Train the network on packed rows, once over, on a CPU or a GPU; goes on where it was interrupted.

    python -m training.embedded_model.train ROWS --out FOLDER [--minutes M | --steps N]

Writes `checkpoint.pt` every few minutes, `loss.csv` with a line every 20 steps, and `loss.svg` at the end. The length
of a run decides the schedule of the learning rate and is kept with the checkpoint; `--minutes` measures the machine's
speed first and chooses the steps for the time.
"""

import argparse
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor

from training.embedded_model.loss_plot import write_plot
from training.embedded_model.muon import Muon
from training.embedded_model.network import Network, Shape
from training.embedded_model.pack import ANSWER, PROMPT, ROW

MATRIX_RATE: Final = 0.02
OTHER_RATE: Final = 3e-3
LAST_RATE: Final = 0.03  # of the first one, at the end of the cosine
WARM_UP_STEPS: Final = 60
PROMPT_SHARE: Final = 0.12  # of the prompt's tokens that are learnt as well
PROMPT_WEIGHT: Final = 0.25
N_MEASURED: Final = 64  # rows held back for the loss
SAVE_S: Final = 240.0
SPEED_STEPS: Final = 8  # measured to choose the length of a run


class Run:
    """A network in training with all its state."""

    def __init__(self, shape: Shape, rows: Path, batch: int, device: str) -> None:
        torch.manual_seed(0)
        self.device, self.batch = device, batch
        self.network = Network(shape).to(device)
        self.muon = Muon(self.network)
        others = [p for name, p in self.network.named_parameters() if name not in self.muon.matrices]
        self.others = torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)
        self.tokens = np.load(rows / "tokens.npy", mmap_mode="r")
        self.parts = np.load(rows / "parts.npy", mmap_mode="r")
        self.n_rows = len(self.tokens) - N_MEASURED
        self.trunk = torch.compile(self.network.trunk, dynamic=False)
        self.step, self.n_steps = 0, 0

    def rate(self) -> float:
        """Return the share of the learning rates at this step: warm-up, then a cosine."""
        warm = min(1.0, (self.step + 1) / WARM_UP_STEPS)
        done = min(1.0, self.step / max(1, self.n_steps))
        return warm * (LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done)))

    def rows_of(self, step: int) -> np.ndarray[Any, Any]:
        """Return which rows a step learns; every row once before any comes again."""
        per_pass = self.n_rows // self.batch
        order = np.random.default_rng(step // per_pass).permutation(self.n_rows)
        start = step % per_pass * self.batch
        return np.sort(order[start : start + self.batch])

    def learn(self) -> float:
        """Take one step; return its loss."""
        self.network.train()
        loss, _ = self._loss(self.rows_of(self.step), is_learning=True)
        loss.backward()
        share = self.rate()
        for group in self.others.param_groups:
            group["lr"] = OTHER_RATE * share
        torch.nn.utils.clip_grad_norm_([p for group in self.others.param_groups for p in group["params"]], 1.0)
        self.others.step()
        self.muon.step(MATRIX_RATE * share, min(0.95, 0.85 + 0.1 * self.step / 200))
        self.network.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.item())

    @torch.no_grad()
    def measured(self) -> float:
        """Return the mean loss of answers in the rows held back (nats a token)."""
        total, count = 0.0, 0
        for start in range(self.n_rows, self.n_rows + N_MEASURED, 16):
            _, losses = self._loss(np.arange(start, start + 16), is_learning=False)
            total, count = total + float(losses.sum().item()), count + losses.numel()
        return total / count

    def _loss(self, rows: "np.ndarray[Any, Any]", *, is_learning: bool) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(self.tokens[rows].astype(np.int64)).to(self.device)
        parts = torch.from_numpy(np.array(self.parts[rows])).to(self.device)[:, 1:]
        chosen = parts == ANSWER
        if is_learning:
            chosen |= (parts == PROMPT) & (torch.rand(parts.shape, device=self.device) < PROMPT_SHARE)
        with torch.autocast(self.device, torch.bfloat16):
            hidden = (self.trunk if is_learning else self.network.trunk)(ids[:, :-1])
            logits = F.linear(hidden[chosen], self.network.embedding.weight)
        losses = F.cross_entropy(logits.float(), ids[:, 1:][chosen], reduction="none")
        weights = torch.where(parts[chosen] == ANSWER, 1.0, PROMPT_WEIGHT)
        return (losses * weights).sum() / weights.sum(), losses

    def save(self, path: Path) -> None:
        """Write everything that the next run needs, whole or not at all."""
        state = {
            "shape": asdict(self.network.shape),
            "network": self.network.state_dict(),
            "others": self.others.state_dict(),
            "momentum": self.muon.momentum,
            "step": self.step,
            "n_steps": self.n_steps,
            "batch": self.batch,
            "random": torch.get_rng_state(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.others.load_state_dict(state["others"])
        for name, momentum in state["momentum"].items():
            self.muon.momentum[name].copy_(momentum)
        self.step, self.n_steps = state["step"], state["n_steps"]
        torch.set_rng_state(state["random"].cpu())


def _steps_for(run: Run, minutes: float) -> int:
    """Measure how long a step takes, and return how many fit; the steps taken count."""
    run.n_steps = 10**9
    run.learn()  # compiles
    started_s = time.monotonic()
    for _ in range(SPEED_STEPS):
        run.learn()
    return max(1, int(minutes * 60 / ((time.monotonic() - started_s) / SPEED_STEPS)))


def _train(run: Run, out: Path, stop_s: float) -> None:
    """Learn until the last step or the deadline, with a line of progress every 20 steps."""
    saved_s, average = time.monotonic(), None
    with (out / "loss.csv").open("a", encoding="utf-8") as log:
        while run.step < run.n_steps and time.monotonic() < stop_s:
            started_s = time.monotonic()
            loss = run.learn()
            average = loss if average is None else 0.95 * average + 0.05 * loss
            if run.step % 20 == 0 or run.step == run.n_steps:
                held = f"{run.measured():.4f}" if run.step % 200 == 0 or run.step == run.n_steps else ""
                speed = run.batch * ROW / (time.monotonic() - started_s)
                log.write(f"{run.step},{run.step * run.batch * ROW},{average:.4f},{held}\n")
                log.flush()
                left_min = (run.n_steps - run.step) * (time.monotonic() - started_s) / 60
                told = f", held out {held}" if held else ""
                speeds = f"{speed:.0f} tokens/s, {left_min:.0f} min"
                print(f"step {run.step}/{run.n_steps}, loss {average:.4f}{told}, {speeds}", flush=True)
            if time.monotonic() - saved_s > SAVE_S:
                run.save(out / "checkpoint.pt")
                saved_s = time.monotonic()
    run.save(out / "checkpoint.pt")


def main() -> None:
    """Read the arguments, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="folder of pack.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="length of the run; 0: once over all rows")
    parser.add_argument("--minutes", type=float, default=0, help="choose the length by time (minutes)")
    parser.add_argument(
        "--stop-after", type=float, default=math.inf, help="save and end then, to go on later (minutes)"
    )
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    for name in ("width", "layers", "heads", "kv_heads", "inner"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Shape, name))
    options = parser.parse_args()
    stop_s = time.monotonic() + options.stop_after * 60
    shape = Shape(
        width=options.width, layers=options.layers, heads=options.heads, kv_heads=options.kv_heads, inner=options.inner
    )
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(shape, options.rows, options.batch, "cuda" if torch.cuda.is_available() else "cpu")
    print(
        f"{sum(p.numel() for p in run.network.parameters()) / 1e6:.2f}M parameters, {run.n_rows} rows, {run.device}",
        flush=True,
    )
    if (options.out / "checkpoint.pt").exists():
        run.load(options.out / "checkpoint.pt")
    else:
        once = run.n_rows // run.batch
        run.n_steps = _steps_for(run, options.minutes) if options.minutes else options.steps or once
    _train(run, options.out, stop_s)
    write_plot(options.out / "loss.csv", options.out / "loss.svg")


if __name__ == "__main__":
    main()
