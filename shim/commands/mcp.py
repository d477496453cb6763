"""`cinque mcp`: becomes the MCP server's own process, so that nothing stands between an IDE and its tools."""

import argparse
import os
import sys


def run(options: argparse.Namespace) -> int:
    """Replace this process; does not return."""
    own = ["--own"] if options.own else []
    os.execv(sys.executable, [sys.executable, "-m", "mcp_server", "--transport", options.transport, *own])  # noqa: S606 - our own interpreter and module
