"""Exact texts and patterns: which chunks match, on which lines, and that no pattern hangs."""

import time

import pytest

from rag import matching
from rag.errors import InvalidRequestError
from rag.matching import compile_exact, compile_regex, match_chunks
from rag.types import Chunk


def chunk(text: str, path: str = "a.py", start: int = 1) -> Chunk:
    return Chunk("0", path, "python", "window", "", start, start + text.count("\n"), text)


def lines(chunks: list[Chunk], finder: matching.Finder, max_results: int = 10) -> list[tuple[int, ...]]:
    return [match.lines for match in match_chunks(chunks, finder, max_results).found]


def test_an_exact_text_is_taken_as_it_stands() -> None:
    chunks = [chunk("a.b(c)\naxb\nA.B(C)\na.b(c) a.b(c)", start=11)]
    assert lines(chunks, compile_exact("a.b(c)")) == [(11, 14)]


def test_a_match_over_lines_names_all_it_touches() -> None:
    assert lines([chunk("x\nfoo(\n  bar)\ny")], compile_exact("foo(\n  bar")) == [(2, 3)]
    assert lines([chunk("x\nfoo(\n  bar)\ny")], compile_regex(r"foo\(\s+bar")) == [(2, 3)]


def test_a_pattern_anchors_at_every_line() -> None:
    assert lines([chunk("def a\n  def b\ndef c")], compile_regex(r"^def \w$")) == [(1, 3)]


def test_text_of_any_alphabet_matches() -> None:
    assert lines([chunk("größe = 1\nx\n# 数据库 größe")], compile_regex("gr.ße")) == [(1, 3)]
    assert lines([chunk("x\n\udc80größe")], compile_exact("größe")) == [(2,)]


def test_an_empty_match_counts_once_a_line() -> None:
    assert lines([chunk("ab\n\ncd")], compile_regex("x*")) == [(1, 2, 3)]


def test_a_line_in_two_overlapping_windows_is_reported_once() -> None:
    chunks = [chunk("a\nhit\nb"), chunk("hit\nb\nc", start=2), chunk("hit\nb\nhit", start=2), chunk("hit", "b.py")]
    assert lines(chunks, compile_exact("hit")) == [(2,), (4,), (1,)]


def test_matches_stop_at_the_number_asked_for_and_say_so() -> None:
    chunks = [chunk("hit", f"{number}.py") for number in range(3)]
    for asked, found, truncated in ((1, 1, True), (2, 2, True), (3, 3, False), (9, 3, False)):
        matches = match_chunks(chunks, compile_exact("hit"), asked)
        assert (len(matches.found), matches.truncated) == (found, truncated)


def test_a_pattern_that_matches_everything_lists_so_many_lines() -> None:
    assert len(lines([chunk("x\n" * 500)], compile_regex("x"))[0]) == matching.MAX_MATCHED_LINES


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?=a)", r"(a)\1", "(x{1000}){1000}", "a" * 1001, "[z-a]"])
def test_a_pattern_that_cannot_be_used_names_the_query(pattern: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        compile_regex(pattern)
    assert caught.value.param == "query"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(a|aa)+b", "(.*)*b", "a*a*a*a*a*a*b"])
def test_a_catastrophic_pattern_takes_its_time_from_the_text_alone(pattern: str) -> None:
    started = time.process_time()
    lines([chunk("a" * 2400 + "!", f"{number}.py") for number in range(20)], compile_regex(pattern))
    assert time.process_time() - started < 5  # backtracking needs longer than the universe has


def test_past_the_time_limit_what_was_found_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "TIME_LIMIT_S", -1.0)
    matches = match_chunks([chunk("hit")], compile_exact("hit"), 10)
    assert (matches.found, matches.truncated) == ((), True)
