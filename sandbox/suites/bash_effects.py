"""What a statement of bash tests can do: fail, or change a variable that later statements look at.

A test that only prints PASS or FAIL checks nothing, and tests that count their failures can only be judged together.
Read from text, by words: what is not understood counts as a command that may fail and changes nothing.
"""

import re

_LITERALS = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|(?:^|(?<=\s))#.*", re.MULTILINE)
_INNER = re.compile(r"\$\(\([^()]*\)\)|\$\([^()]*\)|`[^`]*`|\$\{[^}]*\}|<\([^()]*\)")
_SPLIT = re.compile(r"[;\n]|\b(?:then|else|do)\b(?=\s)")
_ENDS = re.compile(r"^(?:(?:fi|done|esac|[{}])(?:\s+|$))+")
_CONDITION = re.compile(r"^(?:if|elif|while|until)\s")
_QUIET = re.compile(
    r"^(?:(?:echo|printf|:|true|local|declare|readonly|export)\b.*|[A-Za-z_]\w*\+?=\S*|return\s+0|for\s.*)?$"
)
_ASSIGNED = re.compile(
    r"(?<![\w$=-])(?P<one>[A-Za-z_]\w*)(?:\[[^\]]*\])?\+?=(?!=)|\(\(\s*(?P<two>[A-Za-z_]\w*)\s*(?:\+\+|--|[-+*/%]?=(?!=))"
    r"|\(\(\s*(?:\+\+|--)(?P<three>[A-Za-z_]\w*)"
)
_LOCAL = re.compile(r"\b(?:local|declare|typeset)\b(?:\s+-\w+)*((?:\s+[A-Za-z_]\w*(?:=\S*)?)+)")


def plain(text: str) -> str:
    """Return the text with literals and what is computed inside of words replaced by one letter."""
    text = _LITERALS.sub(lambda match: " " if match[0].startswith("#") else "Q", text)
    while (shorter := _INNER.sub("Q", text)) != text:
        text = shorter
    return text


def can_fail(text: str) -> bool:
    """Tell whether a statement, or the body of a function, may end with another status than 0, or end the test."""
    for part in _SPLIT.split(plain(text.replace("\\\n", " "))):
        command = _ENDS.sub("", part.strip()).strip()
        if not command or _CONDITION.match(command):
            continue
        if not _QUIET.match(re.split(r"\|\||&&", command)[-1].strip()) or ("&&" in command and "||" not in command):
            return True
    return False


def assigned(text: str, functions: dict[str, str]) -> set[str]:
    """Return the variables that a statement may change, also through functions of the tests that it calls."""
    pending, seen, found = [text], {""}, set()
    while pending:
        code = pending.pop()
        bare = plain(code)
        own = {name for match in _LOCAL.finditer(bare) for name in re.findall(r"([A-Za-z_]\w*)(?:=\S*)?", match[1])}
        found |= {match["one"] or match["two"] or match["three"] for match in _ASSIGNED.finditer(bare)} - own
        called = {
            name for name in functions if name not in seen and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", bare)
        }
        seen |= called
        pending += [functions[name] for name in called]
    return found


def reads(text: str, names: set[str]) -> bool:
    """Tell whether a statement looks at one of these variables."""
    return any(re.search(rf"\$\{{?[#!]?{name}\b|\(\([^)]*\b{name}\b", text) for name in names)


def writes(text: str) -> bool:
    """Tell whether a statement writes to a file, or says what is to be done at the end."""
    return re.search(r"(?<![0-9&<>])>>?\s*(?!/dev/null|[&(>\s])", plain(text)) is not None or text.lstrip().startswith(
        "trap"
    )
