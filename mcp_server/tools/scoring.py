"""The tool that judges code without running it: `score`."""

from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import Score, ToolName

SCORES = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the scoring tool."""
    scorer = capabilities.scorer

    @server.tool(name=ToolName.SCORE, title="Score code", annotations=SCORES)
    async def score(text: Annotated[str, Field(description="The code to judge")]) -> Score:
        """Estimate how likely code is to be correct, without running it.

        Use it to rank candidates before `execute`. While `enabled` is false no lens is loaded: the numbers are neutral
        and mean nothing.
        """
        return scorer.score(text)
