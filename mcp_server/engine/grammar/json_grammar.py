"""JSON schemas as GBNF: whatever the grammar allows is valid against the schema, as far as a grammar can say it.

Forced: types, properties and their order as declared, required ones, enumerations, bounds and multiples of numbers,
lengths, patterns, formats, numbers of items, references, alternatives, and what `allOf` joins. Objects with declared
properties get no others unless `additionalProperties` allows them by name. A grammar cannot force `not`, `if`,
`contains`, `uniqueItems`, `dependentRequired`, `minProperties` beside declared ones, that just one of `oneOf` holds, or
a pattern and a length at once: who needs them validates the finished text and asks again within its budget.
"""

import json
from fractions import Fraction
from math import isfinite
from typing import Any

from mcp_server.engine.grammar.gbnf import Rules, either, literal, repeat
from mcp_server.engine.grammar.json_schemas import SchemaReader, types_of
from mcp_server.engine.grammar.json_strings import FORMATS, char_rule, other_key, quoted, space_rule
from mcp_server.engine.grammar.number_grammar import MAX_BOUND_DIGITS, Range, integer_rule, number_rule
from mcp_server.engine.grammar.regex_grammar import regex_body

MAX_REPETITIONS = 512  # items or characters; the native parser makes a rule for each, and refuses 2,000
FREE_NUMBER = '"-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?'
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def json_grammar(schema: Any) -> str:
    """Convert a schema; the grammar's rule is `root`.

    Raises:
        ValueError: The schema cannot be expressed, or allows nothing.
    """
    return _Converter(schema).convert()


