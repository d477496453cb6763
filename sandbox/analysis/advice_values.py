"""Advice on values: types that do not fit, indices beyond the end, results that are not what was expected.

Where both sides of a comparison are shown, they are read as plain literals (`ast.literal_eval`, never evaluated) to say
in which way they differ. They suggest; they never say that a change is enough.
"""

import ast
import re
from typing import Any

from sandbox.analysis.library import member_names
from sandbox.analysis.names import nearest, words_of
from sandbox.analysis.situation import Situation

MAX_LITERAL_CHARS = 2000
MAX_COMPARED = 1e15  # above it a float is not exact and an int may not become one
NEAR = 12  # lines above the failing one in which its loop is looked for

_BOUNDS = (
    re.compile(r"index out of range \[(?P<index>-?\d+)\] with length (?P<length>\d+)"),
    re.compile(r"the len is (?P<length>\d+) but the index is (?P<index>\d+)"),
    re.compile(r"\(which is (?P<index>\d+)\) >= this->size\(\) \(which is (?P<length>\d+)\)"),
)
_TOO_FAR = re.compile(
    r"range\([^)]*\blen\([^)]*\)\s*\+\s*1|<=\s*\w+(?:\.length|\.size\(\)|\.len\(\))|<=\s*len\(|\[\s*len\([^)]*\)\s*\]"
    r"|\[\s*\w+\.length\s*\]|\.\.=\s*\w+\.len\(\)"
)
_NEIGHBOUR = re.compile(r"\[\s*\w+\s*\+\s*\d+\s*\]")
_SIDES = re.compile(r"left(?: is|:) (.*?), right(?: is|:) (.*)$", re.DOTALL)
_NODE_SIDES = re.compile(r"strictly equal: (.+?) !== (.+)$")
_ASSERTED_CALL = re.compile(r"assert(?:_eq!|_ne!)?[ (`]+(?:not )?([A-Za-z_]\w*)\(")

_OPERANDS = re.compile(r"unsupported operand type\(s\) for (\S+?):? '(\w+)' and '(\w+)'")
_CONCATENATED = re.compile(r'can only concatenate (\w+) \(not "(\w+)"\) to')
_COMPARED = re.compile(r"'(\S+)' not supported between instances of '(\w+)' and '(\w+)'")
_TAKES = re.compile(r"(\S+?)\(\) takes (.+?) positional arguments? but (\d+) (?:was|were) given")
_MISSING = re.compile(r"(\S+?)\(\) missing (\d+) required (?:positional|keyword-only) arguments?: (.+)$")
_UNEXPECTED = re.compile(r"(\S+?)\(\) got an unexpected keyword argument '(\w+)'")
_NONE = re.compile(r"'NoneType' object is not (\w+)|cannot unpack non-iterable NoneType")
_NOT = re.compile(r"'(\w+)' object is not (callable|subscriptable|iterable|an iterator)")
_UNDEFINED = re.compile(r"Cannot (read|set) propert(?:y|ies) of (undefined|null) \((?:reading|setting) '(.+?)'\)")
_NO_FUNCTION = re.compile(r"^(\S+?) is not (?:a function|iterable|a constructor)")

_LITERAL = re.compile(r"invalid literal for int\(\) with base \d+: (.*)$|could not convert string to float: (.*)$")
_UNPACKED = re.compile(r"(?:not enough|too many) values to unpack \(expected (?:at least )?(\d+)(?:, got (\d+))?\)")


def advise_on_index(s: Situation) -> str:
    """Advise on an index beyond the end of a sequence."""
    numbers = next((told for pattern in _BOUNDS if (told := pattern.search(s.cause.message))), None)
    if numbers:
        return _numbered_index(s, int(numbers["index"]), int(numbers["length"]))
    place = _loop_too_far(s)
    if place is not None:
        return f"The index goes one too far{s.where}: line {place} counts up to the length itself (off by one)."
    if "empty" in s.cause.message:
        return f"An empty sequence is read{s.where} ({s.cause.message}): test that it has members first."
    if _NEIGHBOUR.search(s.text):
        return f"The index of a neighbour leaves the sequence{s.where}: let the loop end one earlier (off by one)."
    return f"An index is beyond the end of the sequence{s.where}: check bounds, an empty sequence, and off by one."


