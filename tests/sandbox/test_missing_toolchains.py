"""A language without its tools says which to install, with tests and without, and the others go on working."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.languages import LANGUAGES
from sandbox.runner import Sandbox
from sandbox.toolchains import TOOLS, Toolchains
from sandbox.types import ExecutionRequest
from tests.sandbox.machine import settings_with
from tests.sandbox.tested_programs import ADD, TESTS

NAMES = tuple(entry.name for entry in LANGUAGES if entry.tool is not None)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox on a machine that has no tools: empty folders, and nothing on PATH."""
    home = tmp_path_factory.mktemp("bare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(home))
        patch.setattr("sandbox.toolchains._PATH", (str(home),))
        patch.setattr("sandbox.toolchains._ELSEWHERE", ())
        sandbox = Sandbox(settings_with(home, cache=home / "cache"))
        yield sandbox
        sandbox.close()


@pytest.mark.parametrize("tests", [None, "tests"], ids=["plain", "tested"])
@pytest.mark.parametrize("language", NAMES)
def test_a_missing_toolchain_is_told_with_what_to_install(bare: Sandbox, language: str, tests: str | None) -> None:
    test_code = None if tests is None else TESTS[language]
    with pytest.raises(
        ToolchainMissingError, match=r"is not installed where programs run: (apt-get|python -m)"
    ) as told:
        bare.execute(ExecutionRequest(ADD[language], language, test_code, lint=False))
    assert told.value.code == "toolchain_missing"


@pytest.mark.parametrize("language", NAMES)
def test_a_syntax_check_without_its_tool_is_told_too(bare: Sandbox, language: str) -> None:
    with pytest.raises(ToolchainMissingError, match="is not installed where programs run"):
        bare.check_syntax(ADD[language], language)


def test_every_language_but_python_is_listed_without_a_version(bare: Sandbox) -> None:
    assert {found.name for found in bare.languages() if found.version is None} == set(NAMES)


def test_python_needs_no_tool_and_nothing_is_left_waiting(bare: Sandbox) -> None:
    for _ in range(3):
        result = bare.execute(ExecutionRequest("def f():\n    return 1\n", "python", "assert f() == 1\n", lint=False))
        assert result.verdict == "OK"
    status = bare.status()
    assert (status.ready, status.n_running, status.n_waiting) == (True, 0, 0)


@pytest.mark.parametrize("name", TOOLS)
def test_each_tool_is_looked_for_in_vain_without_an_exception(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sandbox.toolchains._PATH", ())
    monkeypatch.setattr("sandbox.toolchains._ELSEWHERE", ())
    tools = Toolchains(tmp_path / "nowhere", tmp_path / "nothing")
    assert (tools.find(name), tools.version(name)) == (None, None)
    assert tools.binds() == ()
    with pytest.raises(ToolchainMissingError, match=TOOLS[name].package.split(",")[0]):
        tools.require(name)
