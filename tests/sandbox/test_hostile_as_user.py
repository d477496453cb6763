"""Every hostile program of the table, with the sandbox run by an ordinary user, who can make no memory groups."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.hostile.as_someone import NOBODY_IN_PARTICULAR, SYSTEM_PYTHON, Asking, faults_of, parameters


@pytest.fixture(scope="module")
def host() -> Iterator[Asking]:
    if os.getuid() == 0 and not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"{SYSTEM_PYTHON} is not there for another user to run")
    with Asking(NOBODY_IN_PARTICULAR if os.getuid() == 0 else None) as asking:
        yield asking


@pytest.mark.sweep
@pytest.mark.parametrize("name", parameters())
def test_hostile(name: str, host: Asking) -> None:
    assert faults_of(name, host) == []