def _numbered_index(s: Situation, index: int, length: int) -> str:
    start = f"Index {index} is read{s.where} of a sequence of length {length}"
    if length == 0:
        return f"{start}: it is empty; test for that first."
    if index == length:
        return f"{start}: off by one, its last index is {length - 1}; let the loop end before the length."
    return f"{start}: its last index is {length - 1}; bound the index, or make the sequence longer first."


def _loop_too_far(s: Situation) -> int | None:
    if s.line is None:
        return None
    numbers = range(s.line, max(0, s.line - NEAR), -1)
    return next((number for number in numbers if _TOO_FAR.search(s.line_at(number))), None)


def advise_on_type(s: Situation) -> str:
    """Advise on values whose types do not fit together."""
    message = s.cause.message
    for adviser in (_operands, _arguments, _not_that, _of_javascript):
        advice = adviser(s, message)
        if advice is not None:
            return advice
    hint = f" {s.cause.hint}" if s.cause.hint else ""
    return f"Types do not fit{s.where}: {message}.{hint}"


def _operands(s: Situation, message: str) -> str | None:
    if told := _OPERANDS.search(message):
        both = {told[2], told[3]}
        if "NoneType" in both:
            return f"One operand of `{told[1]}` is None{s.where}: return or set a value on every path before it."
        if "str" in both and both & {"int", "float"}:
            return f"`{told[1]}` has a number and a text{s.where}: convert one, with int(...), float(...) or str(...)."
        return f"`{told[1]}` does not take `{told[2]}` and `{told[3]}`{s.where}: convert one of them."
    if told := _CONCATENATED.search(message):
        return f"`+` joins `{told[1]}` to `{told[2]}`{s.where}: convert one, for a text with str(...)."
    if told := _COMPARED.search(message):
        return f"`{told[1]}` cannot compare `{told[2]}` with `{told[3]}`{s.where}: convert one, or give a key."
    return None


def _arguments(s: Situation, message: str) -> str | None:
    if told := _TAKES.search(message):
        return f"`{told[1]}` takes {told[2]} arguments and is given {told[3]}{s.where}: make call and definition agree."
    if told := _MISSING.search(message):
        return f"`{told[1]}` is called without {told[3]}{s.where}: pass it, or give the parameter a default."
    if told := _UNEXPECTED.search(message):
        meant = nearest(told[2], words_of("\n".join(s.lines)))
        return f"`{told[1]}` has no parameter `{told[2]}`{s.where}: " + (
            f"did you mean `{meant}`?" if meant else "remove the argument, or add the parameter."
        )
    return None


def _not_that(s: Situation, message: str) -> str | None:
    if _NONE.search(message):
        return (
            f"None is used as a value{s.where}: a function that returns nothing on some path, or a method that changes "
            "its object and returns None; return the value, or test for None first."
        )
    told = _NOT.search(message)
    if told is None:
        return None
    if told[2] == "callable":
        return f"A `{told[1]}` is called{s.where}: a variable hides a function of its name, or an operator is missing."
    return f"A `{told[1]}` is used{s.where} where one that is {told[2]} is needed: check what the variable holds."


def _of_javascript(s: Situation, message: str) -> str | None:
    if told := _UNDEFINED.search(message):
        owner = re.search(rf"([\w$.\])]+)(?:\.|\[['\"]?){re.escape(told[3])}\b", s.text)
        name = f"`{owner[1]}` is" if owner else "the value before it is"
        return f"`{told[3]}` is asked{s.where} but {name} {told[2]}: check how it is set, or test it first."
    if told := _NO_FUNCTION.search(message):
        member = told[1].rpartition(".")[2]
        from_code = words_of("\n".join(s.lines)) - {member}
        meant = nearest(member, member_names(s.language, None) if "." in told[1] else from_code)
        return f"`{message}`{s.where}: " + (f"did you mean `{meant}`?" if meant else "check its name and its value.")
    if message.startswith("Assignment to constant"):
        return f"A `const` is assigned{s.where}: declare it with `let`."
    return None


