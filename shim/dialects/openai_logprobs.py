"""OpenAI's form of log probabilities, shared by the chat dialect's responses and chunks."""

from collections.abc import Sequence

from pydantic import BaseModel

from mcp_server.contract import TokenLogprob


class TopLogprobEntry(BaseModel):
    """One alternative at one position."""

    token: str
    logprob: float
    bytes: list[int] | None


class LogprobEntry(BaseModel):
    """The token at one position, and the likeliest ones there."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprobEntry]


class ChoiceLogprobs(BaseModel):
    """Log probabilities of an answer's tokens."""

    content: list[LogprobEntry] | None
    refusal: list[LogprobEntry] | None = None


def choice_logprobs(logprobs: Sequence[TokenLogprob] | None) -> ChoiceLogprobs | None:
    """Translate *logprobs*; None stays None."""
    if logprobs is None:
        return None
    entries = [
        LogprobEntry(
            token=entry.token,
            logprob=entry.logprob,
            bytes=list(entry.bytes_),
            top_logprobs=[
                TopLogprobEntry(token=top.token, logprob=top.logprob, bytes=list(top.token.encode()))
                for top in entry.top
            ],
        )
        for entry in logprobs
    ]
    return ChoiceLogprobs(content=entries)
