"""Dense vectors of chunks and their nearest neighbours by inner product. The only importer of faiss.

The number of vectors decides the form: float32 and exact; then a byte a number, a quarter of the memory and a recall of
.99; then the same bytes in clusters of which a query visits a few. Keys are 60-bit numbers taken from chunk ids,
`chunk_key`, the same in every form. Knows nothing of text. faiss is loaded on first use, because it costs 0.15 s that a
server's start must not pay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
Keys: TypeAlias = NDArray[np.int64]

# faiss keys are signed 64-bit. Among a million chunks, two share 60 bits once in two million indexes.
_KEY_DIGITS: Final = 15

# Clusters that a query visits. Sixteen would find .970 of the true ten at a million vectors, these .987, in 6 ms.
_CLUSTERS_VISITED: Final = 64

# Vectors a cluster is trained on: fewer make poor clusters, and faiss says so; more take longer and change little.
_TRAINED_ON: Final = 64

# Clusters are as many as the root of the vectors, times this: a query then compares centres and members about equally.
_CLUSTERS_PER_ROOT: Final = 2

# A filter that lets through one vector in so many is applied after the search, which then asks for twice as many more:
# faiss would first put all allowed keys into a table, 30 ms for a hundred thousand.
_WIDE_FILTER: Final = 4

# An index this much larger than the one that was trained gets new clusters.
_GROWTH_UNTIL_RETRAINED: Final = 4


@dataclass(frozen=True)
class Sizes:
    """From how many vectors on a number is a byte, and from how many on vectors are in clusters."""

    bytes_from: int = 15_000  # below, exact search takes some 1 ms and 22 MB; of 20,000 it takes 3 ms, of bytes 1.6
    clusters_from: int = 200_000  # below, comparing all takes some 35 ms


_SIZES: Final = Sizes()


def chunk_key(chunk_id: str) -> int:
    """Turn a chunk id (hexadecimal) into the key of its vector."""
    return int(chunk_id[:_KEY_DIGITS], 16)


def keys_of(chunk_ids: Sequence[str]) -> Keys:
    """Turn chunk ids into keys, in order."""
    return np.asarray([chunk_key(chunk_id) for chunk_id in chunk_ids], dtype=np.int64)


class DenseIndex:
    """Vectors by key. Immutable once made, so any number of threads may search it."""

    def __init__(self, index: Any, sizes: Sizes = _SIZES) -> None:
        self._index = index
        self._sizes = sizes

    @classmethod
    def empty(cls, dimensions: int, sizes: Sizes = _SIZES) -> "DenseIndex":
        """Make an index without vectors, for vectors of `dimensions` numbers."""
        faiss = _faiss()
        return cls(faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions)), sizes)

    @classmethod
    def read(cls, path: Path, sizes: Sizes = _SIZES) -> "DenseIndex":
        """Read an index that `write` wrote. Raises RuntimeError when the file is not one."""
        return cls(_faiss().read_index(str(path)), sizes)

    def write(self, path: Path) -> None:
        """Write the index to `path`; making that durable is the caller's part."""
        _faiss().write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return int(self._index.d)

    @property
    def form(self) -> str:
        """How vectors are held: `floats`, `bytes` or `clusters`."""
        return _form_of(self._index)

    def updated(self, gone: Keys, added: Keys, vectors: Vectors) -> "DenseIndex":
        """Copy the index without the keys `gone` and with `vectors` (n, d), rows L2-normalised, under `added`.

        Costs the copying of all; now and then, when the number of vectors asks for another form, making them anew:
        seconds for a million.
        """
        copy = _faiss().clone_index(self._index)
        if len(gone):
            copy.remove_ids(gone)
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        form = self._form_for(copy, copy.ntotal + len(added))
        if form is None:
            if len(added):
                copy.add_with_ids(rows, added)
            return DenseIndex(copy, self._sizes)
        keys, kept = _contents(copy)
        if len(added):
            keys, kept = np.concatenate([keys, added]), np.concatenate([kept, rows])
        return DenseIndex(_made(form, keys, kept), self._sizes)

    def vectors(self, keys: Keys) -> Vectors:
        """Return the vectors under `keys`, each of which is there, in order, (n, d), as exactly as they are held."""
        if not len(keys):
            return np.zeros((0, self.dimensions), dtype=np.float32)
        if self.form == "clusters":  # which know no way from a key to its place
            held, rows = _contents(self._index)
            order = np.argsort(held)
            return rows[order[np.searchsorted(held, keys, sorter=order)]]
        found: Vectors = self._index.reconstruct_batch(keys)
        return found

    def search(self, query: Vectors, limit: int, among: Keys | None = None) -> tuple[Keys, Vectors]:
        """Return up to `limit` keys nearest to `query` (d,), best first, and their cosines; only `among` when given."""
        limit = min(limit, len(self) if among is None else len(among))
        if limit <= 0 or not len(self):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        # OpenMP's second thread spins while it waits: with both cores busy it made this search ten times slower
        # (44 ms against 4.6 ms over 20,000 vectors). The setting belongs to the calling thread.
        _faiss().omp_set_num_threads(1)
        if among is not None and len(among) * _WIDE_FILTER >= len(self):
            keys, scores = self._nearest(query, min(len(self), 2 * _WIDE_FILTER * limit), None)
            allowed = np.isin(keys, among)
            if np.count_nonzero(allowed) >= limit:
                return keys[allowed][:limit], scores[allowed][:limit]
        return self._nearest(query, limit, among)

    def _nearest(self, query: Vectors, limit: int, among: Keys | None) -> tuple[Keys, Vectors]:
        scores, keys = self._index.search(query.reshape(1, -1), limit, params=self._parameters(among))
        found = keys[0] >= 0  # faiss pads with -1 when fewer match
        return keys[0][found], scores[0][found]

    def _parameters(self, among: Keys | None) -> Any:
        faiss = _faiss()
        selector = {} if among is None else {"sel": faiss.IDSelectorBatch(among)}
        if self.form != "clusters":
            return faiss.SearchParameters(**selector) if selector else None
        # The fewer may be found, the more clusters are visited, so that a filter loses nothing; those left out of a
        # visited cluster cost next to nothing.
        share = 1.0 if among is None else max(len(among), 1) / len(self)
        visited = min(self._index.nlist, int(_CLUSTERS_VISITED / share))
        return faiss.SearchParametersIVF(nprobe=visited, **selector)

    def _form_for(self, index: Any, n_vectors: int) -> str | None:
        """Choose another form for `n_vectors`; None to leave it. Shrinking changes it at half the size only."""
        form = _form_of(index)
        if n_vectors >= self._sizes.clusters_from:
            outgrown = form == "clusters" and index.nlist * _GROWTH_UNTIL_RETRAINED < _n_clusters(n_vectors)
            return "clusters" if form != "clusters" or outgrown else None
        if n_vectors >= self._sizes.bytes_from:
            keeps = form == "bytes" or (form == "clusters" and n_vectors > self._sizes.clusters_from // 2)
            return None if keeps else "bytes"
        keeps = form == "floats" or (n_vectors > self._sizes.bytes_from // 2 and form == "bytes")
        return None if keeps else "floats"


def _form_of(index: Any) -> str:
    faiss = _faiss()
    if isinstance(index, faiss.IndexIVF):
        return "clusters"
    return "floats" if isinstance(faiss.downcast_index(index.index), faiss.IndexFlat) else "bytes"


def _n_clusters(n_vectors: int) -> int:
    return max(1, int(_CLUSTERS_PER_ROOT * n_vectors**0.5))


def _made(form: str, keys: Keys, vectors: Vectors) -> Any:
    """Make an index of one form from all its vectors."""
    faiss = _faiss()
    dimensions = vectors.shape[1]
    if form == "clusters":
        n_clusters = _n_clusters(len(vectors))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dimensions),
            dimensions,
            n_clusters,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            False,  # noqa: FBT003 - by_residual, which faiss takes by position: a vector is read without its centre
        )
        # Like the centres of vectors of length one, those of clusters are compared by direction.
        index.cp.spherical = True
        index.train(_sample(vectors, _TRAINED_ON * n_clusters))
    elif form == "bytes":
        index = faiss.IndexIDMap2(
            faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        )
        index.train(vectors)
    else:
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))
    if len(keys):
        index.add_with_ids(vectors, keys)
    return index


