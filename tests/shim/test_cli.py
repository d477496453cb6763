"""The `cinque` command: what its line means, its exit statuses, and that a mistake is told in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shim.cli import main

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("restored_logging")


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize(
    "line",
    [
        "",
        "bake",
        "serve now",
        "models",
        "models pull one",
        "models rm",
        "mcp --transport carrier-pigeon",
        "demo a b",
        "demo a --candidates 0",
        "demo a --candidates 17",
        "demo a --candidates many",
        "demo a --check",
        "index",
        "search",
        "search x --mode fuzzy",
    ],
)
def test_a_line_that_is_no_command_is_a_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(*line.split()) == 2
    assert "usage: cinque" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "mcp", "demo", "models", "index", "search", "doctor"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--help") == 0
    assert command in capsys.readouterr().out
    assert status_of(command, "--help") == 0


def test_an_interrupt_is_a_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("shim.commands.serve.run", interrupted)
    assert status_of("serve") == 130


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CINQUE_PORTS", '{"atlas-poxy": 1}'),
        ("CINQUE_PORTS", '{"atlas-proxy": 70000}'),
        ("CINQUE_PORTS", "nonsense"),
        ("CINQUE_SINGLE_PORT", "many"),
        ("CINQUE_HOST", "0.0.0.0"),  # noqa: S104 - the subject
        ("CINQUE_LOG_LEVEL", "loud"),
    ],
)
def test_settings_that_cannot_be_used_are_one_line_and_a_2(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, value)
    assert status_of("serve") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("cinque serve: ")
    assert variable in line


def test_mcp_becomes_the_server_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[list[str]] = []

    def execv(_: str, arguments: list[str]) -> None:
        executed.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    status_of("mcp")
    status_of("mcp", "--transport", "http", "--own")
    command = [sys.executable, "-P", "-m", "mcp_server", "--transport"]
    assert executed == [[*command, "stdio"], [*command, "http", "--own"]]


@pytest.mark.parametrize("words", [("mcp", "--own"), ("doctor",)])
def test_a_folders_own_modules_are_never_imported(tmp_path: Path, words: tuple[str, ...]) -> None:
    for name in ("typing", "json", "mcp", "mcp_server"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w').close()\n")
    command = [str(Path(sys.executable).with_name("cinque")), *words]
    environment = {**os.environ, "CINQUE_HOME": str(tmp_path / "home")}
    subprocess.run(command, cwd=tmp_path, env=environment, input=b"", capture_output=True, check=False, timeout=60)
    assert not (tmp_path / "imported").exists()


def test_the_command_of_an_ide_waits_for_no_heavy_import() -> None:
    heavy = "{'mcp', 'pydantic', 'uvicorn', 'anyio'}"
    script = f"import sys, shim.cli, shim.commands.mcp; print(*sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
