"""What a remote model's server says is wrong, as our own errors, in its own words.

Every dialect of error body that OpenAI-compatible servers write is read here; nothing else of theirs is. A failure of
the server itself is a `ServerFailureError`, which its circuit breaker counts; a refusal of the request is none.
"""

import json
from typing import Any

from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.errors import (
    CinqueError,
    ContextLengthError,
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    NotSupportedError,
    QueueFullError,
    UpstreamError,
)

MAX_WORDS_CHARS = 500  # of a server's message that ours repeats: enough for a sentence, too little for a page of HTML
CONTEXT_SIGNS = ("exceed_context_size", "context_length", "maximum context length", "context size")
BUSY, UNAVAILABLE, NOT_FOUND, LEAST_FAILURE = 429, 503, 404, 500  # HTTP statuses
REFUSED_KEY = (401, 403)
ABSENT = (NOT_FOUND, 405, 501)  # no such endpoint, or not for this model
UNUSABLE = (400, 413, 422)

OUR_CODES: dict[str, type[CinqueError]] = {
    error.code: error
    for error in (
        ContextLengthError,
        DeadlineError,
        InvalidRequestError,
        ModelNotFoundError,
        NotSupportedError,
        QueueFullError,
    )
}
"""A server that says one of our own codes means it: another Cinque, or OpenAI where the names are the same."""


class ServerFailureError(UpstreamError):
    """Raised when the server itself failed; enough of these in a row and it is not asked for a while."""


class UnreachableError(ServerFailureError):
    """Raised when no connection came about, so nothing was sent and another server may be tried."""


def refusal(model: RemoteModel, url: str, status: int, body: bytes) -> CinqueError:
    """Make the error of an answer with an HTTP status of 300 or more.

    Args:
        model: whose server answered.
        url: the server's, for the message.
        status: the answer's.
        body: the answer's, or its beginning.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = body.decode("utf-8", "replace")
    return stated(model, url, status, document)


def stated(model: RemoteModel, url: str, status: int, document: Any) -> CinqueError:
    """Make the error of a decoded body, or of an error within a stream, which then gives the status itself."""
    words, code, param = _read(document)
    said = f"{model.model_id} at {url} answered {status}: {clip(words) or 'no message'}"
    if known := OUR_CODES.get(code):
        return known(clip(words) or said, param=param)
    if status in UNUSABLE:
        if any(sign in f"{code} {words}".lower() for sign in CONTEXT_SIGNS):
            return ContextLengthError(clip(words), param=param or "messages")
        return InvalidRequestError(said, param=param)
    return _not_ours(model, said, status, words)


def _not_ours(model: RemoteModel, said: str, status: int, words: str) -> CinqueError:
    """Make the error of a refusal that no field of the request caused."""
    said = said.rstrip(".")
    if status in REFUSED_KEY:
        return UpstreamError(f"{said}. {_advice(model)}")
    if status == BUSY:
        return QueueFullError(f"{said}. Try again later.")
    if status == NOT_FOUND and "model" in words.lower():
        return ModelNotFoundError(f"{said}. Correct the upstream name of this model.", param="model")
    if status in ABSENT:
        return NotSupportedError(f"{said}. Its server does not offer this.")
    kind = ServerFailureError if status >= LEAST_FAILURE else UpstreamError
    return kind(said)


def within_stream(model: RemoteModel, url: str, error: Any) -> CinqueError:
    """Make the error of an error event in the middle of a stream."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and code >= min(UNUSABLE) else LEAST_FAILURE
    return stated(model, url, status, {"error": error})


def clip(text: str) -> str:
    """Cut a text of a server to what a message may repeat, on one line."""
    line = " ".join(text[: MAX_WORDS_CHARS * 4].split())
    return line if len(line) <= MAX_WORDS_CHARS else f"{line[:MAX_WORDS_CHARS]}..."


def _read(document: Any) -> tuple[str, str, str | None]:
    """Find message, code and field in `{"error": {...}}`, `{"error": ""}`, `{"message"}`, `{"detail"}`, plain text."""
    inner = document.get("error", document) if isinstance(document, dict) else document
    if not isinstance(inner, dict):
        return str(inner or ""), "", None
    words = inner.get("message") or inner.get("detail") or ""
    code, kind, param = inner.get("code"), inner.get("type"), inner.get("param")
    name = code if isinstance(code, str) else kind
    return (
        words if isinstance(words, str) else json.dumps(words),
        name if isinstance(name, str) else "",
        param if isinstance(param, str) else None,
    )


def _advice(model: RemoteModel) -> str:
    if model.api_key_env is None:
        return "Name the environment variable of its key as api_key_env in models.toml."
    return f"Set the environment variable {model.api_key_env} to a key that it accepts."
