"""Failures of the capabilities that live in this package; `sandbox` and `rag` have their own trees of the same form.

    CinqueError                      internal_error          ours; the message is safe to show
    ├── InvalidRequestError          invalid_request         a field cannot be used as given
    ├── ContextLengthError           context_length_exceeded prompt and max_tokens do not fit the model
    ├── ModelNotFoundError           model_not_found         no such model here
    ├── ModelLoadError               model_load_failed       the file cannot be loaded
    ├── ModelPullError               model_pull_failed       the download failed
    ├── QueueFullError               queue_full              too many requests wait
    ├── DeadlineError                deadline_exceeded       not done within the time that the request gave
    ├── NotSupportedError            not_supported           this model cannot do that
    ├── UpstreamError                upstream_error          a remote model's server failed or cannot be reached
    └── EngineError                  engine_error            native inference failed

Every class carries `code`, a member of `contract.ErrorCode`; doors render codes, never classes.
"""


class CinqueError(Exception):
    """Base of our failures. `message` says what happened, to what, and what to do; `param` names the field at fault."""

    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequestError(CinqueError):
    """Raised when a field of a request cannot be used as given."""

    code = "invalid_request"


class ContextLengthError(CinqueError):
    """Raised when the prompt does not fit the model's context; the message has both numbers of tokens."""

    code = "context_length_exceeded"


class ModelNotFoundError(CinqueError):
    """Raised when a request names a model that is not on this machine."""

    code = "model_not_found"


class ModelLoadError(CinqueError):
    """Raised when a model file is missing, truncated or of an architecture that this build cannot run."""

    code = "model_load_failed"


class ModelPullError(CinqueError):
    """Raised when a model cannot be downloaded: offline, not found, or a checksum that does not match."""

    code = "model_pull_failed"


class QueueFullError(CinqueError):
    """Raised when as many requests wait as the setting allows; retry later."""

    code = "queue_full"


class DeadlineError(CinqueError):
    """Raised when a request is not done within the time that it gave."""

    code = "deadline_exceeded"


class NotSupportedError(CinqueError):
    """Raised when a model cannot do what is asked, for example fill a gap without tokens for it."""

    code = "not_supported"


class UpstreamError(CinqueError):
    """Raised when the server of a remote model fails, cannot be reached, or is not asked because it failed lately."""

    code = "upstream_error"


class EngineError(CinqueError):
    """Raised when native inference failed for a reason that is not the request's."""

    code = "engine_error"
