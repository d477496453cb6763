"""Dense vectors: every form finds what exact search finds, keeps its keys, forgets what is removed, and filters."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.dense import DenseIndex, Sizes, chunk_key

Vectors = NDArray[np.float32]

SIZES = Sizes(bytes_from=500, clusters_from=2_000)
FORMS = {"floats": 400, "bytes": 1_500, "clusters": 3_000}
NO_KEYS = np.zeros(0, dtype=np.int64)


def made(n_vectors: int, seed: int = 0) -> tuple[DenseIndex, NDArray[np.int64], Vectors]:
    """Index vectors that lie about a few dozen directions, as texts do, under keys far apart."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(40, 64))
    vectors = unit(centres[random.integers(40, size=n_vectors)] + random.normal(size=(n_vectors, 64)))
    keys = np.sort(random.choice(1 << 59, n_vectors, replace=False)).astype(np.int64)
    return DenseIndex.empty(64, SIZES).updated(NO_KEYS, keys, vectors), keys, vectors


def unit(vectors: NDArray[np.float64]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def recall(
    index: DenseIndex, keys: NDArray[np.int64], vectors: Vectors, among: NDArray[np.int64] | None = None
) -> float:
    """Share of the true ten nearest that the index finds, over queries near some of the vectors."""
    random = np.random.default_rng(1)
    allowed = np.ones(len(keys), dtype=bool) if among is None else np.isin(keys, among)
    queries = unit(vectors[::29] + 0.1 * random.normal(size=vectors[::29].shape))
    hits = n_true = 0
    for query in queries:
        true = keys[allowed][np.argsort(-(vectors[allowed] @ query))[:10]]
        n_true += len(true)
        hits += len(np.intersect1d(true, index.search(query, 10, among)[0]))
    return hits / n_true


@pytest.fixture(params=FORMS, scope="module")
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_number_of_vectors_decides_the_form(form: str) -> None:
    assert made(FORMS[form])[0].form == form


def test_every_form_finds_what_exact_search_finds(form: str) -> None:
    index, keys, vectors = made(FORMS[form])
    assert recall(index, keys, vectors) >= (1 if form == "floats" else 0.95)


@pytest.mark.parametrize("one_in", [2, 50, 300])
def test_a_filter_loses_nothing_in_any_form(form: str, one_in: int) -> None:
    index, keys, vectors = made(FORMS[form])
    among = keys[::one_in]
    assert recall(index, keys, vectors, among) >= (1 if form == "floats" else 0.95)
    found, _ = index.search(vectors[1], 10_000, among)
    assert set(found) <= set(among)


def test_a_vector_finds_itself_under_its_key_with_its_cosine(form: str) -> None:
    index, keys, vectors = made(FORMS[form])
    for row in (0, 57, len(keys) - 1):
        found, scores = index.search(vectors[row], 1)
        assert found[0] == keys[row]
        assert scores[0] == pytest.approx(1, abs=0.02)


def test_what_is_removed_is_never_found_and_the_rest_keeps_its_keys(form: str) -> None:
    index, keys, vectors = made(FORMS[form])
    gone = keys[::7]
    left = index.updated(gone, NO_KEYS, np.zeros((0, 64), dtype=np.float32))
    assert len(left) == len(keys) - len(gone)
    for row in (0, 7, 70):
        assert keys[row] not in left.search(vectors[row], 50)[0]
    for row in (1, 8, 71):
        assert left.search(vectors[row], 1)[0][0] == keys[row]
    assert index.search(vectors[0], 1)[0][0] == keys[0], "an index that was updated is itself unchanged"


def test_a_key_removed_and_added_in_one_update_has_the_new_vector(form: str) -> None:
    index, keys, vectors = made(FORMS[form])
    again = index.updated(keys[:1], keys[:1], -vectors[:1])
    assert len(again) == len(keys)
    assert again.search(-vectors[0], 1)[0][0] == keys[0]


def test_an_index_that_grows_and_shrinks_through_all_forms_answers_as_one_made_at_once() -> None:
    _, keys, vectors = made(3_000)
    index, forms = DenseIndex.empty(64, SIZES), []
    for start in range(0, 3_000, 250):
        index = index.updated(NO_KEYS, keys[start : start + 250], vectors[start : start + 250])
        forms.append(index.form)
    assert list(dict.fromkeys(forms)) == ["floats", "bytes", "clusters"]
    assert recall(index, keys, vectors) >= 0.95
    for keep in (2_500, 1_100, 900, 300, 100):
        index = index.updated(keys[keep:], NO_KEYS, np.zeros((0, 64), dtype=np.float32))
        assert len(index) == keep
        forms.append(index.form)
        assert recall(index, keys[:keep], vectors[:keep]) >= 0.95
    assert forms[-5:] == ["clusters", "clusters", "bytes", "bytes", "floats"]


def test_every_form_comes_back_from_its_file(form: str, tmp_path: Path) -> None:
    index, keys, vectors = made(FORMS[form])
    index.write(tmp_path / "dense.faiss")
    read = DenseIndex.read(tmp_path / "dense.faiss", SIZES)
    assert (read.form, len(read), read.dimensions) == (form, len(keys), 64)
    for row in (0, 57):
        np.testing.assert_array_equal(read.search(vectors[row], 20)[0], index.search(vectors[row], 20)[0])
    assert recall(read.updated(keys[:5], NO_KEYS, vectors[:0]), keys[5:], vectors[5:]) >= 0.95


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dense.faiss").write_bytes(b"not an index")
    with pytest.raises(RuntimeError):
        DenseIndex.read(tmp_path / "dense.faiss")


def test_an_empty_index_finds_nothing(form: str) -> None:
    index, keys, _ = made(FORMS[form])
    empty = index.updated(keys, NO_KEYS, np.zeros((0, 64), dtype=np.float32))
    assert len(empty) == 0
    assert len(empty.search(np.ones(64, dtype=np.float32), 10)[0]) == 0
    assert len(index.search(np.ones(64, dtype=np.float32), 10, NO_KEYS)[0]) == 0


def test_keys_are_the_first_sixty_bits_of_ids() -> None:
    assert chunk_key("f" * 20) == (1 << 60) - 1