class _Converter:
    """One conversion: the schema's parts become rules, each part once."""

    def __init__(self, schema: Any) -> None:
        self._rules = Rules()
        self._reader = SchemaReader(schema)
        self._schema = schema
        self._known: dict[str, str] = {}  # a part of the schema as JSON: its rule
        self._space = space_rule(self._rules)
        self._char = char_rule(self._rules)

    def convert(self) -> str:
        return self._rules.text(self._value(self._schema))

    def _value(self, schema: Any) -> str:
        """Give the rule of a part; a part that contains itself refers to the same rule."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self._known:
            self._known[key] = name = self._rules.reserve("v")
            self._rules.define(name, either(self._alternatives(schema)))
        return self._known[key]

    def _alternatives(self, schema: Any) -> list[str]:
        """Give a body for each form that the value may have.

        Raises:
            ValueError: There is none, or one cannot be expressed.
        """
        bodies: list[str] = []
        for plain in self._reader.alternatives(schema):
            constants = self._reader.constants(plain)
            if constants is not None:
                bodies += [literal(json.dumps(value, ensure_ascii=False)) for value in constants]
            else:
                bodies += [self._typed(plain, name) for name in types_of(plain)]
        if not bodies:
            msg = "no value is valid against a part of it"
            raise ValueError(msg)
        return bodies

    def _typed(self, schema: dict[str, Any], name: str) -> str:
        makers = {"object": self._object, "array": self._array, "string": self._string}
        if name in makers:
            return makers[name](schema)
        if name == "boolean":
            return '"true" | "false"'
        if name == "null":
            return '"null"'
        bounds = _range(schema)
        if name == "integer":
            return integer_rule(self._rules, bounds)
        return number_rule(self._rules, bounds) if bounds != Range() else FREE_NUMBER

    def _string(self, schema: dict[str, Any]) -> str:
        least, most = _counts(schema, "minLength", "maxLength")
        pattern, wanted = schema.get("pattern"), schema.get("format")
        if isinstance(pattern, str):
            return quoted(regex_body(pattern, self._char))
        if wanted in FORMATS:
            return quoted(FORMATS[wanted])
        return quoted(repeat(self._char, least, most))

    def _array(self, schema: dict[str, Any]) -> str:
        least, most = _counts(schema, "minItems", "maxItems")
        firsts = schema.get("prefixItems", schema["items"] if isinstance(schema.get("items"), list) else [])
        later = schema.get("additionalItems", {}) if isinstance(schema.get("items"), list) else schema.get("items", {})
        firsts = firsts[:most]
        comma = f'"," {self._space}'
        body = self._later_items(later, max(least - len(firsts), 0), most, n_before=len(firsts))
        for position, item in reversed(list(enumerate(firsts))):
            here = f"{comma if position else ''} {self._value(item)} {body}".strip()
            body = here if position < least else f"({here})?"
        return f'"[" {self._space} {body} {self._space} "]"' if body else f'"[" {self._space} "]"'

    def _later_items(self, schema: Any, least: int, most: int | None, *, n_before: int) -> str:
        left = None if most is None else most - n_before
        if schema is False or left == 0:
            if least:
                msg = "an array must have more items than it may"
                raise ValueError(msg)
            return ""
        item = self._value(schema)
        follower = f'("," {self._space} {item})'
        if n_before:
            return repeat(follower, least, left)
        rest = repeat(follower, max(least - 1, 0), None if left is None else left - 1)
        return f"{item} {rest}" if least else f"({item} {rest})?"

    def _object(self, schema: dict[str, Any]) -> str:
        properties = dict(schema.get("properties", {}))
        required = [name for name in schema.get("required", ()) if isinstance(name, str)]
        extra = schema.get("additionalProperties", not properties)
        properties |= {name: {} if isinstance(extra, bool) else extra for name in required if name not in properties}
        usable = {name: part for name, part in properties.items() if part is not False}
        if missing := set(required) - set(usable):
            msg = f"the required property {min(missing)[:40]!r} may not be there"
            raise ValueError(msg)
        extras = self._extras(schema, extra, tuple(properties))
        body = self._properties(usable, set(required), extras, _counts(schema, "minProperties", "maxProperties"))
        return f'"{{" {self._space} {body} {self._space} "}}"'

    def _extras(self, schema: dict[str, Any], extra: Any, names: tuple[str, ...]) -> str:
        """Give an item of an object that is not declared by name; "" when there may be none."""
        patterns = schema.get("patternProperties") or {}
        pairs = [(quoted(regex_body(pattern, self._char)), part) for pattern, part in patterns.items()]
        if not pairs and extra is not False:
            wanted = schema.get("propertyNames")
            key = quoted(other_key(self._rules, names)) if wanted is None else self._value({"type": "string"} | wanted)
            pairs = [(key, {} if extra is True else extra)]
        items = [f'{key} ":" {self._space} {self._value(part)}' for key, part in pairs if part is not False]
        return self._rules.add(either(items), "extra") if items else ""

    def _properties(
        self, parts: dict[str, Any], required: set[str], extras: str, counts: tuple[int, int | None]
    ) -> str:
        """Give what stands between the braces: each property in its place, or left out where it may be."""
        least, most = counts
        comma = f'"," {self._space}'
        if not parts:
            following = repeat(f"({comma} {extras})", max(least - 1, 0), None if most is None else max(most - 1, 0))
            many = f"{extras} {following}" if extras and most != 0 else '""'
            return many if least else f"({many})?"
        n_extras = None if most is None else max(most - len(parts), 0)
        after = first = '""'  # what follows when something stands before, and when nothing does yet
        if extras and n_extras != 0:
            after = repeat(f"({comma} {extras})", 0, n_extras)
            first = f"({extras} {repeat(f'({comma} {extras})', 0, n_extras and n_extras - 1)})?"
        for name, part in reversed(parts.items()):
            key = literal(json.dumps(name, ensure_ascii=False))
            item = f'{key} ":" {self._space} {self._value(part)}'
            begun, opened = f"{comma} {item} {after}", f"{item} {after}"
            if name not in required:
                begun, opened = f"({begun}) | {after}", f"({opened}) | {first}"
            after, first = self._rules.add(begun, "after"), self._rules.add(opened, "first")
        return first


def _counts(schema: dict[str, Any], least: str, most: str) -> tuple[int, int | None]:
    """Give lower and upper bound of a number of things; an upper one that is too large to express is left out.

    Raises:
        ValueError: They allow nothing, or the lower one is too large.
    """
    low, high = int(schema.get(least, 0)), schema.get(most)
    if low > MAX_REPETITIONS:
        msg = f"`{least}` is above {MAX_REPETITIONS}"
        raise ValueError(msg)
    if high is not None and int(high) < low:
        msg = f"`{most}` is below `{least}`"
        raise ValueError(msg)
    return low, None if high is None or high > MAX_REPETITIONS else int(high)


def _range(schema: dict[str, Any]) -> Range:
    """Read the bounds of a number, in the way of 2020-12 or with the booleans of draft 4."""
    low, high, above, below, step = (_fraction(schema.get(name)) for name in _BOUNDS)
    excludes_low, excludes_high = schema.get("exclusiveMinimum") is True, schema.get("exclusiveMaximum") is True
    if above is not None and (low is None or above >= low):
        low, excludes_low = above, True
    if below is not None and (high is None or below <= high):
        high, excludes_high = below, True
    if step is not None and step <= 0:
        msg = "`multipleOf` is not above 0"
        raise ValueError(msg)
    return Range(low, high, excludes_low, excludes_high, step)


def _fraction(value: Any) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) >= 10**MAX_BOUND_DIGITS:  # before any float, which has an end
        msg = f"a bound has more than {MAX_BOUND_DIGITS} digits"
        raise ValueError(msg)
    if not isfinite(value):
        msg = f"a bound is {value}"
        raise ValueError(msg)
    return Fraction(str(value))
