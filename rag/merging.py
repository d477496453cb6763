"""Make the next generation out of one and what changed, and say when small pieces are joined into larger ones.

A change becomes a new part behind the others, and what it replaces dies where it is. Parts grow in size from the last
to the first, each some times larger than the one behind, so there are never many, and a chunk is copied only a few
times before it reaches the first part. That one, the *base*, is made anew when what is not in it, or dead in it, has
become a fifth of it. Pure functions; knows nothing of disks.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from rag.dense import DenseIndex, Keys, Vectors
from rag.generation import Generation
from rag.manifest import Manifest
from rag.part import LivePart, Part, join_parts
from rag.segments import contains, join_segments, make_segment

# The base is made anew once so many chunks are outside of it or dead in it: enough that it pays, and at least a share
# of the base, so that large collections are not rewritten for every branch that is checked out.
MAX_TAIL_CHUNKS: Final = 2_000
TAIL_SHARE: Final = 5

# A piece is joined with the one behind it unless it is more than so many times larger. Higher: fewer pieces for a query
# to look at, and more copying for each commit.
_GROWTH: Final = 4


def next_generation(previous: Generation, manifest: Manifest, gone: set[str], added: Part | None) -> Generation:
    """Return `previous` without the files at the paths `gone`, which include the changed ones, and with `added`.

    Vectors of `previous` stay when they are of the model that `manifest` names.
    """
    parts = [live.without(gone) for live in previous.parts]
    if added is not None and added.files:
        parts.append(LivePart(added))
    parts = _joined(parts, manifest)
    if previous.manifest.embedding_model != manifest.embedding_model:
        return Generation(manifest, tuple(parts))
    return _tidy(Generation(manifest, tuple(parts), previous.segments, previous.shared))


def with_vectors(generation: Generation, keys: Keys, vectors: Vectors) -> Generation:
    """Return `generation` with dense vectors under `keys`; of dead keys and of those that have one, none is taken."""
    living = np.sort(generation.keys)
    wanted = contains(living, keys)
    if generation.dense is not None:
        wanted &= ~generation.dense.holds(keys)
    if not wanted.any():
        return generation
    if generation.shared is not None:
        return replace(generation, shared=generation.shared.with_vectors(keys[wanted], vectors[wanted]))
    nothing: Keys = np.zeros(0, dtype=np.int64)
    index = DenseIndex.empty(vectors.shape[1]).updated(nothing, keys[wanted], vectors[wanted])
    segments = [*generation.segments, make_segment(keys[wanted], index)]
    start = _join_from([len(segment.keys) for segment in segments])
    joined = join_segments(segments[start:], living)
    return replace(generation, segments=(*segments[:start], *([joined] if joined else [])))


def _joined(parts: list[LivePart], manifest: Manifest) -> list[LivePart]:
    """Join the last parts where they are of a size, and all of them when the base is worth making anew."""
    parts = [live for live in parts if live.files]
    if not parts:
        return []
    base, *tail = parts
    outside = sum(len(live.rows) for live in tail)
    dead = sum(live.part.n_rows - len(live.rows) for live in parts)
    if max(outside, dead) > max(MAX_TAIL_CHUNKS, base.part.n_rows // TAIL_SHARE):
        return [LivePart(join_parts(parts, manifest.by_path))]
    start = _join_from([len(live.rows) + len(live.files) for live in tail])
    if len(tail) - start > 1:
        tail[start:] = [LivePart(join_parts(tail[start:], manifest.by_path))]
    return [base, *tail]


def _join_from(sizes: Sequence[int]) -> int:
    """Return where the pieces begin that are joined with the last one; the last one itself when none is."""
    start = max(0, len(sizes) - 1)
    together = sum(sizes[start:])
    while start and sizes[start - 1] <= _GROWTH * together:
        start -= 1
        together += sizes[start]
    return start


def _tidy(generation: Generation) -> Generation:
    """Make the vectors anew once too many of them are of dead chunks."""
    if generation.shared is not None:
        return replace(generation, shared=generation.shared.kept(np.sort(generation.keys)))
    n_vectors = sum(len(segment.keys) for segment in generation.segments)
    n_living = len(generation.dense) if generation.dense is not None else 0
    if n_vectors - n_living <= max(MAX_TAIL_CHUNKS, n_vectors // TAIL_SHARE) and (n_living or not n_vectors):
        return generation
    joined = join_segments(generation.segments, np.sort(generation.keys))
    return replace(generation, segments=(joined,) if joined else ())
