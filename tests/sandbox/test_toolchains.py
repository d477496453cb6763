"""Tools are found where they lie, believed only when they start, and bound only when a job could not see them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.errors import ToolchainMissingError
from sandbox.toolchains import TOOLS, Toolchains


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of tools of our own, not below /tmp."""
    path = Path("/var/tmp") / f"cinque-tools-{os.getpid()}" / "toolchains"
    (path / "bin").mkdir(parents=True)
    yield path
    shutil.rmtree(path.parent)


def put(folder: Path, name: str, script: str) -> None:
    program = folder / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_a_tool_of_the_system_needs_no_bind(tmp_path: Path) -> None:
    bash = Toolchains(tmp_path).find("bash")
    assert bash is not None
    assert bash.root is None
    assert bash.version.startswith("GNU bash")


def test_our_own_folder_comes_first_and_is_bound(folder: Path) -> None:
    put(folder, "node", 'echo "v99.0.0"; echo "more"')
    tools = Toolchains(folder)
    node = tools.find("node")
    assert node is not None
    assert (node.version, node.root) == ("v99.0.0", str(folder))
    assert (str(folder), str(folder)) in tools.binds()
    assert tools.path().split(":")[0] == str(folder / "bin")


@pytest.mark.parametrize("script", ["exit 1", "true", "exec /no/such/interpreter"], ids=["fails", "silent", "broken"])
def test_a_tool_that_does_not_start_is_passed_over(script: str, folder: Path) -> None:
    put(folder, "bash", script)
    bash = Toolchains(folder).find("bash")
    assert bash is not None
    assert bash.root is None


def test_a_tool_that_a_job_could_not_see_is_passed_over(tmp_path: Path) -> None:
    if not tmp_path.is_relative_to("/tmp"):
        pytest.skip("temporary folders do not lie below /tmp here")
    (tmp_path / "bin").mkdir()
    put(tmp_path, "bash", "echo GNU bash of our own")
    bash = Toolchains(tmp_path).find("bash")
    assert bash is not None
    assert bash.executable != str(tmp_path / "bin" / "bash")


def test_what_is_missing_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Toolchains(tmp_path)
    monkeypatch.setitem(tools._found, "go", None)
    assert tools.version("go") is None
    with pytest.raises(ToolchainMissingError, match=r"go is not installed .* apt-get install golang-go"):
        tools.require("bash go")


def test_every_tool_can_be_asked_for(tmp_path: Path) -> None:
    tools = Toolchains(tmp_path)
    for name in TOOLS:
        version = tools.version(name)
        assert version is None or any(char.isdigit() for char in version)


def test_only_go_gets_the_environment_of_go(tmp_path: Path) -> None:
    tools = Toolchains(tmp_path)
    assert set(tools.environment("gcc")) == {"PATH"}
    assert tools.environment("go")["GOPROXY"] == "off"
