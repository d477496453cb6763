"""Lexical ranking: BM25 over the words of code, with the path and the symbol as weighted fields.

Words are split where programmers join them (`parseHTTPHeader`, `read_file`) and kept whole as well. Postings are plain
NumPy arrays in compressed rows: one forward table (chunk -> terms) that is stored, and its transpose, which answers a
query by adding a few slices. Several tables are searched as one, with the statistics of what is alive in all of them.
Knows nothing of files or of dense vectors.
Okapi BM25: Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009; fields are merged by weight.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rag.types import Chunk

# Raise with every change of `split_words` or of the weights: a stored index of another version is made anew.
SPARSE_VERSION: Final = 2

# How fast repeats of a word stop counting, and how much long chunks are held back: the usual values for short texts.
K1: Final = 1.2
B: Final = 0.6

# A word in the name of a chunk says more than one in its body; a folder's name says a little more. For
# symbols 5 finds a little more than 3: NDCG@10 .489 against .486 from docstrings, .687 against .677 from questions.
SYMBOL_WEIGHT: Final = 5.0
PATH_WEIGHT: Final = 1.5

# Longer runs of letters are hashes and encoded data, which no one types in a query.
MAX_WORD_CHARS: Final = 64

# Identifiers repeat, so remembering their words makes splitting about twice as fast. Some 10 MB when full.
_REMEMBERED_IDENTIFIERS: Final = 1 << 16

_IDENTIFIER: Final = re.compile(r"[^\W_]+(?:_+[^\W_]+)*|[^\W_]")
# The parts of an ASCII identifier: HTTP | Header | parse | 64. Words of other alphabets are split at `_` only.
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# Left out of queries: in code they are rare, and so would weigh much. Measured: NDCG@10 of the words alone .469 against
# .375 from docstrings. A query of nothing else keeps them.
_SAYING_NOTHING: Final = (
    "a about all also an and any are as at be been but by can could do does for from get gets has have how "
    "i if in into is it its itself may me more my not of on one only or our should so some such than that "
    "the their them then there these they this those to up used uses using want was we were what when "
    "where whether which while who why will with without would you your"
)
STOP_WORDS: Final = frozenset(_SAYING_NOTHING.split())

# Shorter words lose too much of themselves with their last letter.
_MIN_FOLDED_CHARS: Final = 4

Floats: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]
Terms: TypeAlias = NDArray[np.int32]


def split_words(text: str) -> list[str]:
    """Split text into lower-case words: each identifier's parts, and the identifier itself when it has several."""
    return [word for identifier in _IDENTIFIER.findall(text) for word in _split_identifier(identifier)]


@lru_cache(maxsize=_REMEMBERED_IDENTIFIERS)
def _split_identifier(identifier: str) -> tuple[str, ...]:
    if len(identifier) > MAX_WORD_CHARS:
        return ()
    lowered = identifier.lower()
    parts = _PART.findall(identifier) if identifier.isascii() else identifier.replace("_", " ").split()
    return (*(part.lower() for part in parts), lowered) if len(parts) > 1 else (lowered.strip("_"),)


def fold(word: str) -> str:
    """Drop the `s` of a plural or of a verb, so that `returns` finds `return`.

    Measured: NDCG@10 .487 against .469 from docstrings, .674 against .596 from questions. Stemming further, as of
    `-ing` and `-ed`, found nothing more.
    """
    ends = word.endswith("s") and not word.endswith("ss")
    return word[:-1] if ends and len(word) >= _MIN_FOLDED_CHARS else word


def query_words(query: str) -> Counter[str]:
    """Count a query's words as the index has them: folded, and without those that say nothing."""
    words = split_words(query)
    telling = [word for word in words if word not in STOP_WORDS]
    return Counter(fold(word) for word in telling or words)


def weigh_words(chunk: Chunk) -> dict[str, float]:
    """Count a chunk's words, folded, those of its symbol and path by their weight."""
    weights: dict[str, float] = {}
    for word, count in Counter(split_words(chunk.text)).items():
        folded = fold(word)
        weights[folded] = weights.get(folded, 0.0) + count
    for text, weight in ((chunk.symbol, SYMBOL_WEIGHT), (chunk.path, PATH_WEIGHT)):
        for word in split_words(text):
            folded = fold(word)
            weights[folded] = weights.get(folded, 0.0) + weight
    return weights


@dataclass(frozen=True)
class ForwardTable:
    """Which words each chunk has. Row `i` is `terms[starts[i]:starts[i + 1]]`, with `weights` beside it."""

    words: tuple[str, ...]  # term id -> word
    starts: Integers  # (n + 1,)
    terms: Terms  # (nnz,)
    weights: Floats  # (nnz,)

    @property
    def n_chunks(self) -> int:
        """Rows of the table."""
        return len(self.starts) - 1

    def extended(self, kept_rows: Sequence[int], added: Iterable[dict[str, float]]) -> "ForwardTable":
        """Keep `kept_rows`, in their order, then append one row for each of `added`; words of gone rows may stay."""
        rows = np.asarray(kept_rows, dtype=np.int64)
        lengths = self.starts[rows + 1] - self.starts[rows]
        take = _ranges(self.starts[rows], lengths)
        ids = {word: number for number, word in enumerate(self.words)}
        new_terms: list[int] = []
        new_weights: list[float] = []
        new_lengths: list[int] = []
        for bag in added:
            new_terms.extend(ids.setdefault(word, len(ids)) for word in bag)
            new_weights.extend(bag.values())
            new_lengths.append(len(bag))
        all_lengths = np.concatenate([lengths, np.asarray(new_lengths, dtype=np.int64)])
        return ForwardTable(
            words=tuple(ids),
            starts=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(all_lengths)]),
            terms=np.concatenate([self.terms[take], np.asarray(new_terms, dtype=np.int32)]),
            weights=np.concatenate([self.weights[take], np.asarray(new_weights, dtype=np.float32)]),
        ).compacted()

    def compacted(self) -> "ForwardTable":
        """Drop the words that no row has, once they are most of the vocabulary."""
        used = np.zeros(len(self.words), dtype=bool)
        used[self.terms] = True
        if used.sum() * 2 > len(self.words):
            return self
        renumbered = np.cumsum(used, dtype=np.int32) - 1
        words = tuple(word for word, is_used in zip(self.words, used, strict=True) if is_used)
        return ForwardTable(words, self.starts, renumbered[self.terms].astype(np.int32), self.weights)


