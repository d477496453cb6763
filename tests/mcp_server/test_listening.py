"""Sockets that doors and the MCP server listen on."""

import pytest

from mcp_server import listening


def test_a_port_that_is_bound_but_not_yet_served_cannot_be_bound_again() -> None:
    with listening.bind("127.0.0.1", 0, name="first", setting="CINQUE_PORTS") as first:
        port = first.getsockname()[1]
        with pytest.raises(listening.PortInUseError, match=f"second cannot listen on 127.0.0.1:{port}.*CINQUE_PORTS"):
            listening.bind("127.0.0.1", port, name="second", setting="CINQUE_PORTS")
