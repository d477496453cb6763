"""Structured log lines for both processes, joined by request id.

One JSON object a line on stderr: time, level, logger, event, and whatever `extra` the call gave. stdout belongs to
MCP. No prompt and no code text is logged at info level; that is the caller's duty, and a test reads the call sites.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

REQUEST_ID_META = "cinque/request_id"
"""Key of the MCP request's `_meta` that carries the door's request id to the server's log lines."""

request_id: ContextVar[str] = ContextVar("request_id", default="")

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; members of `extra` become keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if identifier := request_id.get():
            line["request_id"] = identifier
        line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(level: str = "INFO") -> None:
    """Send every logger's lines to stderr as JSON; replaces whatever handlers were there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("mcp", "httpx", "httpx2", "uvicorn", "asyncio", "faiss", "sentence_transformers"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
