"""The OpenAI error envelope, spoken by every door with an OpenAI dialect: `{"error": {message, type, param, code}}`."""

from typing import Any

from pydantic import BaseModel

from shim.errors import ApiError

SERVER_ERROR = 500


class ErrorBody(BaseModel):
    """What went wrong; `param` and `code` may be null."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(BaseModel):
    """Every error of an OpenAI door."""

    error: ErrorBody


def render_error(error: ApiError) -> dict[str, Any]:
    """Render *error* in OpenAI's envelope."""
    body = ErrorBody(message=error.message, type=_type(error), param=error.param, code=error.code)
    return ErrorEnvelope(error=body).model_dump()


def _type(error: ApiError) -> str:
    """Return OpenAI's coarse type, which SDKs map to exception classes by status."""
    names = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    if error.status in names:
        return names[error.status]
    return "server_error" if error.status >= SERVER_ERROR else "invalid_request_error"
