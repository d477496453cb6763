"""Generate the training data: requests with answers, every program run in the sandbox against its tests.

    python -m training.embedded_model.generate --out FOLDER [--seed N] [--examples N]

Writes `train-NNNNN.jsonl` and `held-NNNNN.jsonl`, 2,000 draws to a pair. A pair depends on nothing but the seed, its
number and the families, so that two runs give the same bytes; pairs that are there already are kept: a run goes on
where it was interrupted. What the 150 requests of newcomers say is never written. Ends with what failed, by family.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from sandbox.runner import Sandbox
from sandbox.settings import SandboxSettings
from training.embedded_model import about_code, conversations
from training.embedded_model.cases import cases
from training.embedded_model.compositions import compose
from training.embedded_model.examples import Example, draw_example
from training.embedded_model.families import Family, read_families
from training.embedded_model.sandboxed import failures
from training.embedded_model.splits import COMPOSITION_SHARE, share

FOLDER: Final = Path(__file__).with_name("families")
NEWCOMERS: Final = Path(__file__).parents[2] / "tests" / "newcomers"
DRAWS_A_SHARD: Final = 2_000
MIXTURE: Final = {
    "function": 36, "composition": 22, "class": 5, "script": 4, "edit": 5, "bash": 2, "javascript": 3, "change": 3,
    "repair": 8, "tests": 3, "question": 2, "meaning": 2, "json": 3, "tool": 3, "talk": 0.5, "refusal": 1.5,
}  # fmt: skip
_ABOUT: Final[dict[str, Callable[[Family, random.Random], Example | None]]] = {
    "change": about_code.change,
    "repair": about_code.repair,
    "tests": about_code.tests_for,
    "question": about_code.result_question,
    "meaning": about_code.meaning_question,
    "json": about_code.json_answer,
}
_TALK: Final = {"tool": conversations.tool_call, "talk": conversations.talk, "refusal": conversations.refusal}
_COMPOSED_SHARE: Final = 0.4  # of what is about code, and about a composition
_MAX_PROMPT_CHARS: Final = 1_500
_MAX_ANSWER_CHARS: Final = 1_200


class Drawer:
    """Draws examples of all kinds from families."""

    def __init__(self, families: list[Family]) -> None:
        self._by_kind: dict[str, list[Family]] = {}
        for family in families:
            self._by_kind.setdefault(family.kind, []).append(family)
        kinds = {kind: weight for kind, weight in MIXTURE.items() if self._is_possible(kind)}
        self._kinds, self._weights = list(kinds), list(kinds.values())

    def _is_possible(self, kind: str) -> bool:
        return (
            kind in _TALK
            or kind == "composition"
            or (kind in _ABOUT and "function" in self._by_kind)
            or kind in self._by_kind
        )

    def draw(self, r: random.Random) -> Example:
        """Draw until there is one: some kinds fail for some families."""
        while True:
            kind = r.choices(self._kinds, self._weights)[0]
            example = self._one(kind, r)
            if (
                example is not None
                and len(example.prompt) <= _MAX_PROMPT_CHARS
                and len(example.answer) <= _MAX_ANSWER_CHARS
            ):
                return example

    def _one(self, kind: str, r: random.Random) -> Example | None:
        if kind in _TALK:
            return _TALK[kind](r)
        if kind != "composition" and kind not in _ABOUT:
            return draw_example(r.choice(self._by_kind[kind]), r)
        if kind == "composition" or r.random() < _COMPOSED_SHARE:
            composition = compose(r)
            if len({repr(case.result) for case in cases(composition.family)}) < 2:
                return None
            made = draw_example(composition.family, r) if kind == "composition" else _ABOUT[kind](composition.family, r)
            held = share(f"composition {composition.key}", COMPOSITION_SHARE)
            return made and replace(made, split="composition" if held else "train", family=composition.key)
        return _ABOUT[kind](r.choice(self._by_kind["function"]), r)


def plain(text: str) -> str:
    """Return the words of *text* only, to compare requests by."""
    return " ".join(re.findall(r"\w+", text.lower()))


def newcomers_requests() -> frozenset[str]:
    """Return what the 150 newcomers say, as words."""
    tables = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(NEWCOMERS.glob("*.toml"))]
    return frozenset(plain(entry["text"]) for table in tables for entry in table["request"])


def examples_of(number: int, seed: int, drawer: Drawer, excluded: frozenset[str]) -> list[Example]:
    """Draw the examples of one shard."""
    r = random.Random(f"{seed} {number}")
    drawn = (drawer.draw(r) for _ in range(DRAWS_A_SHARD))
    return [example for example in drawn if plain(example.prompt) not in excluded]


def _write_shard(task: tuple[int, int, Path]) -> tuple[int, int, Counter[str]]:
    """Draw, run and write one shard; return how many were written and held, and what failed."""
    number, seed, out = task
    drawer, sandbox, excluded = _worker()
    examples = examples_of(number, seed, drawer, excluded)
    failed = failures(examples, sandbox)
    kept = [example for i, example in enumerate(examples) if i not in failed]
    train = [example for example in kept if example.split == "train"]
    held = [example for example in kept if example.split != "train"]
    _write(out / f"held-{number:05d}.jsonl", held)
    _write(out / f"train-{number:05d}.jsonl", train)
    why = Counter(f"{examples[i].kind} {examples[i].family}: {why}" for i, why in failed.items())
    return len(train), len(held), why


_made: list[tuple[Drawer, Sandbox, frozenset[str]]] = []


def _worker() -> tuple[Drawer, Sandbox, frozenset[str]]:
    """Return what a process needs for its shards, made once."""
    if not _made:
        home = Path(tempfile.mkdtemp(prefix="cinque-training-"))
        _made.append((Drawer(read_families(FOLDER)), Sandbox(SandboxSettings(home=home)), newcomers_requests()))
    return _made[0]


def _write(path: Path, examples: list[Example]) -> None:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_row(example), ensure_ascii=False) + "\n" for example in examples)
    part.replace(path)


def _row(example: Example) -> dict[str, object]:
    """Return an example without what it does not have."""
    return {key: value for key, value in asdict(example).items() if value}


def _shards(n_examples: int, seed: int, out: Path) -> Iterator[tuple[int, int, Path]]:
    for number in range(-(-n_examples // DRAWS_A_SHARD)):
        if not (out / f"train-{number:05d}.jsonl").exists():
            yield number, seed, out


def main() -> None:
    """Generate what is missing, with a line of progress every few shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=400_000, help="draws; held-out ones and failures count")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of a set of strings decides what some programs return
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "training.embedded_model.generate", *sys.argv[1:]])  # noqa: S606
    options.out.mkdir(parents=True, exist_ok=True)
    tasks = list(_shards(options.examples, options.seed, options.out))
    started_s, n_train, n_held = time.monotonic(), 0, 0
    failed: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for done, (train, held, why) in enumerate(pool.imap_unordered(_write_shard, tasks), 1):
            n_train, n_held = n_train + train, n_held + held
            failed += why
            rate = done * DRAWS_A_SHARD / (time.monotonic() - started_s)
            told = f"{n_train} to learn, {n_held} held out, {failed.total()} failed, {rate:.0f}/s"
            print(f"shard {done}/{len(tasks)}: {told}", flush=True)
    for reason, count in failed.most_common(30):
        print(f"{count:6} {reason}")


if __name__ == "__main__":
    main()
