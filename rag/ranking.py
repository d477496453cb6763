"""Order fused candidates as a programmer would: what is named first, product code before tests, one file not too often.

Four steps after `fusion`: boosts for a chunk whose symbol or path the query names, weights for what a chunk is and
where it lies, a boost for files with much that fits, and file saturation; how strong each is depends on the kind of
query. Pure functions over chunks; knows
nothing of vectors, words' statistics or token budgets.

Measured figures below are NDCG@10 on two development sets over flask, requests, rich and django: 610 first sentences of
docstrings that must find their function, and 85 questions, by span and by file, averaged.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rag.fusion import Fused
from rag.query import Query, QueryKind
from rag.sparse import split_words
from rag.symbols import GRAMMARS
from rag.types import Chunk

# Boosts are shares of the best fused score.
# The query is this symbol: the definition stands above whatever calls it.
NAME_BOOST: Final = 1.0
# The query names this symbol among other words, where it may be in passing: .25 to .5 alike, 1 loses .007 (questions).
NAMED_BOOST: Final = 0.25
# The share of the symbol's own words that the query has. Sentences of docstrings repeat the function's name (.691
# against .664 without), questions do not, and there it prefers short names (.845 against .857).
SYMBOL_BOOST: Final[Mapping[QueryKind, float]] = {"name": 0.0, "description": 0.3, "question": 0.0, "report": 0.0}
# The share of the query's words that the symbol has: .857 against .845 (questions), .691 against .687 (docstrings).
COVERED_BOOST: Final = 0.2
# The share of the query's words that the file's name and folder have: .803 against .784 (questions, by span).
PATH_BOOST: Final = 0.3
# A report names the file, or its stack trace runs through the chunk. Too few reports to measure; a trace is evidence.
MENTIONED_BOOST: Final = 0.3
FRAME_BOOST: Final = 0.6

# Factors of the score. Tests say what the tested code says: .857 at .3, .856 at .5, .843 at .8 (questions); .689 at .5,
# .691 at .8 (docstrings).
TEST_WEIGHT: Final[Mapping[QueryKind, float]] = {"name": 0.4, "description": 0.7, "question": 0.4, "report": 0.4}
# Examples, documents, vendored and generated code; hardly any in the sets, so held close to 1.
SIDE_WEIGHT: Final = 0.8
# What is left between definitions: imports, constants. .858 at .85, .849 at 1 (questions); .691 at .6 and .7, .690 at
# .85 (docstrings).
LEFTOVER_WEIGHT: Final = 0.75
# A class's header names all that its methods do: .691 at .5, .687 at .8 (docstrings, which speak of functions);
# .858 at .9, .853 at 1 (questions). A name alone may well be a class's.
CLASS_WEIGHT: Final[Mapping[QueryKind, float]] = {"name": 1.0, "description": 0.6, "question": 0.85, "report": 0.85}

# A boost again: the squares of the scores in a file, as a share of the best file's. Where much fits, each chunk fits
# better than its words say. On the tuning part of the committed questions .570 at .15 and .2, .562 at .3, .549 without;
# on docstrings .713, .712 and .710. A name is in one place, however much else its file has.
COMPANY_BOOST: Final[Mapping[QueryKind, float]] = {"name": 0.0, "description": 0.15, "question": 0.15, "report": 0.15}

# The score of a file's second, third ... chunk is multiplied by this once, twice ... A question is often answered by a
# file: by span .780 at .5, .799 at .7, .806 at .8, .804 at 1, and by file .921, .920, .918, .894; on the tuning part of
# the committed questions .553 at .7, .570 at .8, .578 at .85, .573 at 1. A description seeks one function, whose
# neighbours are near it: .693 at 1, .689 at .95, .656 at .7. Names are overloaded within a file and reports concern
# several; both too few to measure.
SATURATION: Final[Mapping[QueryKind, float]] = {"name": 0.8, "description": 1.0, "question": 0.85, "report": 0.7}

# A word stands for another when one begins with the other and the shorter has this many letters.
_PREFIX_CHARS: Final = 4

_TEST_PATH: Final = re.compile(
    r"(?:^|/)(?:tests?|testing|__tests__|__mocks__|specs?|testdata|fixtures|e2e)/|(?:^|/)(?:test_[^/]*|conftest\.py)$"
    r"|[^/](?:[_.\-]tests?|[_.\-]spec)\.[a-z]+$|[^/](?:Tests?|Spec|Suite)\.(?:java|kt|scala|cs|swift|php|groovy)$"
)
_SIDE_PATH: Final = re.compile(
    r"(?:^|/)(?:examples?|_examples?|samples?|demos?|docs?|docs?_src|tutorials?|vendor|vendored|_vendor|third_party"
    r"|node_modules|generated)/|\.d\.ts$|\.min\.[a-z]+$|_pb2\.py$"
)
_SEPARATOR: Final = re.compile(r"\.|::| > ")
_TEST_WORDS: Final = frozenset({"test", "tests", "testing", "tested", "spec", "fixture", "fixtures", "mock"})


@dataclass(frozen=True)
class Candidate:
    """A fused row, the chunk that it is, and, once ranked, its final score of 0..1."""

    found: Fused
    chunk: Chunk
    score: float = 0.0


def rank(candidates: Sequence[Candidate], query: Query) -> list[Candidate]:
    """Order candidates, best first, with scores of 0..1; equal scores keep the order given."""
    if not candidates:
        return []
    unit = max(candidate.found.score for candidate in candidates)
    scores = [
        (candidate.found.score + unit * _boost(candidate.chunk, query)) * _weight(candidate.chunk, query)
        for candidate in candidates
    ]
    paths = [candidate.chunk.path for candidate in candidates]
    scores = _with_company(scores, paths, unit * COMPANY_BOOST[query.kind])
    order = _saturate(scores, paths, SATURATION[query.kind])
    best = order[0][1] or 1.0
    return [Candidate(candidates[number].found, candidates[number].chunk, score / best) for number, score in order]


def _boost(chunk: Chunk, query: Query) -> float:
    boost = PATH_BOOST * _share_of_query(_words_of_path(chunk.path), query)
    if chunk.symbol:
        symbol = chunk.symbol
        if _is_named(symbol, query):
            boost += NAME_BOOST if query.kind == "name" else NAMED_BOOST
        elif query.kind != "name":
            boost += SYMBOL_BOOST[query.kind] * _share_of_symbol(symbol, query)
        boost += COVERED_BOOST * _share_of_query(_words_of_symbol(symbol), query)
    if query.kind == "report":
        boost += MENTIONED_BOOST * _is_mentioned(chunk.path, query) + FRAME_BOOST * _is_in_frame(chunk, query)
    return boost


def _weight(chunk: Chunk, query: Query) -> float:
    weight = TEST_WEIGHT[query.kind] if _is_test(chunk.path) and not (_TEST_WORDS & query.words) else 1.0
    if _is_aside(chunk.path):
        weight *= SIDE_WEIGHT
    if chunk.kind == "class":
        weight *= CLASS_WEIGHT[query.kind]
    elif chunk.kind == "window" and chunk.language in GRAMMARS:  # elsewhere all is windows
        weight *= LEFTOVER_WEIGHT
    return weight


def _is_named(symbol: str, query: Query) -> bool:
    """Tell whether the query names the symbol: `get` and `sessions.Session.get` both name `Session.get`."""
    lowered = _lowered(symbol)
    return any(lowered == name or name.endswith(f".{lowered}") or lowered.endswith(f".{name}") for name in query.names)


@lru_cache(maxsize=1 << 14)
def _lowered(symbol: str) -> str:
    return symbol.replace("::", ".").lower().strip("_")


@lru_cache(maxsize=1 << 14)
def _words_of_symbol(symbol: str) -> frozenset[str]:
    return frozenset(split_words(symbol))


@lru_cache(maxsize=1 << 14)
def _words_of_last_part(symbol: str) -> frozenset[str]:
    last = _SEPARATOR.split(symbol)[-1]
    return frozenset(word for word in split_words(last) if "_" not in word)


@lru_cache(maxsize=1 << 14)
def _words_of_path(path: str) -> frozenset[str]:
    *folders, name = path.split("/")
    stem = name.rsplit(".", 1)[0] if "." in name[1:] else name
    return frozenset(split_words(f"{folders[-1] if folders else ''} {stem}"))


def _share_of_symbol(symbol: str, query: Query) -> float:
    """How many words of the symbol's last part the query has, as a share of the part's."""
    return _share(_words_of_last_part(symbol), query.words)


def _share_of_query(words: frozenset[str], query: Query) -> float:
    """How many of the query's words are among `words`, as a share of the query's."""
    return _share(query.words, words)


def _share(words: frozenset[str], among: frozenset[str]) -> float:
    """How many of `words` are `among`, or differ from one there in their ending only: `sessions`, `serialize`."""
    if not words:
        return 0.0
    n_found = len(words & among)
    # Words that begin alike share their first letters, which nearly always rules out that there are any.
    alike = _beginnings(words) & _beginnings(among)
    if alike and n_found < len(words):
        n_found += sum(_is_akin(word, among) for word in words - among if word[:_PREFIX_CHARS] in alike)
    return n_found / len(words)


def _is_akin(word: str, among: frozenset[str]) -> bool:
    long_ones = (other for other in among if len(other) >= _PREFIX_CHARS)
    return any(other.startswith(word) or word.startswith(other) for other in long_ones)


@lru_cache(maxsize=1 << 14)
def _beginnings(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word[:_PREFIX_CHARS] for word in words if len(word) >= _PREFIX_CHARS)


def _is_mentioned(path: str, query: Query) -> bool:
    lowered = path.lower()
    return any(file == lowered or lowered.endswith(f"/{file}") or file.endswith(f"/{lowered}") for file in query.files)


def _is_in_frame(chunk: Chunk, query: Query) -> bool:
    lowered = chunk.path.lower()
    return any(
        chunk.start_line <= line <= chunk.end_line and (file.endswith(f"/{lowered}") or file == lowered)
        for file, line in query.frames
    )


@lru_cache(maxsize=1 << 14)
def _is_test(path: str) -> bool:
    return _TEST_PATH.search(path) is not None


@lru_cache(maxsize=1 << 14)
def _is_aside(path: str) -> bool:
    return _SIDE_PATH.search(path) is not None


def _with_company(scores: Sequence[float], paths: Sequence[str], boost: float) -> list[float]:
    """Add to each score its file's share of `boost`, all of it for the file with the most that fits."""
    sums: dict[str, float] = {}
    for score, path in zip(scores, paths, strict=True):
        sums[path] = sums.get(path, 0.0) + score * score
    best = max(sums.values()) or 1.0
    return [score + boost * sums[path] / best for score, path in zip(scores, paths, strict=True)]


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
