"""Tools that run programs: `execute`, `check_syntax`, `list_languages`. Everything runs inside the sandbox."""

import functools
import threading
from typing import Annotated

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from mcp_server.capabilities import Capabilities
from mcp_server.contract import ExecutionRequest, ExecutionResult, LanguageList, SyntaxReport, ToolName
from mcp_server.tools.threads import SANDBOX_THREADS, Threads

RUNS = ToolAnnotations(read_only_hint=True, idempotent_hint=False, open_world_hint=True)  # requirements are fetched
CHECKS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

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
            str | None, Field(description="Tests that decide: pytest functions or bare asserts using the code's names")
        ] = None,
        requirements: Annotated[list[str], Field(description="PyPI requirements, wheels only")] = [],  # noqa: B006 - the SDK copies defaults
        timeout_s: Annotated[float | None, Field(gt=0, description="Wall-clock limit (seconds), at most 60")] = None,
        stdin: Annotated[str, Field(description="Text on standard input")] = "",
        files: Annotated[dict[str, str], Field(description="Relative path to text, written beside the code")] = {},  # noqa: B006 - as above
        lint: Annotated[bool, Field(description="Give a lint_score, Python only; false saves 50-100 ms")] = True,  # noqa: FBT002 - wire field
    ) -> ExecutionResult:
        """Run a program in an isolated sandbox, and its tests when given.

        Use it before trusting any code. Without `test_code` nothing was verified: `result_trust` is `not_tested` and
        `success` only means that the program ended without an error. A program that fails is a result with a verdict,
        not an error of the tool. The program has no
        network, 512 MB, and 30 s unless `timeout_s` gives it up to 60; only `requirements` are fetched, before it runs.
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
        return await threads.run(sandbox.check_syntax, code, language, filename)

    @server.tool(name=ToolName.LIST_LANGUAGES, title="List languages", annotations=CHECKS)
    async def list_languages() -> LanguageList:
        """List the languages the sandbox runs, with aliases and installed versions.

        Use it when the user wants another language than Python. A version of null means that its toolchain is not
        installed here.
        """
        return LanguageList(languages=await threads.run(sandbox.languages))
