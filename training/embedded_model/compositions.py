"""Tasks put together: some of the things in a list, something of each, and what becomes of all of them.

A composition is a family of its own, made when it is asked for: its name, phrases and programs follow from its parts in
`compositions.toml`. Whole combinations of three parts are held back from learning.
"""

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.embedded_model.families import Family, Phrase
from training.embedded_model.values import TYPES

_PARTS: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("compositions.toml").read_text(encoding="utf-8"))
_GROUPS: Final = tuple(name for name in _PARTS if name != "reduces")
_GROUP_WEIGHTS: Final = {"ints": 6, "words": 5, "letters": 3, "people": 2, "products": 2, "scores": 2}
_NO_MAP: Final[dict[str, Any]] = {"key": "", "code": ["x"]}
_N_PHRASES: Final = 6
_LOOPS: Final = {
    "list": ("result = []", "result.append({m})", "return result"),
    "sum": ("total = 0", "total += {m}", "return total"),
    "count": ("count = 0", "count += 1", "return count"),
    "product": ("result = 1", "result *= {m}", "return result"),
}


@dataclass(frozen=True)
class Composition:
    """A combination: its family with its only parameters filled in, and what identifies the parts without them."""

    family: Family
    key: str


@dataclass(frozen=True)
class _Part:
    """One part with its parameters filled in."""

    data: dict[str, Any]
    code: str

    def said(self, form: str, r: random.Random) -> str:
        return str(r.choice(self.data[form]))


def compose(r: random.Random) -> Composition:
    """Draw a combination that makes sense."""
    while True:
        group = r.choices(_GROUPS, [_GROUP_WEIGHTS[name] for name in _GROUPS])[0]
        data = _PARTS[group]
        predicate = _draw(data["predicates"], r) if r.random() < 0.85 else None
        mapped = _draw(data["maps"], r) if r.random() < 0.6 else _Part(_NO_MAP, "x")
        reduced = r.choice(_PARTS["reduces"])
        if _makes_sense(data, predicate, mapped, reduced):
            return _composition(group, predicate, mapped, reduced, r)


def _draw(parts: list[dict[str, Any]], r: random.Random) -> _Part:
    """Draw a part, with values in the places of its parameters in every text."""
    part = r.choice(parts)
    value = r.choice(part["values"]) if "values" in part else None
    values = {"A": value[0], "B": value[1]} if isinstance(value, list) else {"K": value}

    def fill(text: Any) -> Any:
        return re.sub(r"<([A-Z])>", lambda found: str(values[found[1]]), text) if isinstance(text, str) else text

    data = {key: [fill(one) for one in text] if isinstance(text, list) else fill(text) for key, text in part.items()}
    return _Part(data, r.choice(data["code"]))


def _makes_sense(data: dict[str, Any], predicate: _Part | None, mapped: _Part, reduced: dict[str, Any]) -> bool:
    gives = mapped.data.get("gives", "number") if mapped.data["key"] else data.get("gives", _kind(data))
    if reduced.get("unmapped") and mapped.data["key"]:
        return False
    if reduced.get("predicate") and predicate is None:
        return False
    if "needs" in reduced and reduced["needs"] != gives:
        return False
    if gives in ("record", "pair") and reduced["key"] not in ("count", "any", "list"):
        return False
    if gives == "pair" and reduced["key"] == "list":
        return False
    is_plain = predicate is None and not mapped.data["key"]
    return not (is_plain and reduced["key"] in ("list", "any", "positions", "first"))


def _kind(data: dict[str, Any]) -> str:
    return "text" if data["argument"] == "words" else "number"


