"""Failures of the sandbox itself. A program that fails is an `ExecutionResult`, never one of these.

SandboxError                     sandbox_error           our own machinery failed
├── SandboxUnavailableError      sandbox_unavailable     no isolation tier works here
├── ToolchainMissingError        toolchain_missing       a language's compiler or interpreter is not installed
├── UnknownLanguageError         unknown_language        not in LANGUAGES
├── InvalidRequestError          invalid_request         a field cannot be used as given
├── SandboxBusyError             queue_full              running and waiting jobs are at their limit
└── ExecutionCancelledError      cancelled               the caller gave up; the program was killed
"""


class SandboxError(Exception):
    """Raised when the sandbox's own machinery failed; the message says what happened, to what, and what to do."""

    code = "sandbox_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class SandboxUnavailableError(SandboxError):
    """Raised when no isolation tier works on this machine and `none` was not chosen by the operator."""

    code = "sandbox_unavailable"


class ToolchainMissingError(SandboxError):
    """Raised when the compiler or interpreter of a known language is not installed; the message says how to get it."""

    code = "toolchain_missing"


class UnknownLanguageError(SandboxError):
    """Raised when a request names a language that the sandbox does not know."""

    code = "unknown_language"


class InvalidRequestError(SandboxError):
    """Raised when a field of a request cannot be used: a path that leaves the workspace, a malformed requirement."""

    code = "invalid_request"


class SandboxBusyError(SandboxError):
    """Raised when the limit of running and waiting jobs is reached; retry after the running ones."""

    code = "queue_full"


class ExecutionCancelledError(SandboxError):
    """Raised when the caller cancelled; the program was killed and its place is free again."""

    code = "cancelled"
