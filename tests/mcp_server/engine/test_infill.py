"""Prompts for gaps: the repository's pattern, what is trimmed where, and what cannot be done."""

import pytest

from mcp_server.engine.chat.infill import FimTokens, infill_room, infill_tokens
from mcp_server.engine.types import Infill, InfillFile
from mcp_server.errors import ContextLengthError, NotSupportedError

FIM = FimTokens(prefix=1, suffix=2, middle=3)
REPO = FimTokens(prefix=1, suffix=2, middle=3, repository=4, file=5, bos=6)
MARKS = {1: "[PRE]", 2: "[SUF]", 3: "[MID]", 4: "[REP]", 5: "[SEP]", 6: "[BOS]"}


def encode(text: str) -> list[int]:
    return [ord(char) for char in text]


def spelled(infill: Infill, fim: FimTokens = FIM, room: int = 200) -> str:
    tokens = infill_tokens(infill, fim, encode, room)
    assert len(tokens) <= room
    return "".join(MARKS.get(token, chr(token)) for token in tokens)


def test_prefix_and_suffix_stand_around_the_gap() -> None:
    assert spelled(Infill("before", "after", middle="be")) == "[PRE]before[SUF]after[MID]be"


def test_other_files_come_first_in_the_pattern_of_a_repository() -> None:
    extra = (InfillFile("a.py", "x = 1"), InfillFile("b.py", "y = 2"))
    assert spelled(Infill("p", "s", extra=extra), REPO) == (
        "[BOS][REP]repository\n[SEP]a.py\nx = 1\n[SEP]b.py\ny = 2\n[SEP]file\n[PRE]p[SUF]s[MID]"
    )
    assert spelled(Infill("p", "s", extra=extra)) == "x = 1\ny = 2\n[PRE]p[SUF]s[MID]"


def test_what_is_far_from_the_gap_is_dropped_first() -> None:
    prefix, suffix = "0123456789" * 9 + "P", "S" + "9876543210" * 9
    text = spelled(Infill(prefix, suffix, extra=(InfillFile("a", "far"),)), room=43)
    assert text == f"[PRE]{prefix[-30:]}[SUF]{suffix[:10]}[MID]"


def test_what_one_side_does_not_need_the_other_may_have() -> None:
    assert spelled(Infill("p", "s" * 100), room=43) == f"[PRE]p[SUF]{'s' * 39}[MID]"
    assert spelled(Infill("p" * 100, ""), room=43) == f"[PRE]{'p' * 40}[SUF][MID]"


def test_other_files_get_the_room_that_is_left_and_lose_the_first() -> None:
    extra = (InfillFile("a", "f" * 50), InfillFile("b", "near"))
    assert spelled(Infill("p", "s", extra=extra), room=20) == "ffffffffff\nnear\n"[-15:] + "[PRE]p[SUF]s[MID]"


def test_a_model_without_the_tokens_says_which_are_missing() -> None:
    with pytest.raises(NotSupportedError, match="no token for the suffix, middle"):
        spelled(Infill("a", "b"), FimTokens(prefix=1))


def test_a_beginning_that_fills_the_context_is_refused() -> None:
    with pytest.raises(ContextLengthError):
        spelled(Infill("a", "b", middle="m" * 100), room=100)


@pytest.mark.parametrize(("max_tokens", "room"), [(None, 75), (10, 90), (0, 99), (1000, 50)])
def test_room_is_left_for_the_filling(max_tokens: int | None, room: int) -> None:
    assert infill_room(100, max_tokens) == room
