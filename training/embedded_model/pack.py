"""Turn generated examples into rows of tokens for training: several conversations to a row, none cut in two.

    python -m training.embedded_model.pack DATA TOKENIZER --out FOLDER

Writes `short.npy` and `long.npy`: uint16, (rows, 2, length), the tokens of a row and the part each is of (0 prompt,
1 answer, 2 padding). Most conversations are short, and short rows are learnt faster; the long ones are for far
positions. Conversations are written by the chat template that the model ships with.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mcp_server.engine.chat.template_environment import make_environment

SHORT, LONG = 256, 1_024  # tokens of a row
LONG_SHARE: Final = 0.125  # of all short conversations that are put into long rows
PROMPT, ANSWER, PADDING = 0, 1, 2
_OPEN_ROWS: Final = 24  # rows that conversations are fitted into at a time
_BATCH: Final = 10_000

Tokens = NDArray[np.uint16]
Parts = NDArray[np.uint8]
_TEMPLATE: Final = make_environment().from_string(
    Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
)


def prompt_of(row: dict[str, Any]) -> str:
    """Return the text before an example's answer, as the model's template writes it."""
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    messages.append({"role": "user", "content": row["prompt"]})
    return _TEMPLATE.render(messages=messages, tools=row.get("tools") or None, add_generation_prompt=True)


def conversations(folder: Path, tokenizer: Tokenizer) -> Iterator[tuple[Tokens, Parts]]:
    """Yield the tokens of every example that fits a row, and what part each is of."""
    for path in sorted(folder.glob("train-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        prompts = tokenizer.encode_batch_fast([prompt_of(row) for row in rows])
        answers = tokenizer.encode_batch_fast([row["answer"] + "<|im_end|>" for row in rows])
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = prompt.ids + answer.ids
            if len(ids) <= LONG:
                parts = [PROMPT] * len(prompt.ids) + [ANSWER] * len(answer.ids)
                yield np.array(ids, np.uint16), np.array(parts, np.uint8)


def packed(found: list[tuple[Tokens, Parts]], length: int, r: random.Random) -> NDArray[np.uint16]:
    """Fit conversations into rows, first fit into a few open ones, and shuffle the rows."""
    rows: list[list[tuple[Tokens, Parts]]] = []
    open_rows: list[tuple[int, list[tuple[Tokens, Parts]]]] = []
    for one in found:
        for i, (used, row) in enumerate(open_rows):
            if used + len(one[0]) <= length:
                row.append(one)
                open_rows[i] = used + len(one[0]), row
                break
        else:
            open_rows.append((len(one[0]), [one]))
        if len(open_rows) > _OPEN_ROWS:
            fullest = max(range(len(open_rows)), key=lambda i: open_rows[i][0])
            rows.append(open_rows.pop(fullest)[1])
    rows += [row for _, row in open_rows]
    r.shuffle(rows)
    made = np.zeros((len(rows), 2, length), np.uint16)
    made[:, 1] = PADDING
    for i, row in enumerate(rows):
        joined = np.concatenate([ids for ids, _ in row])
        made[i, 0, : len(joined)] = joined
        made[i, 1, : len(joined)] = np.concatenate([part for _, part in row])
    return made


def divided(
    found: list[tuple[Tokens, Parts]], r: random.Random
) -> tuple[list[tuple[Tokens, Parts]], list[tuple[Tokens, Parts]]]:
    """Return the conversations for short rows, and those for long ones: all that need them, and some others."""
    short: list[tuple[Tokens, Parts]] = []
    long: list[tuple[Tokens, Parts]] = []
    r.shuffle(found)
    for one in found:
        (long if len(one[0]) > SHORT or r.random() < LONG_SHARE else short).append(one)
    return short, long


def main() -> None:
    """Pack and write, and say how much there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of generate.py")
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.tokenizer))
    r = random.Random(1)
    options.out.mkdir(parents=True, exist_ok=True)
    found = divided(list(conversations(options.data, tokenizer)), r)
    for name, part, length in zip(("short", "long"), found, (SHORT, LONG), strict=True):
        rows = packed(part, length, r)
        np.save(options.out / f"{name}.npy", rows)
        filled, answers = int((rows[:, 1] != PADDING).sum()), int((rows[:, 1] == ANSWER).sum())
        share = filled / (len(rows) * length)
        told = f"{filled / 1e6:.1f}M tokens, {answers / 1e6:.1f}M of answers, {share:.0%} full"
        print(f"{len(rows)} {name} rows: {told}")


if __name__ == "__main__":
    main()