def advise_on_value(s: Situation) -> str:
    """Advise on a value of the right type that cannot be used."""
    message = s.cause.message
    if told := _LITERAL.search(message):
        return f"The text {told[1] or told[2]} is not a number{s.where}: strip or split it first, or test it."
    if told := _UNPACKED.search(message):
        got = f", and the value has {told[2]}" if told[2] else ""
        return f"{told[1]} values are expected{s.where}{got}: make both sides agree."
    if "unwrap()" in message:
        return (
            f"`unwrap` meets a missing value or an error{s.where}: handle it with `match`, `if let` or `?` ({message})."
        )
    if "empty" in message:
        return f"An empty sequence is used{s.where} ({message}): test that it has members, or give a default."
    return f"A value cannot be used{s.where}: {message}. Check what reaches this line."


def advise_on_assertion(s: Situation) -> str:
    """Advise on a test that failed: what was expected, what came, and how they differ."""
    message = s.cause.message
    if s.cause.error_class in {"TestsTampered", "TestRunFailed", "TestSkipped"}:
        duty = "The program must compute its answers, and not read, skip or patch tests or print their results."
        return f"The tests were not passed as written: {message}. {duty}"
    call = _ASSERTED_CALL.search(message)
    subject = f"`{call[1]}`" if call else "The program"
    sides = _SIDES.search(message) or _NODE_SIDES.search(message)
    if sides is None:
        culprit = subject[0].lower() + subject[1:]
        return f"A check failed{s.where}: {message or 'its condition is false'}. Correct {culprit}, not the test."
    difference = describe_difference(sides[1].strip(), sides[2].strip())
    return f"{subject} gives {sides[1].strip()} where {sides[2].strip()} is expected: {difference}."


def describe_difference(got: str, expected: str) -> str:
    """Say in which way two literals differ; texts that are no literals are only called different."""
    left, right = _literal(got), _literal(expected)
    if left is None and got == "None":
        return "nothing is returned; a return statement is missing on some path"
    if _are_numbers(left, right):
        return _difference_of_numbers(left, right)
    if type(left) is not type(right):
        return f"the type is {type(left).__name__} and should be {type(right).__name__}"
    if isinstance(left, str):
        return describe_texts(left, right)
    if isinstance(left, list | tuple):
        return _difference_of_sequences(list(left), list(right))
    return "correct the computation"


def _are_numbers(left: Any, right: Any) -> bool:
    return all(
        isinstance(side, int | float) and not isinstance(side, bool) and abs(side) < MAX_COMPARED
        for side in (left, right)
    )


def _difference_of_numbers(left: float, right: float) -> str:
    if abs(left - right) == 1:
        return "off by one; check the bounds of loops and ranges"
    if left == -right:
        return "the sign is wrong"
    if isinstance(left, float) or isinstance(right, float):
        return "check rounding and integer division"
    return "correct the computation"


def _difference_of_sequences(left: list[Any], right: list[Any]) -> str:
    if left == right[::-1]:
        return "the order is reversed"
    if len(left) != len(right):
        return f"it has {len(left)} members and should have {len(right)}"
    if sorted(map(repr, left)) == sorted(map(repr, right)):
        return "the members are right and their order is not"
    first = next(at for at, (a, b) in enumerate(zip(left, right, strict=True)) if a != b)
    return f"the first difference is at index {first}"


def describe_texts(left: str, right: str) -> str:
    """Say in which way two texts differ."""
    if left.split() == right.split():
        return "only white space differs"
    if left.lower() == right.lower():
        return "only upper and lower case differ"
    if left == right[::-1]:
        return "the order is reversed"
    return "correct the text"


def _literal(text: str) -> Any:
    """Read a literal; the text itself when it is none."""
    if len(text) > MAX_LITERAL_CHARS:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
