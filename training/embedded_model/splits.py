"""What the model never sees while it learns: whole families, values of parameters, phrases, compositions.

Decided by a hash of what it is, so that more families change nothing for those that are there.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

from training.embedded_model.families import Family, Phrase

Split = Literal["train", "phrase", "parameter", "composition", "family"]

FAMILY_SHARE: Final = 25  # one family in so many
PARAMETER_SHARE: Final = 10
PHRASE_SHARE: Final = 12
COMPOSITION_SHARE: Final = 12
MIN_LEARNT: Final = 4  # phrases, and values of parameters, that a family keeps for learning


def share(text: str, n: int) -> bool:
    """Say whether *text* is the one in *n* that is kept back."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % n == 0


def is_held(whole: Family) -> bool:
    """Say whether a family is held back as a whole."""
    return share(f"family {whole.kind} {whole.name}", FAMILY_SHARE)


def split_of(family: Family, phrase: Phrase, values: Mapping[str, Any], whole: Family) -> Split:
    """Say where an example belongs. *whole* is the family before its parameters were filled in."""
    if is_held(whole):
        return "family"
    n_values = sum(len(options) for _, options in whole.parameters)
    if values and n_values > MIN_LEARNT and share(f"parameter {whole.name} {sorted(values.items())}", PARAMETER_SHARE):
        return "parameter"
    if (
        share(f"phrase {phrase.text}", PHRASE_SHARE)
        and _n_learnt(whole) >= MIN_LEARNT
        and len(family.phrases) > MIN_LEARNT
    ):
        return "phrase"
    return "train"


def _n_learnt(whole: Family) -> int:
    return sum(not share(f"phrase {phrase.text}", PHRASE_SHARE) for phrase in whole.phrases)
