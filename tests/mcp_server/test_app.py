"""Adding tools to the server: each is described once a process, but only where a description would be the same."""

from collections.abc import Callable
from typing import Any

from mcp import Client
from mcp_types import ToolAnnotations

from mcp_server.app import GuardedServer


def counter(start: int) -> Callable[..., Any]:
    """Make a tool that closes over something."""

    async def count(n: int) -> int:
        """Count on."""
        return start + n

    return count


async def test_a_tool_of_another_server_calls_its_own_function() -> None:
    for start in (1, 10):
        server = GuardedServer("numbers")
        server.add_tool(counter(start))
        async with Client(server) as client:
            result = await client.call_tool("count", {"n": 1})
        assert result.structured_content == {"result": start + 1}


async def test_one_function_is_two_tools_under_two_names() -> None:
    server = GuardedServer("numbers")
    server.add_tool(counter(1), "plus_one", title="Plus one")
    server.add_tool(counter(2), "plus_two", title="Plus two", annotations=ToolAnnotations(read_only_hint=True))
    server.add_tool(counter(3), "plus_three", description="Adds three.")
    async with Client(server) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert (await client.call_tool("plus_two", {"n": 1})).structured_content == {"result": 3}
    assert list(tools) == ["plus_one", "plus_two", "plus_three"]
    assert [tool.description for tool in tools.values()] == ["Count on.", "Count on.", "Adds three."]
    assert (tools["plus_two"].title, tools["plus_two"].annotations) == (
        "Plus two",
        ToolAnnotations(read_only_hint=True),
    )


async def test_a_default_that_a_server_brings_along_is_its_own() -> None:
    for limit in (5, 50):

        async def page(n: int = limit) -> int:
            """Give the length of a page."""
            return n

        server = GuardedServer("pages")
        server.add_tool(page)
        async with Client(server) as client:
            (tool,) = (await client.list_tools()).tools
            assert tool.input_schema["properties"]["n"]["default"] == limit
            assert (await client.call_tool("page", {})).structured_content == {"result": limit}
