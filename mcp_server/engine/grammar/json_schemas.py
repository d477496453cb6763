"""Reading JSON schemas: references followed, `allOf` joined, alternatives spread out; no grammar here.

What comes out are plain schemas: objects without `$ref`, `allOf`, `anyOf` and `oneOf` at their own level.
"""

import json
from collections.abc import Callable
from typing import Any

MAX_ALTERNATIVES = 256  # of one place; `anyOf` inside `allOf` multiplies
MAX_PARTS = 1024  # looked at for one place; what leads in a circle would look at more and more
TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

_SPECIAL = ("$ref", "allOf", "anyOf", "oneOf")
_ANNOTATIONS = (
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$defs",
    "definitions",
)
_HIGHEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_LOWEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
# Which type a schema without one means, by the words that it uses.
_HINTS = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class SchemaReader:
    """One document, to which its references point."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._n_parts = 0  # looked at for the present place

    def alternatives(self, schema: Any) -> list[dict[str, Any]]:
        """Give the plain schemas of which a value must satisfy one.

        Raises:
            ValueError: A reference leads nowhere or in a circle, or there are too many alternatives.
        """
        self._n_parts = 0
        return self._spread(schema)

    def constants(self, schema: dict[str, Any]) -> list[Any] | None:
        """Give the values that a plain schema lists, those of another type left out; None when it lists none."""
        if "const" in schema:
            values = [schema["const"]]
            values = [value for value in values if "enum" not in schema or value in schema["enum"]]
        elif isinstance(schema.get("enum"), list):
            values = schema["enum"]
        else:
            return None
        wanted = _named_types(schema)
        return values if wanted is None else [value for value in values if _is_of(value, wanted)]

    def _spread(self, schema: Any) -> list[dict[str, Any]]:
        self._n_parts += 1
        if self._n_parts > MAX_PARTS:
            msg = "its references lead in a circle, or one place of it has too many parts"
            raise ValueError(msg)
        if schema is True:
            return [{}]
        if schema is False:
            return []
        if not isinstance(schema, dict):
            msg = f"a part of it is {json.dumps(schema)[:40]} instead of a schema"
            raise ValueError(msg)  # noqa: TRY004  # a bad schema is a bad value, whatever is bad about it
        own = {key: value for key, value in schema.items() if key not in (*_SPECIAL, *_ANNOTATIONS)}
        found = [own]
        if "$ref" in schema:
            found = _joined(found, self._spread(self._target(schema["$ref"])))
        for part in _listed(schema, "allOf"):
            found = _joined(found, self._spread(part))
        for word in ("anyOf", "oneOf"):
            if word in schema:
                choices = [plain for part in _listed(schema, word) for plain in self._spread(part)]
                found = _joined(found, choices)
        return found

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not reference.startswith("#"):
            msg = f"the reference {str(reference)[:60]!r} is not to a part of the schema itself"
            raise ValueError(msg)
        part = self._document
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                part = part[int(key)] if isinstance(part, list) else part[key]
            except (LookupError, TypeError, ValueError) as error:
                msg = f"the reference {reference[:60]!r} leads nowhere"
                raise ValueError(msg) from error
        return part


def types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    """Give the types that a plain schema allows; one without a type means what its words are about, or any.

    Raises:
        ValueError: A type is none of JSON's.
    """
    named = _named_types(schema)
    if named is None:
        hinted = tuple(name for name, words in _HINTS.items() if any(word in schema for word in words))
        return hinted or tuple(name for name in TYPES if name != "integer")
    if unknown := [name for name in named if name not in TYPES]:
        msg = f"{str(unknown[0])[:40]!r} is not a type of JSON"
        raise ValueError(msg)
    return tuple(name for name in named if name != "integer" or "number" not in named)


def _named_types(schema: dict[str, Any]) -> list[Any] | None:
    if "type" not in schema:
        return None
    return schema["type"] if isinstance(schema["type"], list) else [schema["type"]]


def _is_of(value: Any, types: list[Any]) -> bool:
    kinds = {bool: ("boolean",), int: ("integer", "number"), float: ("number",), str: ("string",)}
    kinds |= {type(None): ("null",), list: ("array",), dict: ("object",)}
    return any(kind in types for kind in kinds.get(type(value), ()))


def _listed(schema: dict[str, Any], word: str) -> list[Any]:
    parts = schema.get(word, [])
    if not isinstance(parts, list):
        msg = f"`{word}` is not a list"
        raise ValueError(msg)  # noqa: TRY004  # as above
    return parts


def _joined(ones: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join every one with every other, leaving out what contradicts itself."""
    if len(ones) * len(others) > MAX_ALTERNATIVES:
        msg = f"it has more than {MAX_ALTERNATIVES} alternatives in one place"
        raise ValueError(msg)
    pairs = (_both(one, other) for one in ones for other in others)
    return [both for both in pairs if both is not None]


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any] | None:
    """Join two plain schemas; None when no value satisfies both by type or by list."""
    both = one | other
    for word in one.keys() & other.keys():
        joined = _word(word, one[word], other[word])
        if joined is None:
            return None
        both[word] = joined
    if "const" in one and "const" in other and one["const"] != other["const"]:
        return None
    return both


def _word(word: str, one: Any, other: Any) -> Any:
    """Join the two values of one word; None when nothing satisfies both."""
    if word == "type":
        return _common_types(one, other)
    if word == "enum":
        return [value for value in one if value in other] or None
    joiners: dict[str, Callable[[Any, Any], Any]] = {
        **dict.fromkeys(_HIGHEST, max),
        **dict.fromkeys(_LOWEST, min),
        **dict.fromkeys(("properties", "patternProperties"), _joined_properties),
        **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _all_of),
        "required": lambda one, other: list(dict.fromkeys([*one, *other])),
    }
    return joiners[word](one, other) if word in joiners else other


def _joined_properties(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return one | {name: _all_of(one[name], part) if name in one else part for name, part in other.items()}


def _all_of(one: Any, other: Any) -> Any:
    if one == other:
        return one
    return False if False in (one, other) else {"allOf": [one, other]}


def _common_types(one: Any, other: Any) -> list[Any] | None:
    first, second = ([types] if isinstance(types, str) else types for types in (one, other))
    common = [name for name in first if name in second]
    if "integer" not in common and (
        ("integer" in first and "number" in second) or ("number" in first and "integer" in second)
    ):
        common.append("integer")
    return common or None
