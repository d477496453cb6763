"""Dense vectors in immutable segments, found by chunk key, and searched as one.

A commit writes only the vectors that are new, as a segment of its own; small ones are joined in time. A key without a
living chunk stays in its segment until the next joining and is never found: neither by a search, nor by `holds`.
Knows nothing of chunks beyond their keys; what is inside a segment is `dense`'s business.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.dense import DenseIndex, Keys, Vectors

Mask: TypeAlias = NDArray[np.bool_]

PREFIX: Final = "vectors-"

_INDEX: Final = "dense.faiss"
_KEYS: Final = "keys.npy"


class DenseVectors(Protocol):
    """The dense vectors of the living chunks of one generation, wherever they are; immutable."""

    def __len__(self) -> int: ...

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""

    def holds(self, keys: Keys) -> Mask:
        """Tell which of some living keys have a vector, (n,)."""

    def search(self, query: Vectors, limit: int, among: Keys | None = None) -> tuple[Keys, Vectors]:
        """Return up to `limit` keys nearest to `query` (d,), best first, and their cosines; only `among` when given."""


class SharedVectors(DenseVectors, Protocol):
    """Dense vectors that generations of many collections share, in a database, in the place of segments."""

    def kept(self, living: Keys) -> Self:
        """Return them without those whose key is not in `living`, ascending."""

    def with_vectors(self, keys: Keys, vectors: Vectors) -> Self:
        """Return them and others (n, d), which the next commit takes to the database; none of `keys` has one yet."""


@dataclass(frozen=True)
class Segment:
    """Vectors that were committed together."""

    name: str
    keys: Keys  # ascending
    index: DenseIndex

    def write(self, folder: Path) -> None:
        """Write into an empty folder; making that durable is the caller's part."""
        self.index.write(folder / _INDEX)
        np.save(folder / _KEYS, self.keys)


def make_segment(keys: Keys, index: DenseIndex) -> Segment:
    """Name a new segment; `keys` are those of the index, in any order."""
    return Segment(f"{PREFIX}{uuid.uuid4().hex}", np.sort(keys), index)


def read_segment(folder: Path) -> Segment:
    """Read what `Segment.write` wrote. Raises OSError, ValueError, EOFError or RuntimeError when that is not there."""
    if not folder.is_dir():
        raise FileNotFoundError(folder)
    with (folder / _KEYS).open("rb") as file:
        keys: Keys = np.load(file, allow_pickle=False)
    try:
        segment = Segment(folder.name, keys, DenseIndex.read(folder / _INDEX))
    except RuntimeError as error:
        if not (folder / _INDEX).exists():  # removed after the keys were opened
            raise FileNotFoundError(folder) from error
        raise
    if len(segment.index) != len(keys):
        raise ValueError("the vectors and their keys differ in number")
    return segment


def contains(ascending: Keys, keys: Keys) -> Mask:
    """Tell which of `keys` are among `ascending`, (n,)."""
    if not len(ascending):
        return np.zeros(len(keys), dtype=bool)
    places = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    found: Mask = ascending[places] == keys
    return found


def join_segments(segments: Sequence[Segment], living: Keys) -> Segment | None:
    """Put the vectors whose keys are in `living` (ascending) into one segment; None when there are none."""
    if not segments:
        return None
    largest = max(segments, key=lambda segment: len(segment.keys))
    added = [s.keys[contains(living, s.keys)] for s in segments if s is not largest]
    vectors = [s.index.vectors(keys) for s, keys in zip((s for s in segments if s is not largest), added, strict=True)]
    stays = contains(living, largest.keys)
    keys = np.concatenate([largest.keys[stays], *added])
    if not len(keys):
        return None
    new_vectors = np.concatenate([np.zeros((0, largest.index.dimensions), dtype=np.float32), *vectors])
    index = largest.index.updated(largest.keys[~stays], keys[int(stays.sum()) :], new_vectors)
    return make_segment(keys, index)


class JoinedDense:
    """The living vectors of several segments as one index; immutable, so any number of threads may search it."""

    def __init__(self, segments: Sequence[Segment], living: Keys) -> None:
        """Join segments, at least one; `living` are the keys that may be found, ascending."""
        self._segments = segments
        self._living = living

    def __len__(self) -> int:
        return self._n_living

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""
        return self._segments[0].index.dimensions

    def holds(self, keys: Keys) -> Mask:
        """Tell which of some living keys have a vector, (n,)."""
        found = np.zeros(len(keys), dtype=bool)
        for segment in self._segments:
            found |= contains(segment.keys, keys)
        return found

    def search(self, query: Vectors, limit: int, among: Keys | None = None) -> tuple[Keys, Vectors]:
        """Return up to `limit` keys nearest to `query` (d,), best first, and their cosines; only `among` when given."""
        found = [self._search(segment, query, limit, among) for segment in self._segments]
        if len(found) == 1:
            return found[0]
        keys = np.concatenate([keys for keys, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        best = np.argsort(-scores, kind="stable")[:limit]
        return keys[best], scores[best]

    def _search(self, segment: Segment, query: Vectors, limit: int, among: Keys | None) -> tuple[Keys, Vectors]:
        if among is not None:
            return segment.index.search(query, limit, among[contains(segment.keys, among)])
        # The dead are a small share: ask for a few more than wanted, and for more still if they were all in front.
        asked = limit
        while True:
            keys, scores = segment.index.search(query, asked)
            lives = contains(self._living, keys)
            if int(lives.sum()) >= limit or len(keys) < asked:
                return keys[lives][:limit], scores[lives][:limit]
            asked = min(2 * asked, len(segment.keys) + 1)

    @cached_property
    def _n_living(self) -> int:
        return sum(int(contains(self._living, segment.keys).sum()) for segment in self._segments)
