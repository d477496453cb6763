"""Handlers of the ATLAS sandbox: execute, syntax check, languages, health."""

from starlette.responses import JSONResponse, Response

from shim.doors.atlas.sandbox import wire
from shim.doors.door import Call, Endpoint
from shim.errors import ApiError

UNAVAILABLE = 503


async def execute(call: Call[wire.ExecuteRequest]) -> wire.ExecuteResponse:
    """Run a program in isolation, and its tests when given.

    A program that fails is a 200 with its verdict. Without `test_code` nothing was verified, and `result_trust` says
    `not_tested`.
    """
    return wire.execute_response(await call.gateway.execute(wire.execution_request(call.body)))


async def syntax_check(call: Call[wire.SyntaxCheckRequest]) -> wire.SyntaxCheckResponse:
    """Say whether source text parses, without running it."""
    body = call.body
    return wire.syntax_response(await call.gateway.check_syntax(body.code, body.language, body.filename))


async def languages(call: Call[None]) -> wire.LanguagesResponse:
    """List the languages and their installed versions."""
    return wire.languages_response(await call.gateway.list_languages())


async def health(call: Call[None]) -> Response:
    """Say whether programs can be run; 503 when not."""
    try:
        body = wire.health(await call.gateway.status())
    except ApiError as error:
        body = wire.Health(status="unhealthy", isolation=None, detail=error.message)
    return JSONResponse(body.model_dump(), status_code=200 if body.status == "healthy" else UNAVAILABLE)


ENDPOINTS = (
    Endpoint("POST", "/execute", execute, "Run code", body=wire.ExecuteRequest, response=wire.ExecuteResponse),
    Endpoint(
        "POST",
        "/syntax-check",
        syntax_check,
        "Check syntax",
        body=wire.SyntaxCheckRequest,
        response=wire.SyntaxCheckResponse,
    ),
    Endpoint("GET", "/languages", languages, "List languages", response=wire.LanguagesResponse),
    Endpoint("GET", "/health", health, "Health", response=wire.Health, is_open=True),
)
