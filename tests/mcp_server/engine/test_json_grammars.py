"""Grammars made of JSON schemas, against jsonschema, `re` and plain arithmetic, which know what is valid."""

import json
import random
import re
from itertools import product
from typing import Any

import jsonschema
import pytest

from mcp_server.engine.async_engine import AsyncEngine
from mcp_server.engine.grammar.grammar import schema_grammar
from mcp_server.engine.types import GenerationRequest, Message, SamplingParams
from mcp_server.errors import InvalidRequestError
from tests.example_schemas import EXAMPLE_SCHEMAS

pytestmark = pytest.mark.anyio


@pytest.fixture
def engine(shared_engine: AsyncEngine) -> AsyncEngine:
    return shared_engine


@pytest.mark.timeout(60)
@pytest.mark.parametrize("n_samples", [2, pytest.param(8, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("name", EXAMPLE_SCHEMAS)
async def test_every_sample_of_a_schema_parses_and_is_valid(engine: AsyncEngine, name: str, n_samples: int) -> None:
    """`benchmarks/schemas.py` draws 200 of each."""
    schema = EXAMPLE_SCHEMAS[name]
    sampling = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, seed=1000, max_tokens=900, json_schema=schema)
    result = await engine.generate(GenerationRequest((Message("user", name),), n=n_samples, sampling=sampling))
    checker = jsonschema.validators.validator_for(schema).FORMAT_CHECKER
    for completion in result.completions:
        assert completion.finish_reason == "stop"
        jsonschema.validate(json.loads(completion.text), schema, format_checker=checker)


@pytest.mark.parametrize(
    "bounds",
    [
        {"minimum": 0},
        {"minimum": -7, "maximum": 23},
        {"exclusiveMinimum": 9, "exclusiveMaximum": 101},
        {"minimum": 99, "maximum": 100},
        {"maximum": -10},
        {"minimum": 7.5, "maximum": 12.5},
        {"minimum": 5, "exclusiveMinimum": True},
        {"multipleOf": 7, "minimum": -40, "maximum": 120},
        {"multipleOf": 2.5, "minimum": 0},
        {"minimum": 3, "maximum": 3},
    ],
    ids=str,
)
def test_integers_are_allowed_just_when_they_are_within_their_bounds(drawer: Any, bounds: dict[str, Any]) -> None:
    schema = {"type": "integer"} | bounds
    grammar = schema_grammar(schema)
    draft = jsonschema.Draft4Validator if bounds.get("exclusiveMinimum") is True else jsonschema.Draft202012Validator
    valid = draft(schema)
    for number in (*range(-45, 130), 10**6):
        assert drawer.accepts(grammar, str(number)) == valid.is_valid(number), number
    assert not any(drawer.accepts(grammar, text) for text in ("-0", "007", "1.", "+4", "", "1e1"))


@pytest.mark.parametrize(
    "bounds",
    [
        {"minimum": 0, "maximum": 1},
        {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"minimum": -0.25, "maximum": 0.05},
        {"minimum": 1.5},
        {"maximum": -2},
        {"multipleOf": 0.25, "minimum": -1, "maximum": 1},
        {"minimum": 0.001, "maximum": 0.0019},
    ],
    ids=str,
)
def test_numbers_are_allowed_just_when_they_are_within_their_bounds(drawer: Any, bounds: dict[str, Any]) -> None:
    schema = {"type": "number"} | bounds
    grammar = schema_grammar(schema)
    valid = jsonschema.Draft202012Validator(schema)
    generator = random.Random(5)  # noqa: S311  # a test's choices, not a secret
    texts = [
        f"{sign}{whole}{rest}" for sign, whole, rest in product(("", "-"), (0, 1, 2, 17), ("", ".5", ".25", ".05"))
    ]
    texts += [f"{generator.uniform(-2, 2):.{generator.randint(1, 5)}f}" for _ in range(60)]
    texts += ["0.001", "0.0011", "0.00190", "0.0019", "0.002", "1.49999", "1.500001"]
    for text in texts:
        if float(text) or not text.startswith("-"):
            assert drawer.accepts(grammar, text) == valid.is_valid(float(text)), text


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[a-z]{2,4}$", ("ab", "abcd"), ("a", "abcde", "aB")),
        ("^(foo|ba[rz])+$", ("foo", "barbaz"), ("", "ba")),
        (r"^\d{3}-\d{4}$", ("555-1234",), ("5551234", "555-12345")),
        (r"^\$?\w+\.(jpg|png)$", ("$a_1.jpg", "x.png"), ("x.gif", ".png")),
        ("^[^0-9]$", ("a", "\u4e16"), ("7", "")),
        ("b", ("b", "abc"), ("a", "")),
        ("^a", ("a", "ab"), ("ba",)),
        ("a$|^b", ("xa", "bx"), ("ax", "xb")),
        ("^.?$", ("", "x", "\u00e9"), ("xy",)),
        (r"^[\]\-^]+$", ("]-^",), ("a",)),
        (r"^\u00e9\x41$", ("\u00e9A",), ("eA",)),
        (r"^(?:a|b)?(?<name>c*?)$", ("", "a", "bcc"), ("ab",)),
        ("^(?!x)", (), ()),
        (r"^(a)\1$", (), ()),
    ],
)
def test_patterns_allow_what_matches_them(
    drawer: Any, pattern: str, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    schema = {"type": "string", "pattern": pattern}
    if not good:
        with pytest.raises(InvalidRequestError, match="pattern"):
            schema_grammar(schema)
        return
    grammar = schema_grammar(schema)
    own = pattern.replace("(?<", "(?P<")
    for text in (*good, *bad):
        assert bool(re.search(own, text)) == (text in good)
        assert drawer.accepts(grammar, json.dumps(text, ensure_ascii=False)) == (text in good), text


def test_quotes_and_backslashes_of_a_pattern_are_escaped_in_json(drawer: Any) -> None:
    grammar = schema_grammar({"type": "string", "pattern": r'^["\\\n]{3}$'})
    assert drawer.accepts(grammar, json.dumps('"\\\n'))
    assert not drawer.accepts(grammar, '"""""')


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"const": {"a": [1, None]}}, ('{"a": [1, null]}',), ("{}",)),
        ({"type": "string", "enum": ["x", 1]}, ('"x"',), ("1",)),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ('"ab"', '"\\n\\u00e9c"'), ('"a"', '"abcd"')),
        ({"type": "string"}, ('"\\u00e9"', '"\u4e16"'), ('"\\ud800"', '"\\x"', '"')),
        ({"type": ["integer", "null"]}, ("3", "null"), ("3.5", '"3"')),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}, ("[true,false]",), ("[]",)),
        ({"type": "array", "maxItems": 0}, ("[]",), ("[1]",)),
        ({"prefixItems": [{"const": 1}, {"const": 2}], "items": False}, ("[]", "[1]", "[1,2]"), ("[2]", "[1,2,3]")),
        ({"prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2}, ("[1,2]", "[1,2,2]"), ("[1]",)),
        ({"type": "array", "items": [{"const": 1}]}, ("[1]", "[1,{}]"), ("[2]",)),
        ({"properties": {"a": {}, "b": {}}, "required": ["b"]}, ('{"b":1}', '{"a":[],"b":1}'), ('{"a":1}', "{}")),
        ({"properties": {"a": {"const": 1}, "b": {"const": 2}}}, ("{}", '{"a":1}', '{"b":2}'), ('{"c":1}', '{"a":1,}')),
        ({"required": ["x"]}, ('{"x":1}',), ("{}",)),
        ({"type": "object", "additionalProperties": {"type": "null"}}, ("{}", '{"k":null}'), ('{"k":1}',)),
        (
            {"properties": {"ab": {"const": 1}}, "additionalProperties": {"const": 2}},
            ('{"ab":1}', '{"a":2}', '{"abc":2,"b":2}', '{"ab":1,"":2}'),
            ('{"ab":2}', '{"a":1}', '{"\\u0061b":2}'),
        ),
        (
            {"properties": {"a": {"const": 1}}, "additionalProperties": {"const": 2}, "maxProperties": 2},
            ("{}", '{"a":1,"b":2}', '{"b":2}'),
            ('{"a":1,"b":2,"c":2}',),
        ),
        ({"type": "object", "propertyNames": {"pattern": "^k"}, "maxProperties": 1}, ('{"k1":0}',), ('{"x":0}',)),
        ({"anyOf": [{"const": 1}, {"minLength": 2}], "type": "string"}, ('"ab"',), ('"a"', "1")),
        ({"allOf": [{"type": "number", "minimum": 3}, {"type": "integer", "maximum": 4}]}, ("3", "4"), ("5", "3.5")),
        ({"$defs": {"a/b": {"const": 1}}, "$ref": "#/$defs/a~1b"}, ("1",), ("2",)),
        ({"type": "string", "format": "date"}, ('"2024-02-28"', '"1999-12-31"'), ('"2023-02-30"', '"2023-13-01"')),
        ({"type": "string", "format": "time"}, ('"23:59:59Z"', '"00:00:00.5+01:30"'), ('"24:00:00Z"', '"1:00:00Z"')),
        ({"format": "uuid"}, ('"123e4567-e89b-12d3-a456-426614174000"',), ('"123e4567"',)),
        ({"format": "ipv4"}, ('"255.0.10.249"',), ('"256.0.0.1"', '"01.0.0.1"')),
        (True, ("null", '[{"a":1.5e3}]'), ("nul",)),
    ],
    ids=str,
)
def test_a_schema_allows_what_is_valid_and_nothing_else(
    drawer: Any, schema: Any, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    grammar = schema_grammar(schema)
    for text in good:
        assert drawer.accepts(grammar, text), text
        assert drawer.accepts(grammar, text.replace(",", ", ").replace(":", ":\n  ")) or '"' in text
    for text in bad:
        assert not drawer.accepts(grammar, text), text


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "array", "minItems": 3, "prefixItems": [{}], "items": False},
        {"type": "array", "minItems": 3, "maxItems": 2},
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1},
        {"type": "integer", "minimum": 1e300},
        {"type": "integer", "minimum": 10**400},
        {"type": "integer", "multipleOf": 10**400},
        {"type": "string", "minLength": 10**400},
        {"type": "integer", "multipleOf": 0},
        {"type": "integer", "multipleOf": 1013},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"$ref": "#/nowhere"},
        {"anyOf": [{"$ref": "#"}]},
        {"properties": 3},
        {"type": "array", "items": "string"},
        {"pattern": "^(" * 3000},
        {"pattern": "^a{3,2}$"},
        {"pattern": "^[z-a]$"},
        {"enum": []},
        {"const": 1, "type": "string"},
        {"minLength": "many", "type": "string"},
        {"allOf": [{"anyOf": [{"minimum": i} for i in range(20)]} for _ in range(4)]},
    ],
    ids=lambda schema: str(schema)[:40],
)
def test_a_schema_that_cannot_be_forced_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        schema_grammar(schema)
    assert caught.value.param == "json_schema"
    assert len(caught.value.message) < 400


def test_whitespace_is_bounded_so_that_a_model_that_likes_it_goes_on(drawer: Any) -> None:
    grammar = schema_grammar({"type": "array", "items": {"type": "null"}})
    assert drawer.accepts(grammar, "[\n" + " " * 20 + "null]")
    assert not drawer.accepts(grammar, "[\n" + " " * 21 + "null]")
    assert not drawer.accepts(grammar, "[] ")
