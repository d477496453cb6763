"""Dense vectors in segments: what is dead is never found, whatever the form, and joining keeps what lives."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.dense import DenseIndex, Sizes
from rag.segments import JoinedDense, Segment, join_segments, make_segment, read_segment

NOTHING = np.zeros(0, dtype=np.int64)
FORMS = {"floats": Sizes(), "bytes": Sizes(100, 10**9), "clusters": Sizes(100, 200)}


def made(first: int, n: int, form: str) -> tuple[Segment, NDArray[np.float32]]:
    vectors = np.random.default_rng(first).standard_normal((n, 16), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    keys = np.arange(first, first + n)[::-1]
    return make_segment(keys, DenseIndex.empty(16, FORMS[form]).updated(NOTHING, keys, vectors)), vectors[::-1]


@pytest.mark.parametrize("form", FORMS)
def test_only_living_keys_are_found_in_the_order_of_their_cosines(form: str) -> None:
    (first, first_vectors), (second, second_vectors) = made(0, 4_000, form), made(10_000, 3_000, form)
    living = np.concatenate([np.arange(0, 4_000, 2), np.arange(10_000, 13_000, 3)])
    joined = JoinedDense([first, second], living)
    assert len(joined) == 3_000
    assert joined.holds(np.asarray([0, 10_003, 20_000])).tolist() == [True, True, False]
    for query in (first_vectors[1], second_vectors[3]):  # the first of them is itself dead
        keys, scores = joined.search(query, 50)
        assert len(keys) == 50
        assert np.isin(keys, living).all()
        assert (np.diff(scores) <= 0).all()
    keys, scores = joined.search(second_vectors[3], 2)
    assert (keys[0], scores[0]) == (10_003, pytest.approx(1, abs=0.02))
    keys, _ = joined.search(second_vectors[3], 5, among=np.asarray([2, 4, 10_006]))
    assert sorted(keys.tolist()) == [2, 4, 10_006]


def test_when_all_that_is_near_is_dead_what_is_far_is_found() -> None:
    segment, vectors = made(0, 2_000, "floats")
    far = np.argsort(vectors @ vectors[0])[:7]
    keys, _ = JoinedDense([segment], np.sort(far)).search(vectors[0], 5)
    assert keys.tolist() == far[::-1][:5].tolist()


@pytest.mark.parametrize("form", FORMS)
def test_joined_segments_have_the_living_vectors_and_no_others(form: str) -> None:
    (first, _), (second, second_vectors) = made(0, 4_000, form), made(10_000, 3_000, form)
    living = np.concatenate([np.arange(0, 4_000, 2), np.arange(10_000, 13_000, 3)])
    joined = join_segments([first, second], living)
    assert joined is not None
    assert joined.keys.tolist() == living.tolist()
    assert len(joined.index) == len(living)
    cosines = (joined.index.vectors(living[2_000:]) * second_vectors[::3]).sum(axis=1)
    assert cosines.min() > 0.9  # bytes cut off what is larger than all they were trained on
    assert np.median(cosines) == pytest.approx(1, abs=0.01)
    assert join_segments([first, second], NOTHING) is None
    assert join_segments([], living) is None


@pytest.mark.parametrize("form", FORMS)
def test_a_segment_read_back_answers_the_same(tmp_path: Path, form: str) -> None:
    segment, vectors = made(5, 4_000, form)
    folder = tmp_path / segment.name
    folder.mkdir()
    segment.write(folder)
    again = read_segment(folder)
    assert (again.name, again.keys.tolist()) == (segment.name, segment.keys.tolist())
    for ours, theirs in zip(segment.index.search(vectors[7], 9), again.index.search(vectors[7], 9), strict=True):
        assert ours.tolist() == theirs.tolist()
    np.testing.assert_array_equal(again.index.vectors(again.keys[:9]), segment.index.vectors(again.keys[:9]))
