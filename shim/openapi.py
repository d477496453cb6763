"""Generates a door's OpenAPI 3.1 document from its endpoints and the pydantic models of its `wire.py`.

Nothing is written twice: paths, bodies, responses and errors come from the same data that routes and validates.
"""

import inspect
import re
from functools import cache
from importlib import metadata
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from shim.doors.door import Door, Endpoint

REF = "#/components/schemas/{model}"
PATH_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


@cache
def openapi_document(door: Door) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of *door*; made when first asked for, as it takes 40 ms a door."""
    models = _models(door)
    references, definitions = models_json_schema(
        [(model, mode) for model, mode in models], ref_template=REF, title=door.title
    )
    schemas = {model: references[(model, mode)] for model, mode in models}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in door.endpoints:
        for path in (endpoint.path, *endpoint.aliases):
            operation = _operation(door, endpoint, path, schemas)
            paths.setdefault(PATH_PARAMETER.sub(r"{\1}", path), {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": door.title, "description": door.description, "version": metadata.version("cinque")},
        "servers": [{"url": "."}],  # beside this document, also where the door is mounted under a prefix
        "paths": paths,
        "components": {
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _models(door: Door) -> list[tuple[type[BaseModel], Any]]:
    """List every model once: bodies as they are validated, the rest as they are serialised."""
    models: dict[tuple[type[BaseModel], str], None] = {(door.error, "serialization"): None}
    for endpoint in door.endpoints:
        if endpoint.body is not None:
            models[(endpoint.body, "validation")] = None
        for model in (endpoint.response, endpoint.event):
            if model is not None:
                models[(model, "serialization")] = None
    return list(models)


def _operation(
    door: Door, endpoint: Endpoint, path: str, schemas: dict[type[BaseModel], dict[str, Any]]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method}_{path}").strip("_").lower(),
        "summary": endpoint.summary,
        "description": inspect.getdoc(endpoint.handler) or endpoint.summary,
        "responses": {
            "200": {"description": "The answer", "content": _content(endpoint, schemas)},
            "default": {
                "description": "An error, in this door's envelope",
                "content": {"application/json": {"schema": schemas[door.error]}},
            },
        },
    }
    if endpoint.is_open:
        operation["security"] = [{}]
    if endpoint.body is not None:
        content = {"application/json": {"schema": schemas[endpoint.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    if names := PATH_PARAMETER.findall(path):
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    return operation


def _content(endpoint: Endpoint, schemas: dict[type[BaseModel], dict[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if endpoint.response is not None:
        content["application/json"] = {"schema": schemas[endpoint.response]}
    if endpoint.event is not None:
        content["text/event-stream"] = {"schema": schemas[endpoint.event]}
    return content
