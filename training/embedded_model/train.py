"""Train the network on packed rows, on a CPU or a GPU; goes on where it was interrupted.

    python -m training.embedded_model.train ROWS --out FOLDER [--minutes M | --steps N]

Writes `checkpoint.pt` every few minutes, `loss.csv` with a line every 20 steps (step, tokens, loss, loss of rows held
back, seconds), and `loss.svg` at the end. The rates of learning stand for most of a run and fall at its end, so that a
run which has not come there may still be made longer or shorter with `--steps`. `--minutes` measures the machine's
speed and chooses the steps that are left for the time.
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
from training.embedded_model.pack import ANSWER, LONG, PROMPT, SHORT

MATRIX_RATE: Final = 0.02
OTHER_RATE: Final = 3e-3
FALL_SHARE: Final = 0.35  # of a run in which the rates fall to nothing; before that they stand
WARM_UP_STEPS: Final = 60
PROMPT_SHARE: Final = 0.12  # of the prompt's tokens that are learnt as well
PROMPT_WEIGHT: Final = 0.25
LONG_EVERY: Final = 12  # steps: one learns long rows, the others short ones
N_MEASURED: Final = 128  # short rows held back for the loss
SAVE_S: Final = 240.0
TOLD_STEPS: Final = 20  # from one line of progress to the next


class Run:
    """A network in training with all its state."""

    def __init__(self, shape: Shape, rows: Path, batch: int, device: str) -> None:
        torch.manual_seed(0)
        torch.set_flush_denormal(True)
        self.device, self.batch = device, batch
        self.network = Network(shape).to(device)
        self.muon = Muon(self.network)
        others = [p for name, p in self.network.named_parameters() if name not in self.muon.matrices]
        self.others = torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)
        self.short = np.load(rows / "short.npy", mmap_mode="r")
        self.long = np.load(rows / "long.npy", mmap_mode="r")
        # Short rows only: torch would compile for minutes what long rows need.
        self.blocks = [torch.compile(block, dynamic=False) for block in self.network.blocks]
        self.step, self.n_steps, self.learnt_s = 0, 0, 0.0

    @property
    def once(self) -> int:
        """Return the steps in which every short row is learnt once."""
        per_step = self.batch // SHORT
        return (len(self.short) - N_MEASURED) // per_step * LONG_EVERY // (LONG_EVERY - 1)

    def rate(self) -> float:
        """Return the share of the learning rates at this step: warm-up, stand, fall."""
        left = (self.n_steps - self.step) / max(1.0, FALL_SHARE * self.n_steps)
        return min(1.0, (self.step + 1) / WARM_UP_STEPS, left)

    def rows_of(self, step: int) -> "np.ndarray[Any, Any]":
        """Return the rows that a step learns, (rows, 2, length); every row once before any comes again."""
        is_long = step % LONG_EVERY == LONG_EVERY - 1
        kind, length = (self.long, LONG) if is_long else (self.short, SHORT)
        turn = step // LONG_EVERY if is_long else step - step // LONG_EVERY
        n_rows, size = len(kind) if is_long else len(kind) - N_MEASURED, self.batch // length
        per_pass = max(1, n_rows // size)
        order = np.random.default_rng([turn // per_pass, is_long]).permutation(n_rows)
        start = turn % per_pass * size
        return kind[np.sort(order[start : start + size])]

    def learn(self) -> float:
        """Take one step; return its loss."""
        started_s = time.monotonic()
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
        self.learnt_s += time.monotonic() - started_s
        return float(loss.item())

    @torch.no_grad()
    def measured(self) -> float:
        """Return the mean loss of answers in the rows held back (nats a token)."""
        total, count = 0.0, 0
        for start in range(len(self.short) - N_MEASURED, len(self.short), 32):
            _, losses = self._loss(self.short[start : start + 32], is_learning=False)
            total, count = total + float(losses.sum().item()), count + losses.numel()
        return total / count

    def _loss(self, rows: "np.ndarray[Any, Any]", *, is_learning: bool) -> tuple[Tensor, Tensor]:
        ids = torch.from_numpy(rows[:, 0].astype(np.int64)).to(self.device)
        parts = torch.from_numpy(rows[:, 1].astype(np.uint8)).to(self.device)[:, 1:]
        chosen = parts == ANSWER
        if is_learning:
            chosen |= (parts == PROMPT) & (torch.rand(parts.shape, device=self.device) < PROMPT_SHARE)
        with torch.autocast(self.device, torch.bfloat16):
            hidden = self.network.trunk(ids, self.blocks if ids.shape[1] == SHORT else None)[:, :-1]
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
            "learnt_s": self.learnt_s,
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
        self.step, self.n_steps, self.learnt_s = state["step"], state["n_steps"], state["learnt_s"]
        torch.set_rng_state(state["random"].cpu())


def _steps_for(run: Run, minutes: float) -> int:
    """Measure how long a step takes, and return at which step the time is over; the steps taken count."""
    run.n_steps = 10**9
    for _ in range(LONG_EVERY):  # compiles
        run.learn()
    started_s = time.monotonic()
    for _ in range(LONG_EVERY):
        run.learn()
    return run.step + int(minutes * 60 / ((time.monotonic() - started_s) / LONG_EVERY))


def _keep_lines(log: Path, last_step: int) -> None:
    """Drop the lines of steps that were taken after the checkpoint and are lost."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join(line for line in lines if int(line.split(",")[0]) <= last_step), encoding="utf-8")


