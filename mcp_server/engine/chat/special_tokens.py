"""Which texts a model's tokenizer takes for special tokens, and how a user's words are kept from becoming one.

A chat template marks turns by control tokens (`<|im_start|>`), and a message that contains the same letters must not
open a turn. So before rendering, each such text inside a message is replaced by one private character, which a
template cannot mistake for anything; after rendering, the prompt is cut at the control tokens that the template wrote,
and what lies between them, the replaced texts put back, is tokenized as plain text. Prompts without such texts, nearly
all, go to the tokenizer whole. Not covered: turn marks that are ordinary text in a model's vocabulary ("User:").
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mcp_server.errors import InvalidRequestError

PRIVATE_START = 0xF0000  # the first character of the two planes that Unicode leaves to private use
PRIVATE_END = 0x10FFFD  # the last one
_PRIVATE = f"[{chr(PRIVATE_START)}-{chr(PRIVATE_END)}]"


@dataclass(frozen=True)
class SpecialToken:
    """One special token."""

    token_id: int
    text: str
    is_control: bool  # found only where special tokens are parsed; others are found in any text
    strips_left: bool = False  # swallows white space before it
    strips_right: bool = False


@dataclass(frozen=True)
class Piece:
    """Part of a prompt: a special token, or text without any."""

    text: str
    token: SpecialToken | None = None


class SpecialTokens:
    """The special tokens of one vocabulary."""

    def __init__(self, tokens: Iterable[SpecialToken]) -> None:
        self._by_text = {token.text: token for token in tokens if token.text}

    def __iter__(self) -> Iterator[SpecialToken]:
        return iter(self._by_text.values())

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The texts of all of them."""
        return tuple(self._by_text)

    @cached_property
    def control_texts(self) -> tuple[str, ...]:
        """The texts of the control tokens, longest first."""
        texts = (text for text, token in self._by_text.items() if token.is_control)
        return tuple(sorted(texts, key=len, reverse=True))

    def shown_in(self, texts: Iterable[str]) -> frozenset[int]:
        """Give the control tokens that are part of one of these texts: their letters matter to who reads the output."""
        wanted = tuple(texts)
        return frozenset(
            token.token_id
            for text, token in self._by_text.items()
            if token.is_control and any(text in one for one in wanted)
        )

    def shield(self, structural: Iterable[str] = ()) -> "Shield":
        """Give a shield for one prompt, which also guards the `structural` texts among the other special tokens."""
        return Shield(self, tuple(text for text in structural if text in self._by_text))

    def split(self, prompt: str) -> list[Piece]:
        """Cut a prompt at its special tokens, as the tokenizer would."""
        pieces: list[Piece] = []
        start = 0
        for match in self._pattern.finditer(prompt):
            token = self._by_text[match.group()]
            before = prompt[start : match.start()]
            pieces.append(Piece(_stripped(before, pieces, token)))
            pieces.append(Piece(token.text, token))
            start = match.end()
        pieces.append(Piece(_stripped(prompt[start:], pieces, None)))
        return [piece for piece in pieces if piece.text]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return any_of(sorted(self._by_text, key=len, reverse=True))


@dataclass
class Shield:
    """Keeps the special texts of one request's words apart; `words` collects what was replaced."""

    special: SpecialTokens
    structural: tuple[str, ...] = ()
    words: dict[str, str] = field(default_factory=dict)  # replaced text -> private character

    def hide(self, text: str) -> str:
        """Replace what would be a special token, or could become one with what follows, by private characters."""
        hidden = self._pattern.sub(lambda match: self._character(match.group()), text)
        for n in range(min(len(hidden), self._longest - 1), 0, -1):
            tail = hidden[-n:]
            if any(guarded.startswith(tail) for guarded in self._guarded):
                return hidden[:-n] + self._character(tail)
        return hidden

    def reveal(self, text: str) -> str:
        """Put the replaced texts back."""
        if not self.words:
            return text
        texts = {character: word for word, character in self.words.items()}
        return re.sub(_PRIVATE, lambda match: texts.get(match.group(), match.group()), text)

    def plain_parts(self, text: str) -> list[str]:
        """Put the replaced texts back, cut where the tokenizer would take one for a token even in plain text."""
        texts = {character: word for word, character in self.words.items()}
        parts = [""]
        for char in text:
            word = texts.get(char, char)
            if word in self._found_in_plain:
                parts[-1] += word[0]
                parts.append(word[1:])
            else:
                parts[-1] += word
        return [part for part in parts if part]

    @cached_property
    def _found_in_plain(self) -> frozenset[str]:
        return frozenset(token.text for token in self.special if not token.is_control and token.text in self.structural)

    def _character(self, word: str) -> str:
        if PRIVATE_START + len(self.words) > PRIVATE_END:
            msg = "The messages use more characters of Unicode's private planes than can be told apart; send fewer."
            raise InvalidRequestError(msg, param="messages")
        return self.words.setdefault(word, chr(PRIVATE_START + len(self.words)))

    @cached_property
    def _guarded(self) -> tuple[str, ...]:
        return tuple(sorted({*self.special.control_texts, *self.structural}, key=len, reverse=True))

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._guarded), default=0)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        if not self._guarded:
            return re.compile(_PRIVATE)
        return re.compile(f"{any_of(self._guarded).pattern}|{_PRIVATE}")


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Compile a pattern that finds any of these texts, earlier ones first; without texts it finds nothing."""
    items = tuple(texts)
    if not items:
        return re.compile("(?!)")
    firsts = "".join(sorted({re.escape(text[0]) for text in items}))
    return re.compile(f"(?=[{firsts}])(?:{'|'.join(map(re.escape, items))})")


def hidden_copy(value: object, shield: Shield) -> object:
    """Copy a JSON-like value with every text in it hidden, keys too."""
    if isinstance(value, str):
        return shield.hide(value)
    if isinstance(value, Mapping):
        return {str(hidden_copy(str(key), shield)): hidden_copy(item, shield) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hidden_copy(item, shield) for item in value]
    return value


def _stripped(text: str, before: list[Piece], after: SpecialToken | None) -> str:
    if before and before[-1].token is not None and before[-1].token.strips_right:
        text = text.lstrip()
    return text.rstrip() if after is not None and after.strips_left else text
