"""Validators are built on first use while the SDK is imported, and only then (docs/decisions/005)."""

import importlib

from pydantic import BaseModel

from mcp_server.deferral import DEFAULTS_MODULE, DEFAULTS_NAME, SETTING, deferred_validators


def test_pydantic_still_has_the_default_that_is_changed() -> None:
    assert getattr(importlib.import_module(DEFAULTS_MODULE), DEFAULTS_NAME)[SETTING] is False


def test_models_declared_inside_are_built_when_first_used_and_work() -> None:
    with deferred_validators():

        class Deferred(BaseModel):
            number: int

    assert not Deferred.__pydantic_complete__
    assert Deferred(number="3").number == 3  # type: ignore[arg-type]  # pydantic turns it into a number
    assert Deferred.__pydantic_complete__


def test_models_declared_afterwards_are_built_at_once() -> None:
    with deferred_validators():
        pass

    class Ordinary(BaseModel):
        number: int

    assert Ordinary.__pydantic_complete__
