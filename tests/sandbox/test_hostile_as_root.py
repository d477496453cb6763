"""Every hostile program of the table, with the sandbox run by root; and that the table is whole."""

import os
from collections.abc import Iterator

import pytest

from tests.sandbox.hostile.as_someone import Asking, faults_of, parameters
from tests.sandbox.hostile.table import BY_NAME, CASES, NOT_SHOWN, NUMBERS, UNTIDY


@pytest.fixture(scope="module")
def host() -> Iterator[Asking]:
    if os.getuid() != 0:
        pytest.skip("only root can run programs as root; test_hostile_as_user.py runs them all")
    with Asking(None) as asking:
        yield asking


@pytest.mark.sweep
@pytest.mark.parametrize("name", parameters())
def test_hostile(name: str, host: Asking) -> None:
    assert faults_of(name, host) == []


@pytest.mark.timeout(20, func_only=True)
def test_what_is_left_behind_is_found(host: Asking) -> None:
    found = " ".join(host.ask(UNTIDY.name)["found"])
    for what in (
        "processes: ",
        "descriptors: ",
        "temporary: ",
        "it printed 'ESCAPED it'",
        "it did not print 'BLOCKED it'",
    ):
        assert what in found


def test_every_number_of_the_table_is_tested() -> None:
    assert {case.number for case in CASES} == NUMBERS
    assert len(BY_NAME) == len(CASES) + 1
    assert set(NOT_SHOWN) <= NUMBERS
