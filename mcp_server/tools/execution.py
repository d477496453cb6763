"""Tools that run programs and explain their failures. What runs, runs inside the sandbox.

`execute`, `check_syntax`, `analyze_failure`, `list_languages`.
"""

import functools
import threading
from dataclasses import replace
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import (
    AnalyzedFailure,
    ExecutionRequest,
    ExecutionResult,
    FailureReport,
    LanguageList,
    SyntaxReport,
    ToolName,
    Verdict,
)
from mcp_server.tools.threads import SANDBOX_THREADS, Threads

RUNS = ToolAnnotations(read_only_hint=True, idempotent_hint=False, open_world_hint=True)  # requirements are fetched
CHECKS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

NOT_ASKED = "no score was asked for"
NO_LENS = "no lens weights are loaded, so nothing is known of the code's quality"

LanguageName = Annotated[str, Field(description="Language or alias from list_languages")]


def register(server: MCPServer, capabilities: Capabilities) -> None:
    """Add the execution tools."""
    sandbox = capabilities.sandbox
    threads = Threads(SANDBOX_THREADS)

    @server.tool(name=ToolName.EXECUTE, title="Run code in the sandbox", annotations=RUNS)
    async def execute(  # noqa: PLR0913, PLR0917 - the documented fields of /execute
        code: Annotated[str, Field(description="The program")],
        language: LanguageName = "python",
        test_code: Annotated[
            str | None, Field(description="Tests in the same language that decide: test functions or bare asserts")
        ] = None,
        requirements: Annotated[list[str], Field(description="PyPI requirements, wheels only")] = [],  # noqa: B006 - the SDK copies defaults
        timeout_s: Annotated[
            float | None, Field(gt=0, allow_inf_nan=False, description="Wall-clock limit (seconds), at most 60")
        ] = None,
        stdin: Annotated[str, Field(description="Text on standard input")] = "",
        files: Annotated[dict[str, str], Field(description="Relative path to text, written beside the code")] = {},  # noqa: B006 - as above
        lint: Annotated[bool, Field(description="Give a lint_score, Python only; false saves 50-100 ms")] = True,  # noqa: FBT002 - wire field
    ) -> ExecutionResult:
        """Run a program in an isolated sandbox, and its tests when given.

        Use it before trusting any code. Without `test_code` nothing was verified: `result_trust` is `not_tested` and
        `success` only means that the program ended without an error. Tests use the code's names: pytest functions or
        asserts in Python, what people write in the others. A program that fails is a result with a verdict, not an
        error of the tool. The program has no network, 512 MB, and 30 s unless `timeout_s` gives it up to 60; only
        `requirements` are fetched, before it runs.
        """
        request = ExecutionRequest(
            code=code,
            language=language,
            test_code=test_code,
            requirements=tuple(requirements),
            timeout_s=timeout_s,
            stdin=stdin,
            files=files,
            lint=lint,
        )
        cancelled = threading.Event()
        run = functools.partial(sandbox.execute, request, cancelled=cancelled)
        return await threads.run(run, cancelled=cancelled)

    @server.tool(name=ToolName.CHECK_SYNTAX, title="Check syntax", annotations=CHECKS)
    async def check_syntax(
        code: Annotated[str, Field(description="Source text")],
        language: LanguageName = "python",
        filename: Annotated[str | None, Field(description="Name to show in messages")] = None,
    ) -> SyntaxReport:
        """Say whether source text parses, without running any of it.

        Use it after an edit, before `execute`.
        """
        cancelled = threading.Event()
        check = functools.partial(sandbox.check_syntax, code, language, filename, cancelled=cancelled)
        return await threads.run(check, cancelled=cancelled)

    @server.tool(name=ToolName.ANALYZE_FAILURE, title="Explain a failed run", annotations=CHECKS)
    async def analyze_failure(  # noqa: PLR0913, PLR0917 - the documented fields, and those of execute's result
        code: Annotated[str, Field(description="The program that ran")],
        language: LanguageName = "python",
        stdout: Annotated[str, Field(description="Its standard output")] = "",
        stderr: Annotated[str, Field(description="Its standard error, or its compiler's")] = "",
        passed: Annotated[bool, Field(description="Whether it passed; then there is nothing to explain")] = False,  # noqa: FBT002 - wire field
        expected_output: Annotated[str | None, Field(description="What it should have printed, if known")] = None,
        verdict: Annotated[Verdict | None, Field(description="Of execute's result; outweighs the texts")] = None,
        error_type: Annotated[str | None, Field(description="Of execute's result; outweighs the texts")] = None,
        error_message: Annotated[str | None, Field(description="Of execute's result")] = None,
        include_gx: Annotated[bool, Field(description="Score the code too, where a lens is loaded")] = True,  # noqa: FBT002 - wire field
    ) -> AnalyzedFailure:
        """Explain why a program failed: kind, line, what to change, and a prompt that asks a model to repair it.

        Use it after `execute` did not succeed, before generating again: give it the code and the result's fields.
        Nothing is executed. Advice is a guess from texts; only `execute` with tests says whether a change was right.
        """
        report = FailureReport(
            code=code,
            language=language,
            stdout=stdout,
            stderr=stderr,
            passed=passed,
            expected_output=expected_output,
            verdict=verdict,
            error_type=error_type,
            error_message=error_message,
        )
        if not include_gx:
            return await threads.run(_analyzed, capabilities, report, NOT_ASKED)
        return await threads.run(_scored, capabilities, report)

    @server.tool(name=ToolName.LIST_LANGUAGES, title="List languages", annotations=CHECKS)
    async def list_languages() -> LanguageList:
        """List the languages the sandbox runs, with aliases and installed versions.

        Use it when the user wants another language than Python. A version of null means that its toolchain is not
        installed here.
        """
        return LanguageList(languages=await threads.run(sandbox.languages))


def _analyzed(capabilities: Capabilities, report: FailureReport, note: str) -> AnalyzedFailure:
    return AnalyzedFailure(capabilities.analyze(report), None, note)


def _scored(capabilities: Capabilities, report: FailureReport) -> AnalyzedFailure:
    """Analyse with what the lens knows; a score whose quality model is missing does not count as knowledge."""
    if not capabilities.scorer.is_enabled:
        return _analyzed(capabilities, report, NO_LENS)
    score = capabilities.scorer.score(report.code)
    known = replace(report, gx_score=score.gx_score if score.gx_available else None)
    return AnalyzedFailure(capabilities.analyze(known), score, "")