def _sample(vectors: Vectors, n_wanted: int) -> Vectors:
    """Take vectors spread over all, the same ones every time."""
    if len(vectors) <= n_wanted:
        return vectors
    rows = np.random.default_rng(0).choice(len(vectors), n_wanted, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])


def _contents(index: Any) -> tuple[Keys, Vectors]:
    """Read all keys and vectors back, (n,) and (n, d), as exactly as their form held them."""
    faiss = _faiss()
    if _form_of(index) != "clusters":
        keys = faiss.vector_to_array(index.id_map).astype(np.int64)
        inner = faiss.downcast_index(index.index)
        return keys, inner.reconstruct_n(0, len(keys)) if len(keys) else np.zeros((0, index.d), dtype=np.float32)
    lists = index.invlists
    keys_found, rows = [np.zeros(0, dtype=np.int64)], [np.zeros((0, index.d), dtype=np.float32)]
    for number in range(index.nlist):
        size = lists.list_size(number)
        if size:
            keys_found.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
            codes = faiss.rev_swig_ptr(lists.get_codes(number), size * index.code_size)
            rows.append(index.sq.decode(codes.reshape(size, index.code_size).copy()))
    return np.concatenate(keys_found), np.concatenate(rows)


def _faiss() -> ModuleType:
    import faiss  # noqa: PLC0415 - loaded on first use: 0.15 s

    module: ModuleType = faiss
    return module
