"""Log probabilities as servers write them, in each of the forms that are about: chat, older completions, llama.cpp's.

A server that gives no token ids leaves them -1. Whatever is not a number where one belongs makes a `ValueError`, which
the reader of the stream turns into an error of the server.
"""

import math
from typing import Any

from mcp_server.engine.types import TokenLogprob, TopLogprob

UNKNOWN_ID = -1
LEAST_LOGPROB = -9999.0  # JSON has no infinity; what OpenAI writes for "impossible"


def read_logprobs(given: Any, n_top: int) -> tuple[TokenLogprob, ...]:
    """Read the logprobs of one chunk or answer; None or an unknown form gives none.

    Args:
        given: the member `logprobs` of a choice, or llama.cpp's list `completion_probabilities`.
        n_top: alternatives to keep; servers may be asked for more than the caller was.

    Raises:
        ValueError: A member has the wrong type.
    """
    if isinstance(given, dict):
        if isinstance(given.get("tokens"), list):
            return _legacy(given, n_top)
        given = given.get("content")
    return tuple(_entry(entry, n_top) for entry in given) if isinstance(given, list) else ()


def _entry(entry: Any, n_top: int) -> TokenLogprob:
    if not isinstance(entry, dict):
        msg = "a log probability is not an object"
        raise ValueError(msg)  # noqa: TRY004 - one kind of error for all that a server may write
    chosen = _top(entry)
    others = entry.get("top_logprobs") or entry.get("top_probs") or ()
    top = tuple(_top(other) for other in others)[:n_top]
    return TokenLogprob(chosen.token, chosen.token_id, chosen.logprob, chosen.bytes_, top)


def _top(entry: dict[str, Any]) -> TopLogprob:
    token = str(entry.get("token", ""))
    given = entry.get("bytes")
    token_bytes = token.encode("utf-8", "replace") if given is None else bytes(given)
    return TopLogprob(token, int(entry.get("id", UNKNOWN_ID)), _logprob(entry), tuple(token_bytes))


def _logprob(entry: dict[str, Any]) -> float:
    if "prob" in entry:  # llama.cpp's, after sampling
        return math.log(entry["prob"]) if entry["prob"] > 0 else LEAST_LOGPROB
    given = entry.get("logprob")
    return LEAST_LOGPROB if given is None else max(LEAST_LOGPROB, float(given))


def _legacy(given: dict[str, Any], n_top: int) -> tuple[TokenLogprob, ...]:
    tokens = [str(token) for token in given["tokens"]]
    logprobs = given.get("token_logprobs") or [None] * len(tokens)
    tops = given.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(
            token,
            UNKNOWN_ID,
            None if logprob is None else float(logprob),
            tuple(token.encode("utf-8", "replace")),
            tuple(
                TopLogprob(text, UNKNOWN_ID, float(value), tuple(text.encode("utf-8", "replace")))
                for text, value in sorted((top or {}).items(), key=lambda pair: -pair[1])[:n_top]
            ),
        )
        for token, logprob, top in zip(tokens, logprobs, tops, strict=False)
    )
