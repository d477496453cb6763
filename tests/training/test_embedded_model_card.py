"""The model card says what the run left: its sizes, its figures, its loss; and of a model only its own figures."""

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from training.embedded_model import run
from training.embedded_model.card import write_card
from training.embedded_model.export import NAME
from training.embedded_model.loss_plot import write_plot
from training.embedded_model.pack import PADDING

pytestmark = pytest.mark.timeout(60)


def _share(value: float, n: int = 100) -> dict[str, float]:
    return {"value": value, "low": value, "high": value, "n": n}


CELLS = {"greedy": _share(0.97), "sampled": _share(0.95), "pass@8": _share(0.99)}
FIGURES = {
    "table": {
        "unseen phrasings": CELLS,
        "tool, families known": {**CELLS, "right tool": _share(0.98), "valid arguments": _share(1)},
    },
    "budgets": [{"title": "mbpp", "first": _share(0.1), "verified": _share(0.25), "repaired": _share(0.24)}],
    "speed": {"load_s": 0.31, "one": 432.1, "eight": 1234.4},
}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """What a run leaves, very small: rows half full, ten steps of which the last is the only one measured."""
    for name in ("data", "rows", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "train-00000.jsonl").write_text('{"a": 1}\n{"b": "\\n"}\n', encoding="utf-8")
    rows = np.zeros((4, 2, 8), np.uint16)
    rows[:, 1, 4:] = PADDING
    for name in ("short", "long"):
        np.save(tmp_path / "rows" / f"{name}.npy", rows)
    state = {"shape": {"width": 320}, "network": {"a": torch.zeros(2_500_000)}, "step": 10, "batch": 400_000}
    torch.save({**state, "learnt_s": 90.0}, tmp_path / "run" / "checkpoint.pt")
    (tmp_path / "run" / "loss.csv").write_text("5,40,2.5,,45\n10,80,1.25,0.7500,90\n", encoding="utf-8")
    (tmp_path / "figures.json").write_text(json.dumps(FIGURES), encoding="utf-8")
    (tmp_path / f"{NAME}.gguf").write_bytes(bytes(7_600_000))
    return tmp_path


def test_the_card_holds_the_figures_of_the_run(finished: Path) -> None:
    text = " ".join(write_card(finished).read_text(encoding="utf-8").split())
    for said in (
        "2.50 million parameters (width 320)",
        "7.6 MB",
        "2 examples",
        "2.0 million tokens in 2 minutes",  # of 4.0 million places half hold padding
        "loss of answers in rows held back: 0.7500",
        "| unseen phrasings | 100 | 0.97 | 0.95 | 0.99 |",
        "the right tool of several 0.98, valid arguments 1.00",
        "| mbpp | 0.10 | 0.25 | 0.24 |",
        "Loaded in 0.31 s; 432 tokens/s alone, 1234 tokens/s with eight",
    ):
        assert said in text
    assert "$" not in text


def test_the_curve_lies_beside_the_card_that_names_it(finished: Path) -> None:
    assert f"({NAME}.svg)" in write_card(finished).read_text(encoding="utf-8")
    drawn = ET.parse(finished / f"{NAME}.svg").getroot()  # noqa: S314 - written by us
    learnt, held = (line.attrib["points"].split() for line in drawn.iter() if line.tag.endswith("polyline"))
    assert (len(learnt), len(held)) == (2, 1)


def test_a_run_without_a_line_has_no_curve(tmp_path: Path) -> None:
    (tmp_path / "loss.csv").touch()
    write_plot(tmp_path / "loss.csv", tmp_path / "loss.svg")
    assert not (tmp_path / "loss.svg").exists()


@pytest.mark.parametrize(("age_s", "is_measured"), [(-10, True), (10, False)])
def test_figures_of_an_earlier_model_are_measured_anew(
    finished: Path, monkeypatch: pytest.MonkeyPatch, age_s: int, *, is_measured: bool
) -> None:
    called: list[str] = []

    def command(arguments: list[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        called.append(arguments[2])
        if arguments[2] == "benchmarks.model":
            (finished / "figures.json").write_text("{}", encoding="utf-8")
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(subprocess, "run", command)
    made_s = (finished / f"{NAME}.gguf").stat().st_mtime + age_s
    os.utime(finished / "figures.json", (made_s, made_s))
    run.make(finished, 1, 0)
    assert ("benchmarks.model" in called) is is_measured


def test_a_measurement_without_figures_is_told_and_no_card_is_written(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished / "figures.json").unlink()
    monkeypatch.setattr(subprocess, "run", lambda arguments, **_options: subprocess.CompletedProcess(arguments, 1))
    with pytest.raises(SystemExit, match=r"benchmarks.model ended without .*figures\.json"):
        run.make(finished, 1, 0)
