"""Order fused candidates as a programmer would: what is named first, product code before tests, one file not too often.

Three steps after `fusion`: boosts (a chunk whose symbol or path the query names, a file with several good chunks),
penalties (tests, examples, vendored and generated code), and file saturation, by a strength that depends on the kind of
query. Pure functions over chunks; knows nothing of vectors, words' statistics or token budgets.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from rag.fusion import Fused
from rag.query import Query, QueryKind
from rag.sparse import split_words
from rag.types import Chunk

# Boosts are shares of the best fused score. Measured: see each.
NAME_BOOST: Final = 1.0  # the query is this symbol
NAMED_BOOST: Final = 0.5  # the query names this symbol among other words
SYMBOL_BOOST: Final = 0.2  # all words of the symbol's last part are in the query
PATH_BOOST: Final = 0.4  # all words of the query are in the file's name and folder
FILE_BOOST: Final = 0.2  # this is the best chunk of the file with the most good chunks
MENTIONED_BOOST: Final = 0.3  # the query names this file
FRAME_BOOST: Final = 0.3  # a stack trace passes through this chunk

TEST_PENALTY: Final = 0.3
SIDE_PENALTY: Final = 0.5

SATURATION: Final[dict[QueryKind, float]] = {"name": 0.8, "description": 0.8, "question": 0.5, "report": 0.5}

# A word stands for another when one begins with the other and the shorter has this many letters.
_PREFIX_CHARS: Final = 4

_TEST_PATH: Final = re.compile(
    r"(?:^|/)(?:tests?|testing|__tests__|__mocks__|specs?|testdata|fixtures|e2e)/|(?:^|/)(?:test_[^/]*|conftest\.py)$"
    r"|[^/](?:[_.\-]tests?|[_.\-]spec)\.[a-z]+$|[^/](?:Tests?|Spec|Suite)\.(?:java|kt|scala|cs|swift|php|groovy)$"
)
_SIDE_PATH: Final = re.compile(
    r"(?:^|/)(?:examples?|_examples?|samples?|demos?|docs?|docs?_src|tutorials?|benchmarks?|bench|compat|_compat|legacy"
    r"|vendor|vendored|_vendor|third_party|node_modules|generated|stubs|migrations)/|\.d\.ts$|\.min\.[a-z]+$|_pb2\.py$"
)
_TEST_WORDS: Final = frozenset({"test", "tests", "testing", "tested", "spec", "fixture", "fixtures", "mock"})


@dataclass(frozen=True)
class Candidate:
    """A fused row and the chunk that it is."""

    found: Fused
    chunk: Chunk


def rank(candidates: Sequence[Candidate], query: Query) -> list[Candidate]:
    """Order candidates, best first, with scores of 0..1; equal scores keep the order given."""
    if not candidates:
        return []
    unit = max(candidate.found.score for candidate in candidates)
    files = _file_shares(candidates)
    scores = []
    for number, candidate in enumerate(candidates):
        score = candidate.found.score + unit * (_boost(candidate.chunk, query) + FILE_BOOST * files.get(number, 0.0))
        scores.append(score * _penalty(candidate.chunk.path, query))
    order = _saturate(scores, [candidate.chunk.path for candidate in candidates], SATURATION[query.kind])
    best = max((score for _, score in order), default=0.0) or 1.0
    return [
        Candidate(replace(candidates[number].found, score=score / best), candidates[number].chunk)
        for number, score in order
    ]


def _boost(chunk: Chunk, query: Query) -> float:
    boost = PATH_BOOST * _path_share(chunk.path, query)
    if chunk.symbol:
        named = _named(chunk.symbol, query)
        boost += named * (NAME_BOOST if query.kind == "name" else NAMED_BOOST)
        if not named and query.kind != "name":
            boost += SYMBOL_BOOST * _symbol_share(chunk.symbol, query)
    if query.kind == "report":
        boost += MENTIONED_BOOST * _is_mentioned(chunk.path, query) + FRAME_BOOST * _is_in_frame(chunk, query)
    return boost


def _named(symbol: str, query: Query) -> float:
    """How exactly the query names the symbol: 1 the whole of it, .8 its last part, 0 not at all."""
    return max((_sameness(_lowered(symbol), name) for name in query.names), default=0.0)


def _sameness(symbol: str, name: str) -> float:
    if symbol == name or name.endswith(f".{symbol}") or symbol.endswith(f".{name}"):
        return 1.0
    return 0.0


@lru_cache(maxsize=1 << 14)
def _lowered(symbol: str) -> str:
    return symbol.replace("::", ".").lower().strip("_")


@lru_cache(maxsize=1 << 14)
def _words_of_symbol(symbol: str) -> frozenset[str]:
    last = re.split(r"\.|::| > ", symbol)[-1]
    return frozenset(word for word in split_words(last) if "_" not in word)


def _symbol_share(symbol: str, query: Query) -> float:
    words = _words_of_symbol(symbol)
    return sum(_is_among(word, query.words) for word in words) / len(words) if words else 0.0


@lru_cache(maxsize=1 << 14)
def _words_of_path(path: str) -> frozenset[str]:
    *folders, name = path.split("/")
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return frozenset(split_words(f"{folders[-1] if folders else ''} {stem}"))


def _path_share(path: str, query: Query) -> float:
    if not query.words:
        return 0.0
    words = _words_of_path(path)
    return sum(_is_among(word, words) for word in query.words) / len(query.words)


def _is_among(word: str, words: frozenset[str]) -> bool:
    """Tell whether `words` has the word, or one that differs in its ending only: `sessions`, `serialize`."""
    if word in words:
        return True
    return any(
        len(short) >= _PREFIX_CHARS and long.startswith(short)
        for other in words
        for short, long in ((word, other) if len(word) <= len(other) else (other, word),)
    )


def _is_mentioned(path: str, query: Query) -> bool:
    lowered = path.lower()
    return any(file == lowered or lowered.endswith(f"/{file}") or file.endswith(f"/{lowered}") for file in query.files)


def _is_in_frame(chunk: Chunk, query: Query) -> bool:
    lowered = chunk.path.lower()
    return any(
        chunk.start_line <= line <= chunk.end_line and (file.endswith(f"/{lowered}") or file == lowered)
        for file, line in query.frames
    )


def _penalty(path: str, query: Query) -> float:
    penalty = 1.0
    if _TEST_PATH.search(path) and not (_TEST_WORDS & query.words):
        penalty *= TEST_PENALTY
    if _SIDE_PATH.search(path):
        penalty *= SIDE_PENALTY
    return penalty


def _file_shares(candidates: Sequence[Candidate]) -> dict[int, float]:
    """The best candidate of each file, and how much of the file's candidates score, as a share of the best file's."""
    sums: dict[str, float] = {}
    best: dict[str, int] = {}
    for number, candidate in enumerate(candidates):  # best first, so a file's first is its best
        path = candidate.chunk.path
        sums[path] = sums.get(path, 0.0) + candidate.found.score
        best.setdefault(path, number)
    most = max(sums.values()) or 1.0
    return {number: sums[path] / most for path, number in best.items()}


def _saturate(scores: Sequence[float], paths: Sequence[str], decay: float) -> list[tuple[int, float]]:
    """Multiply each file's second, third ... best score by `decay` once more, and sort; equal ones keep their order."""
    seen: dict[str, int] = {}
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    saturated = []
    for number in order:
        repeats = seen.get(paths[number], 0)
        seen[paths[number]] = repeats + 1
        saturated.append((number, scores[number] * decay**repeats))
    return sorted(saturated, key=lambda pair: -pair[1])
