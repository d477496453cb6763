"""What of a ranked list reaches the caller: the token budget, repeated lines, neighbours."""

import random
from dataclasses import replace

import pytest

from rag.passages import CHARS_PER_TOKEN, Limits, fill
from rag.types import Chunk, Hit


def hit(start: int, end: int, path: str = "a.py", size: int = 9) -> Hit:
    text = "\n".join(f"{line:<{size}}" for line in range(start, end + 1))
    return Hit(path, "python", "window", "", start, end, text, 1.0, None, None)


def chunk(start: int, end: int, path: str = "a.py") -> Chunk:
    return Chunk("0", path, "python", "window", "", start, end, hit(start, end).text)


def spans(hits: tuple[Hit, ...]) -> list[tuple[int, int]]:
    return [(found.start_line, found.end_line) for found in hits]


def test_a_best_hit_larger_than_the_budget_is_cut_at_the_end_of_a_line() -> None:
    hits, truncated = fill([hit(5, 14)], Limits(10, 8))  # 32 characters: three lines of nine and their ends
    assert (spans(hits), truncated) == ([(5, 7)], True)
    assert hits[0].text == hit(5, 7).text


def test_a_first_line_larger_than_the_budget_is_cut_within() -> None:
    hits, truncated = fill([hit(5, 6, size=100)], Limits(10, 8))
    assert (spans(hits), len(hits[0].text), truncated) == ([(5, 5)], 32, True)


def test_a_cut_hit_begins_where_it_matched() -> None:
    found = replace(hit(5, 40), matched_lines=(20, 21, 39))
    hits, truncated = fill([found], Limits(10, 8))
    assert (spans(hits), hits[0].matched_lines, truncated) == ([(20, 22)], (20, 21), True)


def test_a_later_hit_that_does_not_fit_leaves_room_for_smaller_ones() -> None:
    hits, truncated = fill([hit(1, 2), hit(10, 90), hit(100, 101)], Limits(10, 12))
    assert (spans(hits), truncated) == ([(1, 2), (100, 101)], True)


def test_of_overlapping_windows_the_better_one_keeps_the_shared_lines() -> None:
    hits, truncated = fill([hit(30, 70), hit(60, 90), hit(1, 35), hit(40, 50), hit(60, 90, "b.py")], Limits(10, 9999))
    assert (spans(hits), truncated) == ([(30, 70), (71, 90), (1, 29), (60, 90)], False)
    assert hits[1].text == hit(71, 90).text
    assert hits[2].text == hit(1, 29).text


def test_two_pieces_of_one_long_line_are_both_shown() -> None:
    pieces = [Hit("a.js", "js", "window", "", 1, 1, text, 1.0, None, None) for text in ("abc", "def", "abc")]
    assert [found.text for found in fill(pieces, Limits(10, 99))[0]] == ["abc", "def"]


def test_neighbours_widen_a_hit_to_the_chunks_around_it() -> None:
    chunks = [chunk(1, 3), chunk(5, 8), chunk(10, 12), chunk(14, 20)]
    hits, truncated = fill([hit(10, 12)], Limits(10, 999), lambda _: chunks)
    assert (spans(hits), truncated) == ([(5, 20)], False)
    assert hits[0].text == f"{hit(5, 8).text}\n\n{hit(10, 12).text}\n\n{hit(14, 20).text}"


def test_a_neighbour_that_overlaps_adds_only_its_other_lines() -> None:
    hits, _ = fill([hit(36, 70)], Limits(10, 999), lambda _: [chunk(1, 40), chunk(36, 70), chunk(66, 80)])
    assert hits[0].text == hit(1, 80).text


def test_neighbours_count_in_the_budget_and_push_no_hit_out() -> None:
    chunks = [chunk(line, line) for line in range(1, 101, 10)]
    found = [hit(11, 11), hit(51, 51), hit(91, 91)]
    hits, _ = fill(found, Limits(3, 12), lambda _: chunks)  # 48 characters: three hits of nine and one neighbour
    assert spans(hits) == [(1, 11), (51, 51), (91, 91)]


def test_a_neighbour_that_is_a_hit_itself_is_not_repeated() -> None:
    hits, _ = fill([hit(5, 8), hit(10, 12)], Limits(9, 999), lambda _: [chunk(5, 8), chunk(10, 12), chunk(14, 15)])
    assert spans(hits) == [(5, 8), (10, 15)]


@pytest.mark.parametrize("seed", range(20))
def test_hits_never_exceed_the_budget_nor_show_a_line_twice(seed: int) -> None:
    choose = random.Random(seed)  # noqa: S311 - a repeatable choice, not a secret
    starts = [choose.randrange(1, 200) for _ in range(40)]
    found = [hit(start, start + choose.randrange(30), choose.choice("ab")) for start in starts]
    chunks = [chunk(start, start + 9) for start in range(1, 240, 8)]
    limits = Limits(choose.randrange(1, 20), choose.randrange(1, 600))
    hits, _ = fill(found, limits, choose.choice([None, lambda _: chunks]))
    assert 1 <= len(hits) <= limits.max_results
    assert sum(len(each.text) for each in hits) <= limits.max_tokens * CHARS_PER_TOKEN
    shown = [(each.path, line) for each in hits for line in range(each.start_line, each.end_line + 1)]
    assert len(shown) == len(set(shown))
    for each in hits:
        assert each.text.count("\n") == each.end_line - each.start_line
