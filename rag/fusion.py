"""Join the dense and the lexical ranking into one.

Each ranking's scores are brought to 0..1 and added by weight. In development sets a weighted sum found the right
function more often than reciprocal rank fusion (NDCG@10 .689 against .666), because how far apart two scores lie says
something that ranks do not. Pure functions over arrays of row numbers; knows nothing of chunks or filters.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]

_TINY: Final = 1e-9


@dataclass(frozen=True)
class Ranking:
    """Rows, best first, and the score of each; higher is better."""

    rows: Rows
    scores: Floats


@dataclass(frozen=True)
class Fused:
    """One row in the joint ranking; a rank is 1-based and None where that ranking did not return the row."""

    row: int
    score: float
    dense_rank: int | None
    sparse_rank: int | None


def top_ranking(scores: Floats, limit: int) -> Ranking:
    """Rank the best `limit` of scores over all rows, those above zero only; equal scores go by row."""
    positive = np.flatnonzero(scores > 0)
    if len(positive) > limit:
        # The limit-th best score decides; all rows equal to it stay for the sort to order.
        threshold = np.partition(scores[positive], len(positive) - limit)[len(positive) - limit]
        positive = positive[scores[positive] >= threshold]
    order = np.argsort(-scores[positive], kind="stable")[:limit]
    rows = positive[order].astype(np.int64)
    return Ranking(rows, scores[rows])


def fuse(dense: Ranking | None, sparse: Ranking, dense_weight: float) -> list[Fused]:
    """Merge two rankings, best first; equal scores go by row. Without `dense` the lexical order stands.

    Lexical scores are divided by the best one, since zero means that no word occurs. Cosines have no such zero, so they
    are stretched between the best and the worst that was returned.
    """
    weights = (0.0, 1.0) if dense is None else (dense_weight, 1.0 - dense_weight)
    dense = dense or Ranking(np.zeros(0, np.int64), np.zeros(0, np.float32))
    dense_ranks = {int(row): rank for rank, row in enumerate(dense.rows, 1)}
    sparse_ranks = {int(row): rank for rank, row in enumerate(sparse.rows, 1)}
    scores: dict[int, float] = {}
    for weight, ranking, parts in (
        (weights[0], dense, _stretched(dense.scores)),
        (weights[1], sparse, _divided(sparse.scores)),
    ):
        for row, part in zip(ranking.rows.tolist(), parts.tolist(), strict=True):
            scores[row] = scores.get(row, 0.0) + weight * part
    best_first = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return [Fused(row, score, dense_ranks.get(row), sparse_ranks.get(row)) for row, score in best_first]


def _divided(scores: Floats) -> Floats:
    return scores / max(float(scores.max()), _TINY) if len(scores) else scores


def _stretched(scores: Floats) -> Floats:
    if not len(scores):
        return scores
    low, high = float(scores.min()), float(scores.max())
    return np.ones_like(scores) if high - low < _TINY else (scores - low) / (high - low)
