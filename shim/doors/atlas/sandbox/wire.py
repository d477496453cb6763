"""The sandbox's JSON: the documented fields, and after them ours (`verdict` and what follows it)."""

from typing import Literal

from pydantic import BaseModel, Field

from mcp_server.contract import ExecutionRequest, ExecutionResult, LanguageList, ServerStatus, SyntaxReport, Verdict

MAX_TIMEOUT_S = 60  # documented: longer ones are capped, not refused
NOT_INSTALLED = "not installed"


class ExecuteRequest(BaseModel):
    """A program to run, and optionally its tests."""

    code: str = Field(description="Code to execute")
    language: str = Field(default="python", description="Language or alias")
    test_code: str | None = Field(default=None, description="Tests in the same language: functions or bare asserts")
    requirements: list[str] | None = Field(default=None, description="Python packages to install first, wheels only")
    timeout: float = Field(default=30, gt=0, strict=True, description="Wall-clock limit, capped at 60 (seconds)")
    stdin: str = Field(default="", description="Text on standard input")
    files: dict[str, str] = Field(default={}, description="Relative path to text, written beside the code")


class ExecuteResponse(BaseModel):
    """What happened."""

    success: bool
    compile_success: bool
    tests_run: int
    tests_passed: int
    lint_score: float | None
    stdout: str
    stderr: str
    error_type: str | None
    error_message: str | None
    execution_time_ms: int
    verdict: Verdict
    exit_code: int | None
    isolation: str
    result_trust: str
    peak_memory_bytes: int | None
    type_errors: list[str] = Field(description="Of TypeScript: they clear compile_success, and the program still runs")


class SyntaxCheckRequest(BaseModel):
    """Source text to parse."""

    code: str = Field(description="Source text")
    language: str = Field(default="python", description="Language or alias")
    filename: str | None = Field(default=None, description="Name to show in messages")


class SyntaxCheckResponse(BaseModel):
    """Whether it parses."""

    valid: bool
    errors: list[str]
    language: str
    check_time_ms: int


class LanguagesResponse(BaseModel):
    """Installed version of each language, or `not installed`."""

    languages: dict[str, str]


class Health(BaseModel):
    """Whether programs can be run here, and behind which isolation."""

    status: Literal["healthy", "unhealthy"]
    isolation: str | None
    detail: str


def execution_request(body: ExecuteRequest) -> ExecutionRequest:
    """Translate a request; clients that have no tests send null or an empty text."""
    return ExecutionRequest(
        code=body.code,
        language=body.language,
        test_code=body.test_code or None,
        requirements=tuple(body.requirements or ()),
        timeout_s=min(body.timeout, MAX_TIMEOUT_S),
        stdin=body.stdin,
        files=body.files,
    )


def execute_response(result: ExecutionResult) -> ExecuteResponse:
    """Translate a result."""
    return ExecuteResponse.model_validate(result, from_attributes=True)


def syntax_response(report: SyntaxReport) -> SyntaxCheckResponse:
    """Translate a syntax report."""
    return SyntaxCheckResponse(
        valid=report.valid,
        errors=list(report.errors),
        language=report.language,
        check_time_ms=report.check_time_ms,
    )


def languages_response(languages: LanguageList) -> LanguagesResponse:
    """Translate the languages."""
    return LanguagesResponse(
        languages={language.name: language.version or NOT_INSTALLED for language in languages.languages}
    )


def health(status: ServerStatus) -> Health:
    """Translate what the sandbox says of itself."""
    sandbox = status.sandbox
    return Health(
        status="healthy" if sandbox.ready else "unhealthy", isolation=sandbox.isolation, detail=sandbox.detail
    )
