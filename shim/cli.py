"""The `cinque` command. It reads the command line and hands over; each command's module is loaded on use.

Kept light on purpose: an IDE that starts `cinque mcp` waits for whatever is imported here. The other commands import
the MCP SDK, half of whose validators' cost is saved by building them on first use (docs/decisions/005).
"""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Sequence

from mcp_server.deferral import deferred_validators

MAX_RESULTS = 100  # as the tool `retrieve` has it
MAX_CANDIDATES = 16  # as many as the chat door makes of one prompt
KINDS = ("function", "method", "class", "section", "window")  # as the index has them
INTERRUPTED = 130  # what shells report after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the process ends with the command's exit status."""
    options = _parser().parse_args(arguments)
    with contextlib.nullcontext() if options.module == "mcp" else deferred_validators():
        command = importlib.import_module(f"shim.commands.{options.module}")
    try:
        status = command.run(options)
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cinque", description="One local language model as a coding backend whose answers were run."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="open every door and print its URL")
    serve.set_defaults(module="serve")

    mcp = commands.add_parser("mcp", help="serve the tools over MCP, for an IDE or agent")
    mcp.add_argument("--transport", choices=("stdio", "sse", "http"), default="stdio", help="default: stdio")
    mcp.add_argument("--own", action="store_true", help="never join an engine that already runs")
    mcp.set_defaults(module="mcp")

    demo = commands.add_parser("demo", help="ask a coding question, run the answer against tests, show the verdict")
    demo.add_argument("request", nargs="?", help="a request of your own; without it a prepared one with tests")
    demo.add_argument("--tests", metavar="FILE", help="Python file of tests for the answer to your request")
    demo.add_argument(
        "--check",
        metavar="EXPRESSION",
        action="append",
        default=[],
        help='what must be true of the answer, like "add(2, 3) == 5"; told to the model; may be repeated. Without '
        "it and --tests the lines of the request that begin with `assert`, and its doctest examples, decide",
    )
    demo.add_argument(
        "--candidates",
        type=_candidates,
        default=MAX_CANDIDATES // 2,
        metavar="N",
        help=f"answers that are tried, at most {MAX_CANDIDATES}, until one passes the tests; default: %(default)s",
    )
    demo.set_defaults(module="demo")

    models = commands.add_parser("models", help="list, pull or remove models")
    actions = models.add_subparsers(title="actions", required=True, metavar="ACTION", dest="action")
    actions.add_parser("list", help="list the models on this machine")
    pull = actions.add_parser("pull", help="download a GGUF model")
    pull.add_argument("repo_id", metavar="OWNER/NAME", help="Hugging Face repository")
    pull.add_argument("filename", metavar="FILE.gguf", help="file in it")
    remove = actions.add_parser("rm", help="remove a model")
    remove.add_argument("model", metavar="MODEL", help="an id from `cinque models list`")
    models.set_defaults(module="models")

    index = commands.add_parser("index", help="index a folder, so that it can be searched")
    index.add_argument("path", metavar="PATH", help="the folder")
    index.add_argument("--project", metavar="NAME", help="what to call it; without it the folder's own name")
    index.add_argument("--watch", action="store_true", help="go on following its changes until Ctrl-C")
    index.set_defaults(module="index")

    search = commands.add_parser("search", help="search an indexed folder by meaning, words or pattern")
    search.add_argument("query", metavar="QUERY", help="a question, a name or an error message; or what to match")
    search.add_argument("--project", metavar="NAME", help="without it the one that holds this folder")
    search.add_argument("-k", type=_results, default=10, metavar="N", help="results at most; default: 10")
    search.add_argument("--mode", choices=("hybrid", "exact", "regex"), default="hybrid", help="default: hybrid")
    search.add_argument("--language", metavar="NAME", help="only files of this language")
    search.add_argument(
        "--kind", choices=KINDS, help="only functions, methods, classes, headings' sections or the rest"
    )
    search.add_argument("--path", metavar="GLOB", help="only paths that match, like 'src/**/*.py'")
    search.add_argument("--json", action="store_true", help="print everything known of each result, for programs")
    search.set_defaults(module="search")

    doctor = commands.add_parser("doctor", help="say what is installed, what is missing, and what that costs")
    doctor.set_defaults(module="doctor")
    return parser


def _results(text: str) -> int:
    """Read a number of results."""
    return _count(text, MAX_RESULTS)


def _candidates(text: str) -> int:
    """Read a number of candidates."""
    return _count(text, MAX_CANDIDATES)


def _count(text: str, most: int) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= most):
        msg = f"{text!r} is not a number from 1 to {most}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


if __name__ == "__main__":
    main()
