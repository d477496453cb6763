"""Regular expressions of JSON schemas as GBNF for the inside of a JSON string.

The part of ECMA 262 that has a meaning in a grammar: literals, escapes, sets, groups, alternatives, quantifiers, and
anchors at the ends. Look-around, back-references and anchors elsewhere are refused. What a character becomes in JSON
(`"` is two characters there) is decided here.
"""

from mcp_server.engine.grammar.gbnf import LAST_CHAR, Chars, either, literal, repeat

MAX_COUNT = 2000  # the native parser refuses more repetitions

CONTROLS = Chars(((0x00, 0x1F), (0x7F, 0x7F)))
SURROGATES = Chars(((0xD800, 0xDFFF),))
QUOTED = Chars.of(((ord('"'), ord('"')), (ord("\\"), ord("\\"))))  # written with a backslash
PLAIN = ~Chars.of((*CONTROLS.spans, *SURROGATES.spans, *QUOTED.spans))
DIGITS = Chars(((ord("0"), ord("9")),))
WORD = Chars.of((*DIGITS.spans, (ord("A"), ord("Z")), (ord("_"), ord("_")), (ord("a"), ord("z"))))
SPACE = Chars.of(((0x09, 0x0D), (0x20, 0x20)))
NEWLINES = Chars.of(((0x0A, 0x0A), (0x0D, 0x0D)))

_JSON_ESCAPES = {0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0C: "\\f", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\"}
_CLASSES = {"d": DIGITS, "D": ~DIGITS, "w": WORD, "W": ~WORD, "s": SPACE, "S": ~SPACE}
_CONTROLS = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D, "0": 0x00}
_HEX_DIGITS = {"x": 2, "u": 4}
_COUNTS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def regex_body(pattern: str, any_char: str) -> str:
    """Give the body that a string must have to match; where the pattern has no anchor, `any_char` may repeat.

    Raises:
        ValueError: The pattern is not understood, or has no meaning in a grammar.
    """
    return _Parser(pattern, any_char).parse()


def in_json(chars: Chars, *, is_exact: bool = True) -> str:
    """Write a set of characters as JSON strings spell them.

    Without `is_exact` only what needs no backslash is allowed, if there is any such.
    """
    plain = chars & PLAIN
    alternatives = [str(plain)] if plain.spans else []
    if is_exact or not alternatives:
        alternatives += [literal(text) for code, text in _JSON_ESCAPES.items() if code in chars]
    if not alternatives:
        msg = "a set of characters is empty"
        raise ValueError(msg)
    return either(alternatives)


class _Parser:
    """A recursive descent over one pattern; as deep as its groups."""

    def __init__(self, pattern: str, any_char: str) -> None:
        self._pattern, self._any_char = pattern, any_char
        self._at = 0

    def parse(self) -> str:
        body = self._alternatives(is_outermost=True)
        if self._at < len(self._pattern):
            raise self._error("an unmatched `)`")
        return body

    def _alternatives(self, *, is_outermost: bool = False) -> str:
        branches = [self._branch(is_outermost=is_outermost)]
        while self._take("|"):
            branches.append(self._branch(is_outermost=is_outermost))
        return either(branches)

    def _branch(self, *, is_outermost: bool) -> str:
        items = []
        is_open_left = is_outermost and not self._take("^")
        is_open_right = is_outermost
        while self._peek() not in ("", "|", ")"):
            if is_outermost and self._peek() == "$" and self._peek(1) in ("", "|"):
                self._at += 1
                is_open_right = False
            else:
                items.append(self._quantified())
        anything = f"{self._any_char}*"
        parts = [anything] * is_open_left + items + [anything] * is_open_right
        return " ".join(part for part in parts if part) or '""'

    def _quantified(self) -> str:
        item = self._item()
        while (count := self._quantifier()) is not None:
            item = f"({repeat(item, *count)})"
        return item

    def _quantifier(self) -> tuple[int, int | None] | None:
        char = self._peek()
        if char in _COUNTS:
            self._at += 1
            count = _COUNTS[char]
        elif char == "{" and (end := self._pattern.find("}", self._at)) > 0:
            least, comma, most = self._pattern[self._at + 1 : end].partition(",")
            if not (least.isdecimal() and (not most or most.isdecimal())):
                raise self._error("a `{` that begins no count")
            count = (int(least[:5]), int(most[:5]) if most else None if comma else int(least[:5]))
            self._at = end + 1
        else:
            return None
        self._take("?")  # lazy or not, the same texts match
        least_count, most_count = count
        if max(least_count, most_count or 0) > MAX_COUNT or (most_count is not None and most_count < least_count):
            raise self._error(f"a count above {MAX_COUNT}, or one that decreases")
        return count

    def _item(self) -> str:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return in_json(self._set())
        if char == ".":
            return in_json(~NEWLINES, is_exact=False)
        if char == "\\":
            chars = self._escape()
            return in_json(chars, is_exact=len(chars.spans) <= 2)  # noqa: PLR2004  # \W and the like need no escapes
        if char in "^$*+?{}":
            if char in "{}":
                return in_json(_single(char))
            raise self._error(f"`{char}` in a place where a grammar has no use for it")
        return in_json(_single(char))

    def _group(self) -> str:
        if self._take("?") and not self._take(":"):
            name_end = self._pattern.find(">", self._at)
            if not self._take("<") or self._peek() in "=!" or name_end < 0:
                raise self._error("look-around")
            self._at = name_end + 1
        body = self._alternatives()
        if not self._take(")"):
            raise self._error("a `(` that is never closed")
        return f"({body})"

    def _set(self) -> Chars:
        is_negated = self._take("^")
        spans: list[tuple[int, int]] = []
        while not self._take("]"):
            first = self._member()
            is_range = self._peek() == "-" and self._peek(1) not in ("]", "")
            if not is_range:
                spans += first.spans
                continue
            self._at += 1
            last = self._member()
            if len(first.spans) > 1 or len(last.spans) > 1 or first.spans[0][0] > last.spans[0][1]:
                raise self._error("a range of characters that goes backwards")
            spans.append((first.spans[0][0], last.spans[0][1]))
        chars = Chars.of(spans)
        return ~chars & ~CONTROLS if is_negated else chars

    def _member(self) -> Chars:
        char = self._next()
        return self._escape(is_in_set=True) if char == "\\" else _single(char)

    def _escape(self, *, is_in_set: bool = False) -> Chars:
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char] & ~CONTROLS if char.isupper() else _CLASSES[char]
        if char in _CONTROLS:
            return _single(chr(_CONTROLS[char]))
        if char in _HEX_DIGITS:
            digits = self._pattern[self._at : self._at + _HEX_DIGITS[char]]
            self._at += len(digits)
            return _single(chr(min(int(digits, 16), LAST_CHAR)))
        if char == "b" and is_in_set:
            return _single("\b")
        if char.isalnum():
            raise self._error(f"`\\{char}`")
        return _single(char)

    def _peek(self, ahead: int = 0) -> str:
        return self._pattern[self._at + ahead : self._at + ahead + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise self._error("an end too early")
        self._at += 1
        return char

    def _take(self, char: str) -> bool:
        is_there = self._peek() == char
        self._at += is_there
        return is_there

    def _error(self, what: str) -> ValueError:
        return ValueError(f"the pattern {self._pattern[:60]!r} has {what} near character {self._at}")


def _single(char: str) -> Chars:
    return Chars(((ord(char), ord(char)),))