def empty_table() -> ForwardTable:
    """Start a table without rows."""
    return ForwardTable((), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


class Postings:
    """One table transposed: term -> chunks. Made once for a table, whatever is dead or added beside it."""

    def __init__(self, table: ForwardTable) -> None:
        self.table = table

    def find(self, word: str) -> tuple[Terms, Floats]:
        """Return the rows that have a word, ascending, and its weight in each."""
        starts, rows, weights = self._transposed
        term = self._ids.get(word)
        span = slice(0, 0) if term is None else slice(starts[term], starts[term + 1])
        return rows[span], weights[span]

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        """The weights of each row together, (n,)."""
        ends = np.concatenate([np.zeros(1), np.cumsum(self.table.weights, dtype=np.float64)])
        sizes: NDArray[np.float64] = np.diff(ends[self.table.starts])
        return sizes

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.table.words)}

    @cached_property
    def _transposed(self) -> tuple[Integers, Terms, Floats]:
        table = self.table
        rows = np.repeat(np.arange(table.n_chunks, dtype=np.int32), np.diff(table.starts))
        frequency = np.bincount(table.terms, minlength=len(table.words))
        order = np.argsort(table.terms, kind="stable")
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(frequency, dtype=np.int64)])
        return starts, rows[order], table.weights[order]


@dataclass(frozen=True)
class LivePostings:
    """Postings, and which of their rows count, (n,); None means all."""

    postings: Postings
    is_live: NDArray[np.bool_] | None = None

    @property
    def sizes(self) -> NDArray[np.float64]:
        """The weights of each row that counts together."""
        sizes = self.postings.sizes
        return sizes if self.is_live is None else sizes[self.is_live]

    def find(self, word: str) -> tuple[Terms, Floats]:
        """Return the rows, as numbered in the table, that count and have a word, and its weight in each."""
        rows, weights = self.postings.find(word)
        if self.is_live is None:
            return rows, weights
        counts = self.is_live[rows]
        return rows[counts], weights[counts]


class SparseIndex:
    """BM25 over the rows of several tables as if they were one; immutable, so any number of threads may search it."""

    def __init__(self, *parts: ForwardTable | LivePostings) -> None:
        """Take the parts in the order of their rows; of a plain table every row counts."""
        self._parts = [LivePostings(Postings(part)) if isinstance(part, ForwardTable) else part for part in parts]

    def scores(self, query: str) -> Floats:
        """Score every chunk, (n,) float32; 0 where no word of the query occurs."""
        n_chunks, held_back = self._measures
        scores = [np.zeros(len(column), dtype=np.float32) for column in held_back]
        for word, count in query_words(query).items():
            found = [part.find(word) for part in self._parts]
            frequency = sum(len(rows) for rows, _ in found)
            rarity = np.float32(count * (K1 + 1) * np.log1p((n_chunks - frequency + 0.5) / (frequency + 0.5)))
            for (rows, weights), part_scores, column in zip(found, scores, held_back, strict=True):
                # A chunk occurs once in a term's rows, so plain indexed addition is exact.
                part_scores[rows] += rarity * weights / (weights + column[rows])
        live = [
            part_scores if part.is_live is None else part_scores[part.is_live]
            for part, part_scores in zip(self._parts, scores, strict=True)
        ]
        return np.concatenate(live) if live else np.zeros(0, dtype=np.float32)

    @cached_property
    def _measures(self) -> tuple[int, list[Floats]]:
        """Count the chunks, and tell how much the length of each row of each part holds its words back."""
        sizes = [part.sizes for part in self._parts]
        n_chunks = sum(len(column) for column in sizes)
        mean_size = max(sum(float(column.sum()) for column in sizes) / max(n_chunks, 1), 1e-9)
        columns = [K1 * (1 - B + B * part.postings.sizes / mean_size) for part in self._parts]
        return n_chunks, [column.astype(np.float32) for column in columns]


def join_tables(pieces: Sequence[tuple[ForwardTable, Integers]]) -> ForwardTable:
    """Make one table of the named rows of several, in order."""
    ids: dict[str, int] = {}
    terms, weights, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)], [np.zeros(0, np.int64)]
    for table, rows in pieces:
        numbers = np.asarray([ids.setdefault(word, len(ids)) for word in table.words], dtype=np.int32)
        lengths.append(table.starts[rows + 1] - table.starts[rows])
        take = _ranges(table.starts[rows], lengths[-1])
        terms.append(numbers[table.terms[take]])
        weights.append(table.weights[take])
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(lengths))])
    return ForwardTable(tuple(ids), starts, np.concatenate(terms), np.concatenate(weights)).compacted()


def _ranges(starts: Integers, lengths: Integers) -> Integers:
    """Concatenate `arange(start, start + length)` of every pair without a Python loop."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    offsets: Integers = np.repeat(starts - (ends - lengths), lengths)
    return offsets + np.arange(total, dtype=np.int64)
