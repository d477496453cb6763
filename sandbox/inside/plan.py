"""Parse a candidate and its tests without running either: does it compile, and which tests must a run report?

Runs in a bare job: limited, filtered, alone, and gone afterwards, because parsing hostile text may exhaust memory or
stack. Serves both the syntax check and the preparation of a tested run.
"""

import sys
from typing import Any

from sandbox.inside import imported, source, split, suite, twins
from sandbox.inside.records import Recorder

RECURSION_LIMIT = 20_000  # walking a tree may go as deep as the parser let it be built


def run(arguments: dict[str, Any], recorder: Recorder) -> int:
    """Record `compiled` or `compile_error`, for tests `tests_error` or `plan` and perhaps `twin`. Always returns 0."""
    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        candidate = source.parse(arguments["code"], arguments["filename"])
    except source.SourceError as error:
        recorder.add("compile_error", type=error.kind, message=error.message, line=error.line)
        return 0
    recorder.add("compiled")
    if arguments["test_code"] is None:
        return 0
    try:
        tests = source.parse(arguments["test_code"], "test_solution.py")
        imported.flatten(tests)
        found = suite.read(tests)
        aliases = imported.aliases(candidate, tests, arguments["files"])
        remote = split.plan(candidate, tests, found, frozenset(aliases))
    except source.SourceError as error:
        recorder.add("tests_error", type=error.kind, message=error.message, line=error.line)
        return 0
    except RecursionError:
        recorder.add("tests_error", type="SyntaxError", message=source.TOO_DEEP, line=None)
        return 0
    recorder.add(
        "plan",
        tests=list(found.test_ids),
        needs_pytest=found.needs_pytest,
        may_skip=list(found.may_skip),
        remote=remote,
        aliases=aliases,
    )
    twin = twins.draw(tests, candidate)
    if twin is not None:  # one too large to be recorded is dropped, and the tests then have none
        recorder.add("twin", lines=twin[0].splitlines(keepends=True), nonces=twin[1])
    return 0
