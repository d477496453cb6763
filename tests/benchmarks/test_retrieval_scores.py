"""The rule of relevance, the figures made of it, and the questions made of docstrings."""

import ast
import math

import pytest

from benchmarks.peers.docstrings import documented_functions, strip_docstrings
from benchmarks.peers.retrieval_scores import Score, difference, mean, score
from benchmarks.peers.retrieval_sets import Answer

SPAN = Answer("a.py", 10, 20)


@pytest.mark.parametrize(
    ("hit", "is_right"),
    [
        (("a.py", 20, 30), True),
        (("a.py", 1, 10), True),
        (("a.py", 21, 30), False),
        (("a.py", 1, 9), False),
        (("b.py", 10, 20), False),
    ],
)
def test_a_hit_is_right_when_it_shares_a_line_with_the_answer(hit: tuple[str, int, int], is_right: bool) -> None:  # noqa: FBT001 - a table
    assert SPAN.is_met_by(*hit) == is_right


def test_any_span_of_a_file_meets_the_file_and_only_the_first_counts() -> None:
    hits = [("b.py", 1, 2), ("a.py", 1, 2), ("a.py", 50, 60)]
    assert score(hits, [Answer("a.py")]) == Score(1 / math.log2(3), 1.0, 0.5)


def test_a_ranking_is_discounted_by_its_ranks() -> None:
    answers = [SPAN, Answer("b.py", 1, 5)]
    hits = [("a.py", 10, 20), ("c.py", 1, 2), ("b.py", 2, 3)]
    assert score(hits, answers) == Score((1 + 0.5) / (1 + 1 / math.log2(3)), 1.0, 1.0)


def test_one_hit_over_two_answers_meets_both_but_is_not_better_than_perfect() -> None:
    assert score([("a.py", 1, 99)], [SPAN, Answer("a.py", 30, 40)]) == Score(1.0, 1.0, 1.0)


def test_what_comes_after_ten_hits_does_not_count() -> None:
    assert score([("b.py", 1, 1)] * 10 + [("a.py", 10, 20)], [SPAN]) == Score(0.0, 0.0, 0.0)
    assert score([], [SPAN]) == Score(0.0, 0.0, 0.0)


def test_a_difference_has_an_interval_around_its_mean_and_is_nothing_against_itself() -> None:
    found = difference([1.0, 0.5, 1.0, 0.0] * 20, [0.5, 0.5, 0.0, 0.0] * 20)
    assert found.mean == pytest.approx(0.375)
    assert found.low < found.mean < found.high
    assert difference([0.1, 0.9], [0.1, 0.9]).high == 0
    assert mean([Score(1, 1, 1), Score(0, 1, 0.5)]) == Score(0.5, 1.0, 0.75)


MODULE = b'''"""Module."""
import os


class Bread:
    """A loaf. It is sliced."""

    @property
    def crust(self):
        """Return the hard outer part of it, e.g. of rye. More is
        said here.
        """


    def slice(self, n): "Cut it into so many equal parts."; return n
'''


def test_docstrings_are_taken_out_and_lines_stay_where_they_are() -> None:
    stripped = strip_docstrings(MODULE)
    assert stripped.count(b"\n") == MODULE.count(b"\n")
    tree = ast.parse(stripped)
    assert all(
        ast.get_docstring(node) is None for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef)
    )
    assert b"outer" not in stripped
    assert [line for line in stripped.split(b"\n") if b"return n" in line] == [b"    def slice(self, n): ...; return n"]


def test_the_first_sentence_asks_for_its_function_with_decorators() -> None:
    found = {one.sentence: (one.start_line, one.end_line) for one in documented_functions(MODULE)}
    assert found == {
        "Return the hard outer part of it, e.g. of rye.": (8, 12),
        "Cut it into so many equal parts.": (15, 15),
    }


def test_what_is_no_python_stays_as_it_is() -> None:
    assert strip_docstrings(b"print 'old'\n") == b"print 'old'\n"
    assert not list(documented_functions(b"print 'old'\n"))
