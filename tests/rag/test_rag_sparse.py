"""Lexical ranking: how code is split into words, and BM25 against a slow plain version."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from rag.sparse import K1, B, SparseIndex, empty_table, split_words, weigh_words
from rag.types import Chunk


def chunk(text: str, symbol: str = "", path: str = "a.txt") -> Chunk:
    return Chunk("0", path, "text", "window", symbol, 1, 1, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("parseHTTPHeader", ["parse", "http", "header", "parsehttpheader"]),
        ("read_file_2", ["read", "file", "2", "read_file_2"]),
        ("XMLParser.feed()", ["xml", "parser", "xmlparser", "feed"]),
        ("utf8 größe Ärger", ["utf", "8", "utf8", "größe", "ärger"]),
        ("__init__ x", ["init", "x"]),
        ("", []),
        ("+-*/", []),
        ("数据库", ["数据库"]),
        ("a" * 65, []),
    ],
)
def test_words_are_split_where_programmers_join_them(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_scores_equal_plain_bm25() -> None:
    choose = random.Random(1)  # noqa: S311 - a repeatable choice, not a secret
    vocabulary = ["read", "file", "parse", "http", "socket", "close", "token", "cache"]
    bags = [weigh_words(chunk(" ".join(choose.choices(vocabulary, k=choose.randrange(1, 30))))) for _ in range(60)]
    sizes = [sum(bag.values()) for bag in bags]
    mean = sum(sizes) / len(sizes)
    query = "read http http token absent"

    def plain(bag: dict[str, float], size: float) -> float:
        total = 0.0
        for word, repeats in Counter(split_words(query)).items():
            having = sum(word in other for other in bags)
            rarity = math.log1p((len(bags) - having + 0.5) / (having + 0.5))
            weight = bag.get(word, 0.0)
            total += repeats * rarity * weight * (K1 + 1) / (weight + K1 * (1 - B + B * size / mean))
        return total

    expected = [plain(bag, size) for bag, size in zip(bags, sizes, strict=True)]
    actual = SparseIndex(empty_table().extended([], bags)).scores(query)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_a_plural_finds_its_singular_and_a_verb_its_stem() -> None:
    table = empty_table().extended([], [weigh_words(chunk("return header")), weigh_words(chunk("class glass"))])
    scores = SparseIndex(table)
    assert scores.scores("returns")[0] > 0
    assert scores.scores("headers")[0] == scores.scores("header")[0] > 0
    assert scores.scores("clas")[1] == 0


def test_words_that_say_nothing_count_only_in_a_query_of_nothing_else() -> None:
    table = empty_table().extended([], [weigh_words(chunk("what is this")), weigh_words(chunk("socket closed"))])
    scores = SparseIndex(table)
    assert scores.scores("what is the socket")[0] == 0
    assert scores.scores("what is it")[0] > 0


def test_an_extended_table_scores_like_one_made_from_nothing() -> None:
    old = [weigh_words(chunk(text)) for text in ("alpha beta", "beta gamma", "gamma delta delta", "omega")]
    new = [weigh_words(chunk(text)) for text in ("beta epsilon", "zeta")]
    extended = empty_table().extended([], old).extended([2, 0], new)
    fresh = empty_table().extended([], [old[2], old[0], *new])
    for query in ("beta", "delta alpha", "zeta", "omega"):
        np.testing.assert_allclose(SparseIndex(extended).scores(query), SparseIndex(fresh).scores(query), rtol=1e-6)


def test_words_of_deleted_rows_do_not_pile_up() -> None:
    table = empty_table()
    for round_number in range(20):
        table = table.extended([], [weigh_words(chunk(f"word{round_number}x{n}")) for n in range(50)])
    assert len(table.words) < 400


def test_a_word_in_the_symbol_or_path_counts_more_than_one_in_the_text() -> None:
    bags = [weigh_words(chunk("flush", path="x")), weigh_words(chunk("other", symbol="flush", path="x"))]
    bags.append(weigh_words(chunk("other", path="flush")))
    scores = SparseIndex(empty_table().extended([], bags)).scores("flush")
    assert scores[1] > scores[2] > scores[0] > 0


def test_an_empty_index_scores_nothing() -> None:
    assert SparseIndex(empty_table()).scores("anything").shape == (0,)
