"""The error envelope of llama.cpp's server: `{"error": {code, message, type}}` with the HTTP status as `code`.

`param` and `reason` are ours: the field at fault, and our own code of the failure, as docs/errors.md lists them.
"""

from typing import Any

from pydantic import BaseModel

from mcp_server.contract import ErrorCode
from shim.dialects.llama_sampling import ENGINE_NAMES
from shim.errors import ApiError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
SERVER_ERROR = 500
WIRE_NAMES = {ours: theirs for theirs, ours in ENGINE_NAMES.items()} | {
    "n_logprobs": "n_probs",
    "prompt_token_ids": "prompt",
    "token_ids": "tokens",
}  # what the engine calls a field -> what the client called it


class LlamaErrorBody(BaseModel):
    """What went wrong; the two numbers of tokens are there when a prompt does not fit."""

    code: int
    message: str
    type: str
    param: str | None
    reason: str
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class LlamaError(BaseModel):
    """Every error of the llama-server door."""

    error: LlamaErrorBody


def render_error(error: ApiError) -> dict[str, Any]:
    """Render *error* for clients of llama.cpp's server."""
    body = {
        "code": error.status,
        "message": error.message,
        "type": _type(error),
        "param": WIRE_NAMES.get(error.param or "", error.param),
        "reason": error.code,
        **error.details,
    }
    return {"error": body}


def _type(error: ApiError) -> str:
    if error.code == ErrorCode.CONTEXT_LENGTH_EXCEEDED:
        return "exceed_context_size_error"
    default = "server_error" if error.status >= SERVER_ERROR else "invalid_request_error"
    return TYPES.get(error.status, default)
