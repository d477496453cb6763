"""Joining two rankings."""

import numpy as np

from rag.fusion import Ranking, fuse, top_ranking


def ranking(*pairs: tuple[int, float]) -> Ranking:
    return Ranking(np.array([row for row, _ in pairs], np.int64), np.array([score for _, score in pairs], np.float32))


def test_a_row_good_in_both_rankings_beats_a_row_best_in_one() -> None:
    fused = fuse(ranking((1, 0.9), (2, 0.85), (3, 0.1)), ranking((4, 10.0), (2, 9.0), (5, 1.0)), 0.5)
    assert fused[0].row == 2
    assert (fused[0].dense_rank, fused[0].sparse_rank) == (2, 2)


def test_a_row_of_one_ranking_has_no_rank_in_the_other() -> None:
    by_row = {found.row: found for found in fuse(ranking((1, 0.9)), ranking((4, 10.0)), 0.5)}
    assert (by_row[1].dense_rank, by_row[1].sparse_rank) == (1, None)
    assert (by_row[4].dense_rank, by_row[4].sparse_rank) == (None, 1)


def test_without_dense_the_lexical_order_stands_whatever_the_weight() -> None:
    assert [found.row for found in fuse(None, ranking((7, 3.0), (1, 2.0), (9, 1.0)), 1.0)] == [7, 1, 9]


def test_a_weight_of_one_or_zero_is_one_ranking_alone() -> None:
    dense, sparse = ranking((1, 0.9), (2, 0.5)), ranking((2, 4.0), (1, 1.0))
    assert fuse(dense, sparse, 1.0)[0].row == 1
    assert fuse(dense, sparse, 0.0)[0].row == 2


def test_two_empty_rankings_fuse_to_nothing() -> None:
    assert fuse(ranking(), ranking(), 0.5) == []
    assert fuse(None, ranking(), 0.5) == []


def test_the_top_is_what_sorting_everything_gives() -> None:
    scores = np.random.default_rng(3).integers(0, 40, 500).astype(np.float32)
    expected = [row for row in sorted(range(500), key=lambda row: (-scores[row], row)) if scores[row] > 0]
    for limit in (1, 10, 499, 1000):
        assert top_ranking(scores, limit).rows.tolist() == expected[:limit]
    assert len(top_ranking(np.zeros(5, np.float32), 3).rows) == 0
