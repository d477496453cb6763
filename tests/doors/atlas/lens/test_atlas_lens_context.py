"""What stands before a question: pieces within a size, in a form that can be cited, and nothing twice."""

import pytest

from mcp_server.contract import Hit, Message
from shim.doors.atlas.lens.context import fit, put_before, question_of, render


def hit(path: str, start: int, end: int, text: str | None = None, score: float = 1.0) -> Hit:
    lines = "".join(f"line {number}\n" for number in range(start, end + 1))
    return Hit(path, "python", "function", "f", start, end, text if text is not None else lines, score, 1, 1)


def test_pieces_stand_under_their_places_with_an_instruction_to_cite() -> None:
    text = render("demo\nproject", fit([hit("src/a.py", 10, 12), hit("b.py", 1, 1)], 1000))
    assert "the project demo project" in text
    assert "### src/a.py:10-12 f\n```python\nline 10\nline 11\nline 12\n```\n" in text
    assert text.index("### src/a.py:10-12") < text.index("### b.py:1-1")
    assert "cite" in text
    assert "`src/a.py:10-12`" in text


def test_without_pieces_there_is_no_text() -> None:
    assert render("demo", ()) == ""


@pytest.mark.parametrize("max_chars", [0, 40, 60, 100, 150, 300, 500])
def test_rendered_pieces_never_exceed_the_size(max_chars: int) -> None:
    pieces = fit([hit("a.py", 1, 10), hit("b.py", 1, 4), hit("c.py", 5, 9)], max_chars)
    assert sum(len(piece.render()) for piece in pieces) <= max_chars


def test_a_piece_that_is_too_long_is_cut_after_a_line_and_cited_as_such() -> None:
    (piece,) = fit([hit("a.py", 10, 99)], 100)
    assert piece.text.endswith("\n")
    assert piece.end_line == 10 + piece.text.count("\n") - 1 < 99
    assert piece.place == f"a.py:10-{piece.end_line}"


def test_a_cut_of_less_than_three_lines_gives_way_to_a_smaller_piece() -> None:
    long_lines = hit("a.py", 1, 3, text=("x" * 80 + "\n") * 3)
    assert [piece.hit.path for piece in fit([long_lines, hit("b.py", 1, 1)], 120)] == ["b.py"]


def test_what_is_inside_a_piece_is_not_repeated() -> None:
    hits = [hit("a.py", 1, 20), hit("a.py", 5, 8), hit("a.py", 18, 25), hit("b.py", 5, 8)]
    assert [piece.place for piece in fit(hits, 10_000)] == ["a.py:1-20", "a.py:18-25", "b.py:5-8"]


def test_a_fence_is_longer_than_any_inside_it() -> None:
    (piece,) = fit([hit("notes.md", 1, 3, text="````\ncode\n````\n")], 1000)
    assert piece.render().count("`````") == 2


@pytest.mark.parametrize(
    ("roles", "position"),
    [
        (["user"], 0),
        (["system", "user", "assistant", "user"], 3),
        (["user", "assistant", "tool"], 0),
        (["system"], None),
    ],
)
def test_the_question_is_the_last_message_of_the_user(roles: list[str], position: int | None) -> None:
    assert question_of([Message(role, "text") for role in roles]) == position  # type: ignore[arg-type]  # each is a role


def test_the_context_is_put_into_the_question_and_nowhere_else() -> None:
    messages = [Message("user", "first"), Message("assistant", "answer"), Message("user", "second")]
    changed = put_before(messages, 2, "context\n\n")
    assert changed[:2] == tuple(messages[:2])
    assert changed[2].content == "context\n\nQuestion:\nsecond"
    assert put_before(messages, 2, "") == tuple(messages)
