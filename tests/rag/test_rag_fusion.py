"""Joining the rankings by words and by meaning."""

import numpy as np

from rag.fusion import Ranking, Signals, fuse, top_ranking


def ranking(*pairs: tuple[int, float]) -> Ranking:
    return Ranking(np.array([row for row, _ in pairs], np.int64), np.array([score for _, score in pairs], np.float32))


def test_a_row_good_in_both_rankings_beats_a_row_best_in_one() -> None:
    signals = Signals(ranking((4, 10.0), (2, 9.0), (5, 1.0)), ranking((1, 0.9), (2, 0.85), (3, 0.1)))
    fused = fuse(signals, 0.5, 100)
    assert fused[0].row == 2
    assert (fused[0].dense_rank, fused[0].sparse_rank, fused[0].static_rank) == (2, 2, None)


def test_a_row_of_one_ranking_has_no_rank_in_the_other() -> None:
    by_row = {found.row: found for found in fuse(Signals(ranking((4, 10.0)), ranking((1, 0.9))), 0.5, 100)}
    assert (by_row[1].dense_rank, by_row[1].sparse_rank) == (1, None)
    assert (by_row[4].dense_rank, by_row[4].sparse_rank) == (None, 1)


def test_without_meaning_the_lexical_order_stands_whatever_the_weight() -> None:
    assert [found.row for found in fuse(Signals(ranking((7, 3.0), (1, 2.0), (9, 1.0))), 1.0, 100)] == [7, 1, 9]


def test_a_weight_of_one_or_zero_is_one_ranking_alone() -> None:
    signals = Signals(ranking((2, 4.0), (1, 1.0)), ranking((1, 0.9), (2, 0.5)))
    assert fuse(signals, 1.0, 100)[0].row == 1
    assert fuse(signals, 0.0, 100)[0].row == 2


def test_words_below_the_lexical_top_still_tell_rows_of_like_meaning_apart() -> None:
    words = np.array([0.0, 1.0, 3.0, 10.0], np.float32)
    signals = Signals(ranking((3, 10.0)), ranking((1, 0.9), (2, 0.9), (0, 0.1)), words=words)
    fused = fuse(signals, 0.5, 1)
    assert [found.row for found in fused if found.row != 3] == [2, 1, 0]
    assert all(found.sparse_rank is None for found in fused if found.row != 3)


def test_two_empty_rankings_fuse_to_nothing() -> None:
    assert fuse(Signals(ranking(), ranking()), 0.5, 100) == []
    assert fuse(Signals(ranking()), 0.5, 100) == []


def test_without_dense_vectors_static_ones_rank_by_meaning() -> None:
    static = np.array([0.1, 0.5, -0.2], np.float32)
    fused = fuse(Signals(ranking(), None, static, np.zeros(3, dtype=bool)), 0.5, 2)
    assert [(found.row, found.static_rank, found.dense_rank) for found in fused] == [(1, 1, None), (0, 2, None)]


def test_rows_without_a_dense_vector_fall_where_their_static_one_would() -> None:
    n_rows = 1_000
    cosines = np.random.default_rng(5).uniform(0, 0.6, n_rows).astype(np.float32)
    has_dense = np.arange(n_rows) % 2 == 0
    signals = Signals(
        ranking(),
        top_ranking(np.where(has_dense, cosines, 0), 200),
        cosines / 2 + 0.3,  # the static model agrees on the order, on a scale of its own
        has_dense,
    )
    rows = [found.row for found in fuse(signals, 0.5, 200)]
    expected = top_ranking(cosines, 200).rows.tolist()
    assert len(set(rows) & set(expected)) >= 195
    assert abs(np.mean([row % 2 for row in rows]) - 0.5) < 0.1


def test_a_filter_holds_for_static_vectors_too() -> None:
    passes = np.array([True, False, True])
    static = np.array([0.1, 0.9, 0.2], np.float32)
    fused = fuse(Signals(ranking(), None, static, np.zeros(3, dtype=bool), passes), 0.5, 10)
    assert [found.row for found in fused] == [2, 0]


def test_the_top_is_what_sorting_everything_gives() -> None:
    scores = np.random.default_rng(3).integers(0, 40, 500).astype(np.float32)
    expected = [row for row in sorted(range(500), key=lambda row: (-scores[row], row)) if scores[row] > 0]
    for limit in (1, 10, 499, 1000):
        assert top_ranking(scores, limit).rows.tolist() == expected[:limit]
    assert len(top_ranking(np.zeros(5, np.float32), 3).rows) == 0
