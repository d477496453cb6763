"""`python -m mcp_server --transport stdio|sse|http`: the MCP server as a process.

A stdio server joins the engine that already runs for this CINQUE_HOME, whichever transports that one serves; the
first one starts it, and its end is the end of those that joined. `--own` joins nobody; `--private` is joined by nobody,
for a server that lives only as long as one command. Several `--transport` options serve several transports with one
engine. stdout carries JSON-RPC only.
"""

import argparse
import os
import sys
from pathlib import Path

from mcp_server import join
from mcp_server.deferral import deferred_validators


def main() -> None:
    """Join a running engine or serve; the exit status is 0 after an orderly end."""
    options = parse(sys.argv[1:])
    home = Path(os.environ.get("CINQUE_HOME", "~/.cinque"))
    if options.transport == ["stdio"] and not options.own and (connection := join.connect(home)):
        raise SystemExit(join.relay(connection))
    # The MCP SDK takes most of the start; joining above must not wait for it.
    with deferred_validators():
        from mcp_server import serve  # noqa: PLC0415

    raise SystemExit(serve.run(options.transport, is_joinable=not options.private))


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m mcp_server", description="Serve Cinque's tools over MCP.")
    parser.add_argument(
        "--transport",
        action="append",
        choices=("stdio", "sse", "http"),
        help="stdio (default), or http / sse: both serve /mcp and /sse on one port; may be repeated",
    )
    parser.add_argument("--own", action="store_true", help="never join a running engine")
    parser.add_argument("--private", action="store_true", help="let no other server join this one")
    options = parser.parse_args(arguments)
    options.transport = options.transport or ["stdio"]
    return options


if __name__ == "__main__":
    main()
