"""JSON strings as GBNF: any string, and those of the formats that JSON schemas name.

Strings are good JSON after parsing: no raw control characters, no halves of surrogate pairs. A format's rule is
narrower than the format where the whole of it would take a program: days are those that every February has.
"""

from mcp_server.engine.grammar.gbnf import Rules

MAX_KEY_CHARS = 40  # of a key that is not declared; without an end, a random model would never come to its value
HEX = "[0-9a-fA-F]"
# `\u` of a half of a surrogate pair is left out: a parser would count two of them as one character, or refuse.
STRING_CHAR = (
    r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-Ce-fE-F] [0-9a-fA-F] | [dD] [0-7]) [0-9a-fA-F]{2})'
)
_MONTH_DAY = (
    '("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
    ' | ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30")'
    ' | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
)
DATE = f'("19" | "20") [0-9]{{2}} "-" ({_MONTH_DAY})'
_HOUR_MINUTE = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
TIME = f'{_HOUR_MINUTE} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [+-] {_HOUR_MINUTE})'
_OCTET = '(([1-9]? [0-9]) | "1" [0-9]{2} | "2" ([0-4] [0-9] | "5" [0-5]))'
_LABEL = "[a-z0-9] ([a-z0-9-]{0,20} [a-z0-9])?"
_HOST = f'{_LABEL} ("." {_LABEL}){{1,3}}'
_PATH = '("/" [a-zA-Z0-9._~-]{1,32}){0,6}'

FORMATS = {
    "date": DATE,
    "time": TIME,
    "date-time": f'{DATE} "T" {TIME}',
    "uuid": f'{HEX}{{8}} "-" {HEX}{{4}} "-" {HEX}{{4}} "-" {HEX}{{4}} "-" {HEX}{{12}}',
    "ipv4": f'{_OCTET} ("." {_OCTET}){{3}}',
    "email": f'[a-z0-9] ([a-z0-9._-]{{0,24}} [a-z0-9])? "@" {_HOST}',
    "hostname": _HOST,
    "uri": f'"http" "s"? "://" {_HOST} {_PATH}',
    "duration": '"P" ([1-9] [0-9]{0,2} [DWMY] | "T" [1-9] [0-9]{0,2} [HMS])',
}


def char_rule(rules: Rules) -> str:
    """Give the rule of one character inside a string."""
    return rules.add(STRING_CHAR, "char")


def space_rule(rules: Rules) -> str:
    """Give the rule of what may stand between tokens: little enough for a model that likes spaces to go on."""
    return rules.add(r'(" " | "\n" [ \t]{0,20})?', "space")


def quoted(body: str) -> str:
    """Write a JSON string around a body."""
    return rf'"\"" ({body}) "\""'


def other_key(rules: Rules, names: tuple[str, ...]) -> str:
    """Give the body of a key that is none of `names`, written without backslashes."""
    return _other(rules, tuple(sorted(set(names))))


def _other(rules: Rules, names: tuple[str, ...]) -> str:
    plain, most = r'[^"\\\x00-\x1F\x7F]', MAX_KEY_CHARS
    firsts = sorted({name[0] for name in names if name})
    if not firsts:
        return rules.add(f"{plain}{{{int('' in names)},{most}}}", "key")
    from_others = "".join(f"\\U{ord(char):08X}" for char in firsts)
    alternatives = [rf'[^"\\\x00-\x1F\x7F{from_others}] {plain}{{0,{most}}}']
    for char in firsts:
        rests = tuple(name[1:] for name in names if name[:1] == char)
        alternatives.append(f'"\\U{ord(char):08X}" {_other(rules, rests)}')
    body = "(" + " | ".join(alternatives) + ")"
    return rules.add(body if "" in names else f"{body}?", "key")
