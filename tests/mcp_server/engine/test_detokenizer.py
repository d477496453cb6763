"""Text that may be shown, from bytes of tokens: unfinished characters and possible stop strings are held back."""

import random

import pytest

from mcp_server.engine.chat.detokenizer import Detokenizer, count_possible_stop, find_stop
from mcp_server.engine.types import TokenLogprob


def feed(detokenizer: Detokenizer, *pieces: bytes) -> list[str]:
    return [detokenizer.feed(piece)[0] for piece in pieces]


def test_half_a_character_is_held_until_it_is_whole() -> None:
    detokenizer = Detokenizer()
    assert feed(detokenizer, b"a\xc3", b"\xa9b", b"\xf0\x9f", b"\x98", b"\x80") == [
        "a",
        "\u00e9b",
        "",
        "",
        "\U0001f600",
    ]


def test_bytes_that_never_become_a_character_end_as_the_replacement_character() -> None:
    detokenizer = Detokenizer()
    assert feed(detokenizer, b"a\xf0\x9f") == ["a"]
    assert detokenizer.flush()[0] == "\ufffd"
    assert detokenizer.text == "a\ufffd"


def test_a_stop_string_across_tokens_is_never_shown() -> None:
    detokenizer = Detokenizer(("###END",))
    assert feed(detokenizer, b"text #", b"##", b"EN") == ["text ", "", ""]
    assert detokenizer.feed(b"D and more")[0] == ""
    assert detokenizer.is_stopped
    assert detokenizer.flush()[0] == ""
    assert detokenizer.text == "text "


def test_what_only_looked_like_a_stop_string_is_shown_later() -> None:
    detokenizer = Detokenizer(("###END",))
    assert feed(detokenizer, b"#", b"#", b"!") == ["", "", "##!"]
    assert feed(detokenizer, b"#") == [""]
    assert detokenizer.flush()[0] == "#"


def test_the_first_of_several_stop_strings_wins() -> None:
    detokenizer = Detokenizer(("\n\n", "```", ""))
    detokenizer.feed(b"one\n``` two\n\n three")
    assert detokenizer.text == "one\n"


def test_logprobs_of_tokens_in_a_stop_string_are_not_reported() -> None:
    detokenizer = Detokenizer(("STOP",))
    for piece in (b"ab", b"cST", b"OP"):
        detokenizer.feed(piece, TokenLogprob(piece.decode(), 0, -1.0))
    assert [logprob.token for logprob in detokenizer.logprobs] == ["ab", "cST"]


def test_logprobs_of_every_part_of_a_character_are_reported_with_it() -> None:
    detokenizer = Detokenizer()
    parts = [TokenLogprob(str(i), i, -1.0) for i in range(3)]
    released = [
        detokenizer.feed(piece, part)[1] for piece, part in zip((b"\xe2", b"\x82", b"\xac"), parts, strict=True)
    ]
    assert released == [(), (), tuple(parts)]


@pytest.mark.parametrize(
    ("text", "stop", "n"),
    [("abc", ("cd",), 1), ("abc", ("abcd", "bcx"), 3), ("abc", (), 0), ("", ("a",), 0), ("aaa", ("aaab",), 3)],
)
def test_what_could_begin_a_stop_string_is_counted(text: str, stop: tuple[str, ...], n: int) -> None:
    assert count_possible_stop(text, stop) == n


def test_any_cutting_of_the_bytes_gives_the_same_text() -> None:
    source = "h\u00e9llo \U0001f600 wor\u00e9ld ###ENDE tail \u4e16\u754c"
    data, expected = source.encode(), source[: find_stop(source, ("###END",))]
    draw = random.Random(7)  # noqa: S311  # a repeatable test
    for _ in range(200):
        detokenizer, at, streamed = Detokenizer(("###END",)), 0, ""
        while at < len(data) and not detokenizer.is_stopped:
            n = draw.randint(1, 4)
            streamed += detokenizer.feed(data[at : at + n])[0]
            at += n
        assert detokenizer.text == streamed == expected
