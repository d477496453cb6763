"""A program that wants to pass its tests without solving anything does not, in any language and by any usual way."""

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.types import ExecutionResult
from tests.sandbox.language_cheats import ALL, CHEATS, IMPOSSIBLE, WAYS
from tests.sandbox.machine import Runner

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(180)]  # the first Go program waits for Go's library


def _run(run: Runner, language: str, code: str, tests: str) -> ExecutionResult:
    try:
        return run(code, tests, language=language, timeout_s=6.0)
    except ToolchainMissingError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: "-".join(cheat).replace(" ", "_"))
def test_a_cheat_does_not_pass(run: Runner, cheat: tuple[str, str, str]) -> None:
    result = _run(run, cheat[0], *CHEATS[cheat])
    assert not result.success, result
    assert result.verdict not in {"OK", "SANDBOX_ERROR"}


def test_every_way_is_tried_in_every_language_that_has_it() -> None:
    tried = {(language, way) for language, way, _ in CHEATS}
    assert tried | set(IMPOSSIBLE) == {(language, way) for language in ALL for way in WAYS}
    assert not tried & set(IMPOSSIBLE)
