"""One real `cinque serve` for all live tests: real model, real sandbox, real sockets.

Tests that break things start their own; whatever this one is asked, it must go on serving. It embeds with torch, which
needs no conversion of the model; test_prepared_model.py has a server that converts it.
"""

import json
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.live.processes import Shim, serving


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shim]:
    """Serve all doors; afterwards no process of it may be left."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the live tests watch processes through /proc and pidfds")
    with serving(tmp_path_factory.mktemp("live-home"), CINQUE_RAG_EMBEDDING_BACKEND="torch") as running:
        assert httpx.get(f"{running.proxy}/health", timeout=60).json()["status"] == "ok"
        yield running
        assert running.child.end() == 0
    failures = [line for line in running.child.stderr.splitlines() if "traceback" in json.loads(line)]
    assert not failures, failures
