"""`cinque mcp`: becomes the MCP server's own process, so that nothing stands between an IDE and its tools."""

import argparse
import os
import sys


def run(options: argparse.Namespace) -> int:
    """Replace this process; does not return."""
    own = ["--own"] if options.own else []
    # -P: an IDE starts this in a repository, whose own typing.py or json.py is none of ours
    command = [sys.executable, "-P", "-m", "mcp_server", "--transport", options.transport, *own]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter and module
