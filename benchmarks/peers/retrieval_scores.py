"""How good a ranking is: NDCG@10, Recall@10 and MRR with one rule of relevance, and intervals of differences.

A hit is right when its span has a line in common with an answer that no better hit met; a file without lines is met by
any span of it. A hit that meets several answers counts for each, and NDCG is never more than 1. Pure functions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from benchmarks.peers.retrieval_sets import Answer

K: Final = 10
RESAMPLES: Final = 10_000
_SEED: Final = 7

Span: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True)
class Score:
    """Of one question, or the means over several."""

    ndcg: float
    recall: float
    mrr: float


@dataclass(frozen=True)
class Difference:
    """Mean of ours less theirs, question by question, and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def score(hits: Sequence[Span], answers: Sequence[Answer]) -> Score:
    """Score the first ten hits of a ranking."""
    open_answers = list(answers)
    gain = 0.0
    first_rank: int | None = None
    for rank, hit in enumerate(hits[:K], 1):
        met = [answer for answer in open_answers if answer.is_met_by(*hit)]
        if met:
            first_rank = first_rank or rank
            gain += len(met) / math.log2(rank + 1)
            open_answers = [answer for answer in open_answers if answer not in met]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(answers), K) + 1))
    n_met = len(answers) - len(open_answers)
    return Score(min(1.0, gain / ideal), n_met / len(answers), 1 / first_rank if first_rank else 0.0)


def mean(scores: Sequence[Score]) -> Score:
    """Average over questions."""
    table = np.asarray([(one.ndcg, one.recall, one.mrr) for one in scores])
    return Score(*(float(value) for value in table.mean(axis=0)))


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Compare two systems on the same questions: resample the questions, keep each one's pair together."""
    differences = np.asarray(ours) - np.asarray(theirs)
    rows = np.random.default_rng(_SEED).integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[rows].mean(axis=1), (2.5, 97.5))
    return Difference(float(differences.mean()), float(low), float(high))
