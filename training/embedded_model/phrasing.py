"""How people ask for a function: one wish as an order, a question, a note, a signature, with slips of the pen.

`ask` turns a family's phrase into what stands in the user's message, and says which names the answer has to use.
Everything is drawn from the `random.Random` given; knows nothing of solutions.
"""

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.embedded_model.families import Family, Phrase
from training.embedded_model.values import ValueType

_LEADS: Final = {
    "N": ("return", "return", "return", "find", "get", "compute", "calculate", "work out"),
    "B": ("check if", "check whether", "return True if", "determine whether", "test if", "tell if"),
}
_ELSE: Final = (", False otherwise", " and False otherwise", ", else False", "", "")

_WORDING: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("wording.toml").read_text(encoding="utf-8"))
_VERBS: Final = frozenset(_WORDING["verbs"].split())
_GENERIC: Final = tuple(_WORDING["names"].split())


def wording(key: str) -> list[str]:
    """Return the templates under *key* of `wording.toml`."""
    return list(_WORDING[key])


@dataclass(frozen=True)
class Asked:
    """A request: its text, the name it gives the function (None: free), and the names of its parameters."""

    text: str
    name: str | None
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class _Wish:
    command: str
    does: str
    statement: str


def ask(family: Family, phrase: Phrase, r: random.Random) -> Asked:
    """Draw a way to ask for *family*, whose parameters are filled in, by one of its phrases."""
    arguments = tuple(name for name, _ in family.arguments)
    if phrase.kind == "Q":
        said = _filled(family, phrase.text, r, None)
        text = _use(r.choice(_WORDING["questions"]), _Wish("", "", ""), q=_lower(said), Q=_upper(said))
        return Asked(slip(_with_statement(text, family, r, 0.5), r), None, arguments)
    style = r.choices(("plain", "named", "signature", "takes"), (50, 25, 17, 8))[0]
    if style == "takes" and (taken := _takes(family, phrase, r)) is not None:
        return Asked(slip(_with_statement(taken, family, r, 0.5), r), None, arguments)
    if style in ("plain", "takes"):
        wish = _wish(family, phrase, r, None)
        text = _use(r.choice(_WORDING["orders"] if r.random() < 0.6 else _WORDING["descriptions"]), wish)
        return Asked(slip(_with_statement(text, family, r, 0.5), r), None, arguments)
    return _named(family, phrase, r, style)


def _named(family: Family, phrase: Phrase, r: random.Random, style: str) -> Asked:
    arguments = _argument_names(family, r)
    name = function_name(family, r)
    wish = _wish(family, phrase, r, arguments)
    hinted = r.random() < 0.6
    parts = zip(arguments, (kind for _, kind in family.arguments), strict=True)
    hints = ", ".join(f"{argument}: {kind.hint}" if hinted else argument for argument, kind in parts)
    returns = f" -> {family.returns}" if hinted and family.returns else ""
    if style == "signature":
        told = _Wish(wish.command + (f". {wish.statement.rstrip('.')}" if wish.statement else ""), wish.does, "")
        text = _use(r.choice(_WORDING["signatures"]), told, f=name, a=", ".join(arguments), h=hints, rt=returns)
        return Asked(text, name, arguments)
    template = r.choice(_WORDING["named_orders"] if r.random() < 0.5 else _WORDING["named_descriptions"])
    text = _use(template, wish, f=name, a=", ".join(arguments))
    shown = arguments if "{a}" in template else tuple(argument for argument, _ in family.arguments)
    if shown != arguments:
        wish = _wish(family, phrase, r, None)
        text = _use(template, wish, f=name)
    return Asked(_with_statement(text, family, r, 0.6), name, shown)


def function_name(family: Family, r: random.Random) -> str:
    """Draw a name that somebody might give the function: its own, another of the family, or one that says nothing."""
    odds = r.random()
    if odds < 0.5 or (odds < 0.85 and not family.names):
        return family.name
    return r.choice(family.names) if odds < 0.85 else r.choice(_GENERIC)


def slip(text: str, r: random.Random) -> str:
    """Leave *text* as it is mostly; else another word for the same, a lost article, a typo, no capital or full stop."""
    odds = r.random()
    if odds < 0.06:
        return _lower(text)
    if odds < 0.09:
        return text.rstrip(".")
    if odds < 0.12:
        return re.sub(r"\b(the|a|an) ", "", text, count=r.randint(1, 2))
    if odds < 0.20:
        old, new = r.choice(_WORDING["swaps"])
        return re.sub(rf"\b{old}\b", new, text)
    return _typo(text, r) if odds < 0.23 else text


