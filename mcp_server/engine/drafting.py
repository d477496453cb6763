"""Guesses of the tokens that come next, which one batch then checks: speculative decoding.

A drafter is asked for every decoding sequence before a batch is made, and never decides anything: the model samples at
each guessed position, and the first token that differs from its guess ends the run. So the output is the same as
without, whatever the sampling (Leviathan et al., 2023, arXiv:2211.17192). `PromptLookup` needs no second model: code
that is edited or quoted repeats what is in the context already. Knows nothing of queues, text or native code.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

PROMPT_LOOKUP = "prompt-lookup"  # in place of a draft model's name
LOOKUP_TOKENS = 3  # of the end of the context, to be found again; fewer guess wrong, more guess rarely


@dataclass(frozen=True)
class DraftRequest:
    """One sequence that decodes."""

    slot: int
    tokens: list[int]  # all there are, the one just sampled last
    n_max: int  # guesses wanted


class Drafter(Protocol):
    """What guesses. Called from the engine's thread only."""

    def propose(self, requests: Items[DraftRequest]) -> list[list[int]]:
        """Guess the next tokens of each sequence, at most `n_max` of them, none where it has no idea."""
        ...

    def release(self, slot: int) -> None:
        """Forget a slot: another sequence may run in it next."""
        ...

    def close(self) -> None:
        """Free what it holds; idempotent."""
        ...


class PromptLookup:
    """Guesses that what followed the last few tokens before follows them again."""

    def __init__(self) -> None:
        self._places: dict[int, dict[tuple[int, ...], int]] = {}  # by slot: where each run of tokens last ended
        self._n_seen: dict[int, int] = {}

    def propose(self, requests: Items[DraftRequest]) -> list[list[int]]:
        """Guess for each sequence; costs a dictionary entry a token."""
        return [self._propose_one(request) for request in requests]

    def _propose_one(self, request: DraftRequest) -> list[int]:
        tokens, places = request.tokens, self._places.setdefault(request.slot, {})
        for end in range(max(self._n_seen.get(request.slot, 0), LOOKUP_TOKENS), len(tokens)):
            places[tuple(tokens[end - LOOKUP_TOKENS : end])] = end
        self._n_seen[request.slot] = len(tokens)
        found = places.get(tuple(tokens[-LOOKUP_TOKENS:]))
        return tokens[found : found + request.n_max] if found is not None else []

    def release(self, slot: int) -> None:
        """Forget a slot."""
        self._places.pop(slot, None)
        self._n_seen.pop(slot, None)

    def close(self) -> None:
        """Forget all."""
        self._places.clear()
        self._n_seen.clear()
