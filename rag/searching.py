"""Answer one query from one generation: filter, rank twice, fuse, and stop at the caller's limits.

Filters are applied before ranking, so a filtered query still gets its full number of hits. Knows nothing of disks;
`index` gives it a generation that will not change under it.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.embedding import Embedder
from rag.errors import InvalidRequestError
from rag.fusion import Fused, Ranking, fuse, top_ranking
from rag.generation import Generation
from rag.languages import canonical_language
from rag.segments import JoinedDense
from rag.settings import RagSettings
from rag.types import Chunk, Hit, RetrieveRequest, RetrieveResult

Mask: TypeAlias = NDArray[np.bool_]

# The unit of `max_tokens`: English and code are both near four characters a token.
CHARS_PER_TOKEN: Final = 4

# A query is a question or an issue's text; a longer one is a mistake and would only cost time.
MAX_QUERY_CHARS: Final = 100_000

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


def search(
    generation: Generation, request: RetrieveRequest, embedder: Embedder | None, dense_weight: float
) -> RetrieveResult:
    """Answer a checked request. Without `embedder`, or where no vectors of its model are stored, by words alone.

    Raises:
        InvalidRequestError: `path_glob` is no pattern.
        EmbeddingUnavailableError: the query cannot be embedded.
    """
    query = request.query.encode("utf-8", "replace").decode()
    mask = _mask(generation, request)
    limit = max(_MIN_CANDIDATES, _CANDIDATES_PER_RESULT * request.max_results)
    scores = generation.sparse.scores(query)
    sparse = top_ranking(scores if mask is None else np.where(mask, scores, np.float32(0)), limit)
    dense = None
    if embedder is not None and generation.dense is not None and generation.manifest.embedding_model == embedder.name:
        dense = _rank_dense(generation, generation.dense, embedder.embed([query])[0], mask, limit)
    fused = fuse(dense, sparse, dense_weight)
    hits = _within_limits(generation, fused, request)
    return RetrieveResult(request.collection, request.query, tuple(hits), truncated=len(hits) < len(fused))


def _rank_dense(
    generation: Generation, dense: JoinedDense, vector: NDArray[np.float32], mask: Mask | None, limit: int
) -> Ranking:
    among = None if mask is None or mask.all() else generation.keys[mask]
    keys, scores = dense.search(vector, limit, among)
    rows = [generation.row_of_key[key] for key in keys.tolist()]
    return Ranking(np.asarray(rows, dtype=np.int64), scores)


def _within_limits(generation: Generation, fused: list[Fused], request: RetrieveRequest) -> list[Hit]:
    hits: list[Hit] = []
    left = request.max_tokens * CHARS_PER_TOKEN
    for found in fused[: request.max_results]:
        chunk = generation.chunks[found.row]
        left -= len(chunk.text)
        if left < 0:
            break
        hits.append(_hit(chunk, found))
    return hits


def _hit(chunk: Chunk, found: Fused) -> Hit:
    return Hit(
        path=chunk.path,
        language=chunk.language,
        kind=chunk.kind,
        symbol=chunk.symbol,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        text=chunk.text,
        score=found.score,
        dense_rank=found.dense_rank,
        sparse_rank=found.sparse_rank,
    )


def _mask(generation: Generation, request: RetrieveRequest) -> Mask | None:
    """Mark the rows that pass the filters, (n,); None when there are no filters."""
    if request.path_glob is None and request.language is None:
        return None
    passes = np.ones(len(generation.path_numbers), dtype=bool)
    if request.language is not None:
        language = canonical_language(request.language)
        passes &= np.asarray([other == language for other in generation.language_of_path], dtype=bool)
    if request.path_glob is not None:
        passes &= _matches(list(generation.path_numbers), request.path_glob)
    mask: Mask = passes[generation.path_of_row]
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
