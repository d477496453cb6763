"""Answer one query from one generation: filter, rank by words and by meaning, fuse, boost, and stop at the limits.

Filters are applied before ranking, so a filtered query still gets its full number of hits. Modes `exact` and `regex`
match texts instead of ranking them. Knows nothing of disks; `index` gives it a generation that will not change.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from rag.embedding import Embedder
from rag.errors import InvalidRequestError
from rag.fusion import Ranking, Signals, fuse, top_ranking
from rag.generation import Generation
from rag.languages import LANGUAGES, canonical_language
from rag.matching import Match, compile_exact, compile_regex, match_chunks
from rag.passages import Limits, fill
from rag.query import Query
from rag.ranking import Candidate, rank
from rag.segments import DenseVectors
from rag.settings import RagSettings
from rag.static_vectors import StaticEmbedder
from rag.types import Chunk, Hit, RetrieveRequest, RetrieveResult

Floats: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
Embedders: TypeAlias = tuple[Embedder | None, StaticEmbedder | None]

# A query is a question or an issue's text; a longer one is a mistake and would only cost time.
MAX_QUERY_CHARS: Final = 100_000

MODES: Final = get_args(RetrieveRequest.__dataclass_fields__["mode"].type)
KINDS: Final = ("function", "method", "class", "section", "window")

# How many rows each ranking hands to the fusion: enough that a row good in both is in both.
_MIN_CANDIDATES: Final = 100
_CANDIDATES_PER_RESULT: Final = 5


def check_request(request: RetrieveRequest, settings: RagSettings) -> None:
    """Refuse a request that cannot be answered, naming the field. Raises InvalidRequestError."""
    if not request.query.strip():
        raise InvalidRequestError("the query is empty; say what to look for", param="query")
    if len(request.query) > MAX_QUERY_CHARS:
        raise InvalidRequestError(
            f"the query has {len(request.query)} characters and the limit is {MAX_QUERY_CHARS}; shorten it",
            param="query",
        )
    if not 1 <= request.max_results <= settings.max_results:
        raise InvalidRequestError(
            f"max_results is {request.max_results}; give 1 to {settings.max_results}", param="max_results"
        )
    if request.max_tokens < 1:
        raise InvalidRequestError(f"max_tokens is {request.max_tokens}; give at least 1", param="max_tokens")
    for param, value, known in (("mode", request.mode, MODES), ("kind", request.kind, (None, *KINDS))):
        if value not in known:
            names = ", ".join(str(name) for name in known if name)
            raise InvalidRequestError(f"{param} is {str(value)[:200]!r}; give one of {names}", param=param)
    if request.language is not None and canonical_language(request.language) not in LANGUAGES:
        names = ", ".join(sorted(LANGUAGES))
        raise InvalidRequestError(f"language is {request.language[:200]!r}; give one of {names}", param="language")


def search(
    generation: Generation,
    request: RetrieveRequest,
    embedder: Embedder | None,
    dense_weight: float,
    static_embedder: StaticEmbedder | None = None,
) -> RetrieveResult:
    """Answer a checked request.

    Without `embedder`, or where no vectors of its model are stored, meaning is judged by `static_embedder`; without
    that too, words alone rank.

    Raises:
        InvalidRequestError: `path_glob` or, in mode `regex`, the query is no pattern.
        EmbeddingUnavailableError: the query cannot be embedded.
    """
    mask = _mask(generation, request)
    limits = Limits(request.max_results, request.max_tokens)
    neighbours = _file_chunks(generation) if request.include_neighbours else None
    if request.mode == "hybrid":
        candidates = _rank(generation, request, mask, (embedder, static_embedder), dense_weight)
        hits, truncated = fill((_hit(candidate) for candidate in candidates), limits, neighbours)
    else:
        find = (compile_exact if request.mode == "exact" else compile_regex)(request.query)
        chunks = (generation.chunks[row] for row in _rows_by_file(generation, mask))
        matches = match_chunks(chunks, find, request.max_results)
        hits, cut = fill((_matching_hit(match) for match in matches.found), limits, neighbours)
        truncated = cut or matches.truncated
    return RetrieveResult(request.collection, request.query, hits, truncated)


def _rank(
    generation: Generation,
    request: RetrieveRequest,
    mask: Mask | None,
    embedders: Embedders,
    dense_weight: float,
) -> list[Candidate]:
    query = Query(request.query.encode("utf-8", "replace").decode())
    limit = max(_MIN_CANDIDATES, _CANDIDATES_PER_RESULT * request.max_results)
    signals = _signals(generation, query.text, mask, embedders, limit)
    fused = fuse(signals, dense_weight, limit)
    return rank([Candidate(found, generation.chunks[found.row]) for found in fused], query)


def _signals(generation: Generation, text: str, mask: Mask | None, embedders: Embedders, limit: int) -> Signals:
    embedder, static_embedder = embedders
    scores = generation.sparse.scores(text)
    sparse = top_ranking(scores if mask is None else np.where(mask, scores, np.float32(0)), limit)
    dense = static = None
    if embedder is not None and generation.dense is not None and generation.manifest.embedding_model == embedder.name:
        dense = _rank_dense(generation, generation.dense, embedder.embed([text])[0], mask, limit)
    if (
        static_embedder is not None
        and generation.static is not None
        and (dense is None or not generation.has_dense.all())
    ):
        static = generation.static.scores(static_embedder.embed([text])[0])
    return Signals(sparse, dense, static, generation.has_dense, mask, scores)


def _rank_dense(generation: Generation, dense: DenseVectors, vector: Floats, mask: Mask | None, limit: int) -> Ranking:
    among = None if mask is None or mask.all() else generation.keys[mask]
    keys, scores = dense.search(vector, limit, among)
    return Ranking(generation.rows_of(keys), scores)


def _hit(candidate: Candidate) -> Hit:
    chunk, found = candidate.chunk, candidate.found
    return Hit(
        path=chunk.path,
        language=chunk.language,
        kind=chunk.kind,
        symbol=chunk.symbol,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        text=chunk.text,
        score=candidate.score,
        dense_rank=found.dense_rank,
        sparse_rank=found.sparse_rank,
        static_rank=found.static_rank,
    )


def _matching_hit(match: Match) -> Hit:
    """A match has no score: all are 1, and none has a rank."""
    chunk = match.chunk
    return Hit(
        path=chunk.path,
        language=chunk.language,
        kind=chunk.kind,
        symbol=chunk.symbol,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        text=chunk.text,
        score=1.0,
        dense_rank=None,
        sparse_rank=None,
        matched_lines=match.lines,
    )


def _rows_by_file(generation: Generation, mask: Mask | None) -> list[int]:
    """Rows that pass the filters, by path and then as they stand, which within a file is the order of its lines."""
    paths = list(generation.path_numbers)
    place = np.empty(len(paths), dtype=np.int64)
    place[sorted(range(len(paths)), key=paths.__getitem__)] = np.arange(len(paths))
    rows = np.arange(len(generation.path_of_row)) if mask is None else np.flatnonzero(mask)
    ordered: list[int] = rows[np.argsort(place[generation.path_of_row[rows]], kind="stable")].tolist()
    return ordered


def _file_chunks(generation: Generation) -> Callable[[str], Sequence[Chunk]]:
    """Look up the chunks of one file, by their lines."""

    def chunks_of(path: str) -> list[Chunk]:
        rows = np.flatnonzero(generation.path_of_row == generation.path_numbers[path]).tolist()
        return sorted((generation.chunks[row] for row in rows), key=lambda chunk: (chunk.start_line, chunk.end_line))

    return chunks_of


def _mask(generation: Generation, request: RetrieveRequest) -> Mask | None:
    """Mark the rows that pass the filters, (n,); None when there are no filters."""
    if request.path_glob is None and request.language is None and request.kind is None:
        return None
    passes = np.ones(len(generation.path_numbers), dtype=bool)
    if request.language is not None:
        language = canonical_language(request.language)
        passes &= np.asarray([other == language for other in generation.language_of_path], dtype=bool)
    if request.path_glob is not None:
        passes &= _matches(list(generation.path_numbers), request.path_glob)
    mask: Mask = passes[generation.path_of_row]
    if request.kind is not None:
        mask &= np.asarray([chunk.kind == request.kind for chunk in generation.chunks], dtype=bool)
    return mask


def _matches(paths: list[str], glob: str) -> Mask:
    """Tell which paths `glob` matches, read as a line of `.gitignore`: `*.py` anywhere, `src/` all below it."""
    from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415 - loaded on first use: 0.02 s
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - as above

    try:
        pattern = GitIgnoreSpecPattern(glob)
    except GitIgnorePatternError:
        pattern = None
    if pattern is None or not pattern.include:  # no pattern, a blank, a comment or a negation
        raise InvalidRequestError(
            f"path_glob {glob[:200]!r} is not a pattern; write one like 'src/**/*.py', or leave it out",
            param="path_glob",
        )
    return np.asarray([pattern.match_file(path) is not None for path in paths], dtype=bool)