def _composition(
    group: str, predicate: _Part | None, mapped: _Part, reduced: dict[str, Any], r: random.Random
) -> Composition:
    data = _PARTS[group]
    places = [place for place in data["places"] if reduced["key"] != "positions" or place[0] == data["argument"]]
    place = places[0] if r.random() < 0.8 else r.choice(places)
    argument = str(place[1])
    types = data["types"] if argument == data["argument"] else data["place_types"][argument]
    separator = r.choice(reduced["separators"]) if "separators" in reduced else ""
    phrases = tuple(_phrase(data, place[2], predicate, mapped, reduced, r) for _ in range(_N_PHRASES))
    names = [part.data["key"] for part in (mapped, predicate) if part is not None and part.data["key"]]
    key = " ".join((group, place[0], predicate.data["key"] if predicate else "", mapped.data["key"], reduced["key"]))
    name = "_".join([reduced["key"], *names, data["argument"]])
    family = Family(
        kind="function",
        name=name,
        arguments=[(argument, TYPES[r.choice(types)])],
        returns="",
        where=f"composition {key}",
        names=[
            f"get_{name}",
            "_".join([*names, reduced["key"]]) if names else f"find_{name}",
            f"{reduced['key']}_of_{data['argument']}",
        ],
        phrases=[Phrase(kind, text.replace("<S>", separator)) for kind, text in phrases],  # type: ignore[arg-type]
        statements=[one for one in (reduced.get("statement"), predicate and predicate.data.get("statement")) if one],
        solutions=[
            one.replace("<S>", separator) for one in _solutions(data, str(place[0]), predicate, mapped, reduced)
        ],
    )
    return Composition(family, key)


def _phrase(
    data: dict[str, Any], where: str, predicate: _Part | None, mapped: _Part, reduced: dict[str, Any], r: random.Random
) -> tuple[str, str]:
    things = r.choice(data["things"])
    if predicate is not None:
        forms = [form for form in ("before", "after", "instead") if form in predicate.data]
        form = r.choice(forms)
        said = predicate.said(form, r)
        things = {"before": f"{said} {things}", "after": f"{things} {said}", "instead": said}[form]
        is_after = form == "after"
    else:
        is_after = False
    # "numbers in a list that are even", "even numbers in a list"
    placed = f"{things} {where}" if not is_after or r.random() < 0.3 else things.replace(" ", f" {where} ", 1)
    every = placed
    if mapped.data["key"]:
        mode = r.choice([mode for mode in ("of", "each") if mode in mapped.data])
        said = mapped.said(mode, r)
        every = f"{said} the {placed}" if mode == "of" else f"{placed}, each {said}"
    if "ask" in reduced:
        return "B", r.choice(reduced["ask"]).replace("{all}", every)
    say = r.choice(reduced["say"])
    article = "" if say.startswith(("how many", "all ")) or "distinct" in say or "different" in say else "the "
    return "N", say.replace("{all}", article + every)


def _solutions(
    data: dict[str, Any], place: str, predicate: _Part | None, mapped: _Part, reduced: dict[str, Any]
) -> list[str]:
    values = {
        "m": mapped.code if mapped.data["key"] else "x",
        "xs": place,
        "if": f" if {predicate.code}" if predicate else "",
        "p": predicate.code if predicate else "True",
    }
    bodies = [f"return {code}" for code in reduced.get("code", ())] + ([reduced["lines"]] if "lines" in reduced else [])
    solutions = [_fill(body, values) for body in bodies]
    if reduced["key"] in _LOOPS:
        start, step, end = _LOOPS[reduced["key"]]
        inner = [f"    if {values['p']}:", f"        {step}"] if predicate else [f"    {step}"]
        solutions.append(_fill("\n".join([start, "for x in {xs}:", *inner, end]), values))
    head = reduced["head"] + "\n" if "head" in reduced else ""
    return [head + _tidied(_one(solution, data["one"]), place) for solution in solutions]


def _fill(body: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(m|xs|if|p)\}", lambda found: values[found[1]], body)


def _one(solution: str, name: str) -> str:
    """Call one thing by its name; entries of a dictionary are two."""
    target = f"[({name}) for" if "," in name else f"[{name} for"
    return re.sub(r"(?<![\w.'])x(?![\w'])", name, solution.replace("[x for", target))


def _tidied(solution: str, place: str) -> str:
    """Take off what a comprehension does not need: `sorted(n for n in numbers)` is `sorted(numbers)`."""
    form = rf"return (?!next)(\w+)\(\(?(\w+) for \2 in {re.escape(place)}\)?(, default=None|, reverse=True|)\)"
    plain = re.fullmatch(form, solution)
    return f"return {plain[1]}({place}{plain[3]})" if plain else solution
