"""The tokenizer: byte-level BPE with the pre-tokenizer that llama.cpp calls `qwen2`, learnt from the training data.

    python -m training.embedded_model.tokenizer DATA --out tokenizer.json

Digits are single tokens, so that numbers are copied digit by digit.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
VOCABULARY: Final = 4_096
_QWEN2: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MAX_SHARDS: Final = 40  # some 80,000 examples decide the merges


def untrained() -> Tokenizer:
    """Return a tokenizer that has no merges yet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(folder: Path) -> Tokenizer:
    """Learn the merges from the shards of a folder, in their order."""
    tokenizer = untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=5,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(folder), trainer)
    return tokenizer


def _texts(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("train-*.jsonl"))[:_MAX_SHARDS]:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row["prompt"]
            yield row["answer"]
            if "tools" in row:
                yield json.dumps(row["tools"])


def main() -> None:
    """Learn and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of generate.py")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tokenizer = train(options.data)
    tokenizer.save(str(options.out))
    print(f"{options.out}: {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