def _typo(text: str, r: random.Random) -> str:
    found = [match for match in re.finditer(r"[a-z]{5,}", text) if "_" not in text[match.start() - 1 : match.end() + 1]]
    if not found:
        return text
    word = r.choice(found)
    i = r.randrange(word.start() + 1, word.end() - 1)
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :] if r.random() < 0.5 else text[:i] + text[i + 1 :]


def _wish(family: Family, phrase: Phrase, r: random.Random, arguments: tuple[str, ...] | None) -> _Wish:
    said = _filled(family, phrase.text, r, arguments)
    if phrase.kind == "V":
        command = said
    else:
        lead = r.choice(_LEADS[phrase.kind])
        command = f"{lead} {said}" + (r.choice(_ELSE) if lead == "return True if" else "")
    does = third_person(command)
    return _Wish(command, does, r.choice(family.statements) if family.statements else "")


def third_person(command: str) -> str:
    """Say that something does what *command* orders: "sort them and pick one" becomes "sorts them and picks one"."""
    words = command.split(" ")
    for i, word in enumerate(words):
        follows = i == 0 or words[i - 1] in ("and", "then", "or") or words[i - 1].endswith(",")
        if (i == 0 or word in _VERBS) and follows and word.isalpha():
            words[i] = _conjugated(word)
    return " ".join(words)


def _conjugated(verb: str) -> str:
    if re.search(r"(ch|sh|ss|x|o|z)$", verb):
        return verb + "es"
    return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"


def _takes(family: Family, phrase: Phrase, r: random.Random) -> str | None:
    """Name the first argument before the wish, which then speaks of "it"; None where that makes no sentence."""
    if not family.arguments or phrase.text.count(f"{{{family.arguments[0][0]}}}") != 1:
        return None
    name, kind = family.arguments[0]
    described = next((one for one in kind.descriptions if one.startswith(("a ", "an "))), None)
    if described is None:
        return None
    noun = re.split(r" of | with | like | \(", described.split(" ", 1)[1])[0].split(" ")[-1]
    wish = _wish(family, Phrase(phrase.kind, phrase.text.replace(f"{{{name}}}", f"the {noun}")), r, None)
    return _use(
        r.choice(_WORDING["takes"]),
        wish,
        d=r.choice([one for one in kind.descriptions if one.startswith(("a ", "an "))]),
    )


def _filled(family: Family, text: str, r: random.Random, arguments: tuple[str, ...] | None) -> str:
    """Put descriptions, or the names that the request gives its parameters, in the places of arguments."""
    names = arguments or tuple(name for name, _ in family.arguments)
    for (argument, kind), name in zip(family.arguments, names, strict=True):
        text = text.replace(f"{{{argument}}}", _spoken(kind, name if arguments else None, r))
    return text


def _spoken(kind: ValueType, name: str | None, r: random.Random) -> str:
    described = r.choice(kind.descriptions)
    if name is None:
        return described
    odds = r.random()
    quoted = f"`{name}`" if r.random() < 0.5 else name
    if odds < 0.45:
        return quoted
    return f"{described} {quoted}" if odds < 0.75 else described


def _argument_names(family: Family, r: random.Random) -> tuple[str, ...]:
    """Draw names of parameters: the family's, or others that are usual for their types, all different."""
    own = tuple(name for name, _ in family.arguments)
    if r.random() < 0.5:
        return own
    drawn = tuple(r.choice(kind.names) for _, kind in family.arguments)
    used = {word for solution in family.solutions for word in re.findall(r"\w+", solution)}
    is_free = len(set(drawn)) == len(drawn) and not any(
        new != old and new in used for new, old in zip(drawn, own, strict=True)
    )
    return drawn if is_free else own


def _with_statement(text: str, family: Family, r: random.Random, odds: float) -> str:
    if not family.statements or r.random() >= odds:
        return text
    end = "" if text.endswith((".", "?", "!", ":", "\n")) else "."
    return f"{text}{end} {r.choice(family.statements)}"


def _use(template: str, wish: _Wish, **others: str) -> str:
    """Fill a template by replacing, as wishes may hold braces themselves."""
    values = {"c": wish.command, "C": _upper(wish.command), "t": wish.does, **others}
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
