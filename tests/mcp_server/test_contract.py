"""The seam: codes of errors and what is said of them, names of tools, and the form of the types that cross."""

import dataclasses
import inspect
from typing import Any

import pytest

import mcp_server.errors
import rag.errors
import sandbox.errors
from mcp_server import contract
from mcp_server.contract import ERROR_MEANINGS, ErrorCode
from shim.errors import RETRYABLE, STATUS

MODULES = (mcp_server.errors, rag.errors, sandbox.errors)
OWN_CODES = {"invalid_json", "body_too_large", "not_found", "method_not_allowed", "unauthorized", "forbidden"}
OUR_FAULT = {"internal_error", "engine_error", "sandbox_error", "retrieval_error", "unknown_tool"}

TYPES = [
    value
    for name in contract.__all__
    if inspect.isclass(value := getattr(contract, name)) and dataclasses.is_dataclass(value)
]
ERRORS = [
    value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == module.__name__
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_the_code_of_every_error_is_in_the_contract(error: Any) -> None:
    assert error.code in set(ErrorCode)
    raised = error("what happened", param="field")
    assert (str(raised), raised.message, raised.param) == ("what happened", "what happened", "field")
    assert error("x").param is None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_drawing_at_the_head_of_the_errors_shows_every_class(module: Any) -> None:
    for error in ERRORS:
        if error.__module__ == module.__name__:
            (line,) = [line for line in module.__doc__.splitlines() if f"{error.__name__} " in line]
            assert error.code in line


def test_every_code_has_a_meaning() -> None:
    assert set(ERROR_MEANINGS) == set(ErrorCode)
    assert all(meaning.endswith(".") for meaning in ERROR_MEANINGS.values())


def test_every_code_that_is_not_our_fault_has_a_status() -> None:
    assert set(STATUS) == (set(ErrorCode) - OUR_FAULT) | OWN_CODES
    assert all(400 <= status < 600 for status in STATUS.values())
    assert {STATUS[code] for code in RETRYABLE} <= {429, 503}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_a_type_that_crosses_is_frozen_and_without_slots(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert "__slots__" not in vars(kind), "the MCP SDK loses the output schema of a dataclass with slots"
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}("), "the generated docstring says nothing"


def test_everything_that_the_contract_names_is_there_and_sorted() -> None:
    assert contract.__all__ == sorted(contract.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(contract, name) for name in contract.__all__)
