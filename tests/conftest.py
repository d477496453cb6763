"""What every test has: a data folder of its own, asyncio, and the project's sources on the import path.

The time limit of a test (20 s), warnings as errors and async tests without a mark are set in pyproject.toml.
"""

import itertools
import logging
from collections.abc import Iterator
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
