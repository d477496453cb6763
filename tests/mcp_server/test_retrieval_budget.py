"""A query in a large repository, through the stdio of a real server, keeps to the token budget asked for."""

import math
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from rag.passages import CHARS_PER_TOKEN

ROOT = Path(__file__).parents[2]
BUDGETS = (1, 100, 400, 2_000, 20_000)  # tokens

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def repository(tmp_path: Path, n_files: int) -> Path:
    """Make a repository of *n_files* files, some of them with a function too large for the least budget."""
    root = tmp_path / "repository"
    for number in range(n_files):
        folder = root / f"package_{number // 100}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"    delay += attempt * {line}\n" for line in range(20 if number % 100 == 0 else 1))
        (folder / f"module_{number}.py").write_text(
            f"def retry_{number}(attempt, delay):\n{lines}    return delay\n", encoding="utf-8"
        )
    return root


@pytest.mark.parametrize("n_files", [1_000, pytest.param(10_000, marks=pytest.mark.sweep)])
async def test_a_query_in_thousands_of_files_returns_within_the_token_budget(
    tmp_path: Path, repository: Path, n_files: int
) -> None:
    environment = {**os.environ, "CINQUE_HOME": str(tmp_path / "home"), "CINQUE_RAG_DENSE": "0"}
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "mcp_server", "--own", "--private"], env=environment, cwd=ROOT
    )
    async with Client(stdio_client(server), cache=None) as client:
        with anyio.fail_after(45):
            report = await ask(client, "index", root=str(repository))
            assert report["n_files"] == n_files
            sizes = {}
            for budget in BUDGETS:
                for neighbours in (False, True):
                    fields = {"max_results": 100, "max_tokens": budget, "include_neighbours": neighbours}
                    found = await ask(client, "retrieve", query="retry delay of an attempt", **fields)
                    n_tokens = sum(math.ceil(len(hit["text"]) / CHARS_PER_TOKEN) for hit in found["hits"])
                    n_chars = sum(len(hit["text"]) for hit in found["hits"])
                    assert found["hits"], "the best hit is always there, cut where it has to be"
                    assert n_chars <= budget * CHARS_PER_TOKEN
                    assert n_tokens < budget + len(found["hits"]), "rounded up, each hit may count one more"
                    assert found["truncated"]
                    sizes[budget, neighbours] = n_chars
            assert sizes[400, False] > 200 * CHARS_PER_TOKEN, "and what was asked for is used"
            assert sizes[100, False] < sizes[400, False] < sizes[2_000, False]


async def ask(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, {"collection": "large", **arguments})
    assert not result.is_error, result.content
    return result.structured_content