def _train(run: Run, out: Path, stop_s: float) -> None:
    """Learn until the last step or the deadline, with a line of progress every 20 steps."""
    saved_s, told_s, average = time.monotonic(), time.monotonic(), None
    with (out / "loss.csv").open("a", encoding="utf-8") as log:
        while run.step < run.n_steps and time.monotonic() < stop_s:
            loss = run.learn()
            average = loss if average is None else 0.95 * average + 0.05 * loss
            if run.step % TOLD_STEPS == 0 or run.step == run.n_steps:
                step_s = (time.monotonic() - told_s) / TOLD_STEPS
                held = f"{run.measured():.4f}" if run.step % 200 == 0 or run.step == run.n_steps else ""
                log.write(f"{run.step},{run.step * run.batch},{average:.4f},{held},{run.learnt_s:.0f}\n")
                log.flush()
                told = f", held out {held}" if held else ""
                speeds = f"{run.batch / step_s:.0f} tokens/s, {(run.n_steps - run.step) * step_s / 60:.0f} min"
                print(f"step {run.step}/{run.n_steps}, loss {average:.4f}{told}, {speeds}", flush=True)
                told_s = time.monotonic()
            if time.monotonic() - saved_s > SAVE_S:
                run.save(out / "checkpoint.pt")
                saved_s = time.monotonic()
    run.save(out / "checkpoint.pt")


def main() -> None:
    """Read the arguments, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="folder of pack.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="length of the run; 0: every row once")
    parser.add_argument("--minutes", type=float, default=0, help="choose the length by time (minutes)")
    parser.add_argument(
        "--stop-after", type=float, default=math.inf, help="save and end then, to go on later (minutes)"
    )
    parser.add_argument("--batch", type=int, default=8_192, help="tokens a step")
    for name in ("width", "layers", "heads", "kv_heads", "inner"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Shape, name))
    options = parser.parse_args()
    stop_s = time.monotonic() + options.stop_after * 60
    shape = Shape(
        width=options.width, layers=options.layers, heads=options.heads, kv_heads=options.kv_heads, inner=options.inner
    )
    options.out.mkdir(parents=True, exist_ok=True)
    run = Run(shape, options.rows, options.batch, "cuda" if torch.cuda.is_available() else "cpu")
    n_parameters = sum(p.numel() for p in run.network.parameters())
    print(f"{n_parameters / 1e6:.2f}M parameters, {run.once} steps a pass, {run.device}", flush=True)
    if (options.out / "checkpoint.pt").exists():
        run.load(options.out / "checkpoint.pt")
        _keep_lines(options.out / "loss.csv", run.step)
    if options.minutes:
        run.n_steps = _steps_for(run, options.minutes)
    elif options.steps or not run.n_steps:
        run.n_steps = options.steps or run.once
    _train(run, options.out, stop_s)
    write_plot(options.out / "loss.csv", options.out / "loss.svg")


if __name__ == "__main__":
    main()
