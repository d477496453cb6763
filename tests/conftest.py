"""What every test has: a data folder of its own, asyncio, and the project's sources on the import path.

The time limit of a test (20 s), warnings as errors and async tests without a mark are set in pyproject.toml.
"""

import itertools
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_numbers = itertools.count()  # of homes; `mktemp` would read a folder of thousands for each next one


@pytest.fixture(autouse=True)
def cinque_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the data folder to a new temporary one, so that no test sees or harms what a person has."""
    home = tmp_path_factory.getbasetemp() / "cinque-homes" / str(next(_numbers))
    home.mkdir(parents=True)
    monkeypatch.setenv("CINQUE_HOME", str(home))
    return home


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undo what `configure_logging` does to the whole process, for tests of what runs as a process of its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in list(logging.Logger.manager.loggerDict)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in logging.Logger.manager.loggerDict:
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio only: uvicorn and the MCP server run on nothing else here."""
    return "asyncio"


@pytest.fixture
def conversion_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let a program that never ends stand for a conversion's; the result waits for it and gives its number."""
    pipe, program = tmp_path / "pipe", tmp_path / "python"
    os.mkfifo(pipe)
    program.write_text(f"#!/bin/sh\necho $$ > {pipe}\nexec sleep 600\n", encoding="utf-8")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("rag.converted_model.find_weights", lambda _model, hub_timeout_s: tmp_path)  # noqa: ARG005 - named so
    return lambda: int(pipe.read_text())
