"""Ten JSON schemas as people write them for language models; between them, all that a grammar can force of a schema.

Strings that a random model would not soon end have a `maxLength`, so that a sample fits a few hundred tokens.
"""

from typing import Any

Schema = dict[str, Any]

WEATHER: Schema = {
    "title": "Arguments of a function call",
    "type": "object",
    "properties": {
        "location": {"type": "string", "minLength": 1, "maxLength": 24},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
    },
    "required": ["location", "days"],
    "additionalProperties": False,
}
INVOICE: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "issued": {"type": "string", "format": "date"},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "lines": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {
                    "sku": {"type": "string", "pattern": r"^\w{2,8}-\d{3}$"},
                    "quantity": {"type": "integer", "exclusiveMinimum": 0, "maximum": 999},
                    "price": {"type": "number", "exclusiveMinimum": 0, "maximum": 9999.99},
                },
                "required": ["sku", "quantity", "price"],
                "additionalProperties": False,
            },
        },
        "discount": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    },
    "required": ["id", "issued", "currency", "lines"],
}
PACKAGE: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^(?:@[a-z0-9-]{1,12}/)?[a-z][a-z0-9._-]{0,20}$"},
        "version": {"type": "string", "pattern": r"^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$"},
        "license": {"enum": ["MIT", "Apache-2.0", None]},
        "private": {"type": "boolean"},
        "dependencies": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z]{2,10}$"},
            "additionalProperties": {"type": "string", "pattern": r"^[~^]?\d{1,2}\.\d{1,2}$"},
            "maxProperties": 3,
        },
    },
    "required": ["name", "version"],
}
SHAPES: Schema = {
    "type": "object",
    "properties": {"shapes": {"type": "array", "items": {"$ref": "#/$defs/shape"}, "minItems": 2, "maxItems": 4}},
    "required": ["shapes"],
    "additionalProperties": False,
    "$defs": {
        "length": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1000},
        "shape": {
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"kind": {"const": "circle"}, "radius": {"$ref": "#/$defs/length"}},
                    "required": ["kind", "radius"],
                },
                {
                    "type": "object",
                    "properties": {
                        "kind": {"const": "box"},
                        "width": {"$ref": "#/$defs/length"},
                        "height": {"$ref": "#/$defs/length"},
                    },
                    "required": ["kind", "width", "height"],
                },
            ]
        },
    },
}
EVENT: Schema = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 30},
        "start": {"type": "string", "format": "date-time"},
        "alarm": {"type": "string", "format": "time"},
        "attendees": {"type": "array", "items": {"type": "string", "format": "email"}, "maxItems": 2},
        "repeats": {"anyOf": [{"type": "null"}, {"enum": ["daily", "weekly"]}, {"type": "integer", "minimum": 2}]},
    },
    "required": ["title", "start", "repeats"],
    "additionalProperties": False,
}
TREE: Schema = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer", "minimum": -50, "maximum": 50},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "maxItems": 3},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value"],
            "additionalProperties": False,
        },
        "tag": {"type": ["integer", "string", "null"], "minimum": 7, "maxLength": 5},
    },
}
PLACE: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "type": {"const": "Feature"},
        "geometry": {
            "type": "object",
            "properties": {
                "type": {"const": "Point"},
                "coordinates": {
                    "type": "array",
                    "prefixItems": [
                        {"type": "number", "minimum": -180, "maximum": 180},
                        {"type": "number", "minimum": -90, "maximum": 90},
                    ],
                    "items": False,
                    "minItems": 2,
                },
            },
            "required": ["type", "coordinates"],
        },
        "names": {
            "type": "object",
            "properties": {
                "de": {"const": "K\u00f6ln \u00fcber \u4e16\u754c"},
                "en": {"enum": ['"Cologne"', "a\\b\tc"]},
            },
            "minProperties": 0,
        },
    },
    "required": ["type", "geometry", "names"],
}
PROFILE: Schema = {
    "allOf": [
        {"$ref": "#/definitions/base"},
        {
            "properties": {
                "age": {"type": "integer", "minimum": 0, "maximum": 130},
                "score": {"type": "number", "multipleOf": 0.25, "minimum": -1, "maximum": 1},
            },
            "required": ["age"],
        },
    ],
    "definitions": {
        "base": {
            "type": "object",
            "properties": {
                "handle": {"type": "string", "minLength": 3, "maxLength": 12},
                "age": {"type": "number", "maximum": 99},
                "bio": {"type": ["string", "null"], "maxLength": 40},
            },
            "required": ["handle"],
        }
    },
}
SERVICE: Schema = {
    "type": "object",
    "properties": {
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "timeout": {"type": "integer", "minimum": 0, "maximum": 3600, "multipleOf": 15},
        "address": {"type": "string", "format": "ipv4"},
        "ratio": {"type": "number", "minimum": 0.05, "maximum": 0.95},
        "labels": {
            "type": "object",
            "patternProperties": {"^x-[a-z]{1,8}$": {"type": "string", "maxLength": 8}},
            "additionalProperties": False,
            "maxProperties": 2,
        },
        "verbose": {"type": "boolean", "default": False},
    },
    "required": ["port", "address", "labels"],
    "additionalProperties": {"type": "integer", "minimum": -3, "maximum": 3},
    "maxProperties": 8,
}
PLAN: Schema = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "pattern": r"^src/[a-z_]{1,16}\.(py|rs|go)$"},
                    "action": {"enum": ["create", "edit", "delete"]},
                    "lines": {
                        "type": "array",
                        "items": {"type": "integer", "minimum": 1, "maximum": 100_000},
                        "minItems": 2,
                        "maxItems": 2,
                    },
                    "why": {"type": "string", "minLength": 4, "maxLength": 40},
                    "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                },
                "required": ["file", "action", "why"],
                "additionalProperties": False,
            },
        },
        "done": {"type": "boolean"},
    },
    "required": ["steps", "done"],
    "additionalProperties": False,
}

EXAMPLE_SCHEMAS: dict[str, Schema] = {
    "weather": WEATHER,
    "invoice": INVOICE,
    "package": PACKAGE,
    "shapes": SHAPES,
    "event": EVENT,
    "tree": TREE,
    "place": PLACE,
    "profile": PROFILE,
    "service": SERVICE,
    "plan": PLAN,
}
