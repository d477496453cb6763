"""What a door can answer instead of a result: one class, a table of statuses, and the gateway's own failure.

    ApiError                         any code                what every door's `render_error` turns into its envelope
    └── BackendUnavailableError      backend_unavailable     the MCP server process is down
    CommandError                     -                       what `cinque` cannot do as it was asked

Doors render codes, never classes. A code that stands in no line of `STATUS` is a 500.
"""

from collections.abc import Mapping

from mcp_server.contract import ErrorCode

BAD_JSON = "invalid_json"
BODY_TOO_LARGE = "body_too_large"
NOT_FOUND = "not_found"
METHOD_NOT_ALLOWED = "method_not_allowed"
UNAUTHORIZED = "unauthorized"
FORBIDDEN = "forbidden"

STATUS: dict[str, int] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: 400,
    ErrorCode.LIMIT_EXCEEDED: 400,
    ErrorCode.UNKNOWN_LANGUAGE: 400,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.COLLECTION_NOT_FOUND: 404,
    ErrorCode.CANCELLED: 499,  # nobody is left to read it; nginx's number, which log readers know
    ErrorCode.QUEUE_FULL: 503,
    ErrorCode.MODEL_LOAD_FAILED: 503,
    ErrorCode.EMBEDDING_UNAVAILABLE: 503,
    ErrorCode.STORE_UNAVAILABLE: 503,
    ErrorCode.SANDBOX_UNAVAILABLE: 503,
    ErrorCode.BACKEND_UNAVAILABLE: 503,
    ErrorCode.MODEL_PULL_FAILED: 502,
    ErrorCode.UPSTREAM_ERROR: 502,
    ErrorCode.NOT_SUPPORTED: 501,
    ErrorCode.TOOLCHAIN_MISSING: 501,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    BAD_JSON: 400,
    BODY_TOO_LARGE: 413,
    NOT_FOUND: 404,
    METHOD_NOT_ALLOWED: 405,
    UNAUTHORIZED: 401,
    FORBIDDEN: 403,
}
"""HTTP status of each code; the rest are 500."""

RETRYABLE = frozenset({ErrorCode.QUEUE_FULL, ErrorCode.BACKEND_UNAVAILABLE})
"""Codes whose answer carries Retry-After."""


class ApiError(Exception):
    """A request that cannot be answered. `message` says what happened, to what, and what to do.

    `details` are numbers that a dialect has members for, such as those of a prompt that does not fit.
    """

    def __init__(
        self, code: str, message: str, *, param: str | None = None, details: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message)
        self.code = str(code)
        self.message = message
        self.param = param
        self.details: Mapping[str, int] = details or {}

    @property
    def status(self) -> int:
        """HTTP status of this error."""
        return STATUS.get(self.code, 500)

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in RETRYABLE


class BackendUnavailableError(ApiError):
    """Raised when the MCP server died during a call, or is not back within the time that a call waits."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BACKEND_UNAVAILABLE, message)


class CommandError(Exception):
    """Raised by a command that cannot be done as asked; the message is all that the person sees."""
