"""Failures of indexing and retrieval.

RagError                         retrieval_error         our own machinery failed
├── CollectionNotFoundError      collection_not_found    no such collection
├── InvalidRequestError          invalid_request         a field cannot be used as given
├── LimitExceededError           limit_exceeded          too many files, lines or bytes
├── IndexCancelledError          cancelled               the caller gave up; the previous index stands
├── EmbeddingUnavailableError    embedding_unavailable   no embedding weights on this machine
└── StoreUnavailableError        store_unavailable       what keeps the collections cannot be used
"""


class RagError(Exception):
    """Raised when retrieval's own machinery failed; the message says what happened, to what, and what to do."""

    code = "retrieval_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class CollectionNotFoundError(RagError):
    """Raised when a request names a collection that does not exist."""

    code = "collection_not_found"


class InvalidRequestError(RagError):
    """Raised when a field of a request cannot be used as given."""

    code = "invalid_request"


class LimitExceededError(RagError):
    """Raised when the files given exceed a limit of the settings; the message has both numbers."""

    code = "limit_exceeded"


class IndexCancelledError(RagError):
    """Raised when the caller's `cancelled` event stopped an indexing; the previous index still stands whole."""

    code = "cancelled"


class EmbeddingUnavailableError(RagError):
    """Raised when the weights of the embedding model are neither on disk nor can be fetched."""

    code = "embedding_unavailable"


class StoreUnavailableError(RagError):
    """Raised when the database or folder that keeps the collections cannot be reached, or read, or written."""

    code = "store_unavailable"
