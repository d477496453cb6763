"""Answers of OpenAI-compatible servers: server-sent events cut out of bytes, chunks read, deltas and a result made.

`EventSplitter` bounds what an event may hold. `Answer` adds up one stream, of any of the dialects: chat completions,
completions, llama-server's own form, and a whole JSON answer of a server that does not stream. Nothing here does I/O.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, Field

from mcp_server.engine.remote.logprobs import UNKNOWN_ID, read_logprobs
from mcp_server.engine.types import (
    Completion,
    Delta,
    FinishReason,
    GenerationRequest,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

MAX_EVENT_BYTES = 16 << 20  # a whole answer with logprobs is smaller; more is a server gone wrong
DONE = "[DONE]"
THINK, END_OF_THINK = "<think>\n", "\n</think>\n\n"  # how reasoning stands in the text when it is wanted there
LENGTH_REASONS = ("length", "limit", "max_tokens")


class EventSplitter:
    """Cuts a byte stream into the data of its events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[str]:
        """Give the data of every event that is complete now; comments and other fields are skipped.

        Raises:
            ValueError: A line is longer than any event may be.
        """
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            msg = f"an event of more than {MAX_EVENT_BYTES} bytes"
            raise ValueError(msg)
        for line in lines:  # all these servers write one line of data an event
            if line.startswith(b"data:") and (data := line[5:].strip()):
                yield data.decode("utf-8", "replace")


class _Function(BaseModel):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(BaseModel):
    index: int | None = None
    id: str | None = None
    function: _Function = Field(default_factory=_Function)


class _Part(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # Ollama's and newer vLLM's name of it
    tool_calls: list[_ToolCall] | None = None


class _Choice(BaseModel):
    index: int = Field(default=0, ge=0)
    delta: _Part | None = None
    message: _Part | None = None  # of an answer that is not streamed
    text: str | None = None
    logprobs: Any = None
    finish_reason: str | None = None
    stop_reason: Any = None
    token_ids: list[int] | None = None


class _Details(BaseModel):
    cached_tokens: int | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None


class _Timings(BaseModel):
    cache_n: int = 0
    draft_n: int = 0
    draft_n_accepted: int = 0


class _Native(BaseModel):
    """One event of llama-server's own form, which `/infill` has."""

    content: str
    index: int = Field(default=0, ge=0)
    tokens: list[int] = []
    stop: bool = False
    stop_type: str = "eos"
    stopping_word: str = ""
    tokens_evaluated: int = 0
    tokens_predicted: int = 0
    completion_probabilities: Any = None
    timings: _Timings | None = None


class Chunk(BaseModel):
    """One event, or one whole answer."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    prompt_token_ids: list[int] | None = None
    error: Any = None


def read_chunk(data: str | bytes) -> Chunk:
    """Read one event.

    Raises:
        ValueError: It is no JSON, or not of any form known here (pydantic's error is one).
    """
    chunk = Chunk.model_validate_json(data)
    if chunk.choices is None and chunk.error is None and chunk.usage is None:
        return _from_native(_Native.model_validate_json(data))
    return chunk


def _from_native(event: _Native) -> Chunk:
    choice = _Choice(
        index=event.index,
        text=event.content,
        logprobs=event.completion_probabilities,
        finish_reason=event.stop_type if event.stop else None,
        stop_reason=event.stopping_word or None,
        token_ids=event.tokens or None,
    )
    usage = _Usage(prompt_tokens=event.tokens_evaluated, completion_tokens=event.tokens_predicted)
    return Chunk(choices=[choice], usage=usage if event.stop else None, timings=event.timings)


@dataclass
class _Call:
    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass
class _Sum:
    """One completion, so far."""

    texts: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    finish_reason: FinishReason | None = None
    stop_text: str | None = None
    is_thinking: bool = False  # inline reasoning is open
    n_tokens: int = 0


class Answer:
    """Adds up one stream of chunks for one request."""

    def __init__(self, request: GenerationRequest, first_index: int = 0) -> None:
        """Begin.

        Args:
            request: what was asked; decides what of the answer is kept.
            first_index: of the completions, where this stream is one of several for one request.
        """
        self._first = first_index
        self._n_top = request.sampling.n_logprobs
        self._keeps_ids = request.output.return_token_ids
        self._inline = request.output.reasoning == "inline"
        self._sums: dict[int, _Sum] = {}
        self.usage: Usage | None = None
        self.prompt_token_ids: tuple[int, ...] | None = None
        self.is_done = False  # the server said so

    @property
    def n_completions(self) -> int:
        """How many completions have begun."""
        return len(self._sums)

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is missing: the server said so, or every completion that began has ended."""
        return bool(self._sums) and (self.is_done or all(one.finish_reason for one in self._sums.values()))

    def take(self, chunk: Chunk) -> list[Delta]:
        """Add one chunk; give what is new in it.

        Raises:
            ValueError: Its logprobs cannot be read.
        """
        self._take_usage(chunk)
        if chunk.prompt_token_ids is not None and self._keeps_ids:
            self.prompt_token_ids = tuple(chunk.prompt_token_ids)
        deltas = [self._take_choice(choice) for choice in chunk.choices or ()]
        return [delta for delta in deltas if delta is not None]

    def close(self) -> list[Delta]:
        """End the answer; give the last deltas: open reasoning closed, and tokens that no chunk showed counted."""
        deltas = []
        counted = sum(one.n_tokens for one in self._sums.values())
        if self.usage and len(self._sums) > 1:  # llama-server tells what one of them cost
            self.usage = replace(self.usage, completion_tokens=max(counted, self.usage.completion_tokens))
        missing = max(0, self.usage.completion_tokens - counted) if self.usage else 0
        for index, one in sorted(self._sums.items()):
            tail = END_OF_THINK if one.is_thinking else ""
            one.texts.append(tail)
            if tail or missing:
                deltas.append(Delta(index, tail, n_tokens=missing))
            one.n_tokens += missing
            missing = 0
        if self.usage is None:  # a server that does not count: a chunk was a token, as far as one can tell
            self.usage = Usage(0, counted)
        return deltas

    def completions(self) -> tuple[Completion, ...]:
        """Give the completions, in the order of their index."""
        return tuple(self._completion(index, one) for index, one in sorted(self._sums.items()))

    def _completion(self, index: int, one: _Sum) -> Completion:
        ids = one.token_ids or [entry.token_id for entry in one.logprobs if entry.token_id != UNKNOWN_ID]
        return Completion(
            index=index,
            text="".join(one.texts),
            finish_reason=one.finish_reason or "stop",
            logprobs=None if self._n_top is None else tuple(one.logprobs),
            reasoning="".join(one.reasoning),
            tool_calls=tuple(ToolCall(c.call_id, c.name, "".join(c.arguments)) for _, c in sorted(one.calls.items())),
            token_ids=tuple(ids) if self._keeps_ids else None,
            stop_text=one.stop_text,
        )

    def _take_choice(self, choice: _Choice) -> Delta | None:
        one = self._sums.setdefault(self._first + choice.index, _Sum())
        part = choice.delta or choice.message or _Part(content=choice.text)
        text, reasoning = self._split(one, part.content or "", part.reasoning_content or part.reasoning or "")
        logprobs = read_logprobs(choice.logprobs, self._n_top or 0)
        calls = tuple(_take_call(one.calls, call) for call in part.tool_calls or ())
        if choice.finish_reason:
            one.finish_reason = "length" if choice.finish_reason in LENGTH_REASONS else "stop"
            one.stop_text = choice.stop_reason if isinstance(choice.stop_reason, str) else None
        if not (text or reasoning or calls or logprobs or choice.token_ids):
            return None
        ids = choice.token_ids or [entry.token_id for entry in logprobs if entry.token_id != UNKNOWN_ID]
        n_tokens = len(choice.token_ids or ()) or len(logprobs) or 1
        one.n_tokens += n_tokens
        one.texts.append(text)
        one.reasoning.append(reasoning)
        one.logprobs.extend(logprobs)
        one.token_ids.extend(choice.token_ids or ())
        shown = () if self._n_top is None else logprobs
        shown_ids = tuple(ids) if self._keeps_ids else ()
        return Delta(self._first + choice.index, text, shown, n_tokens, reasoning, calls, shown_ids)

    def _split(self, one: _Sum, text: str, reasoning: str) -> tuple[str, str]:
        """Put reasoning into the text where it is wanted there and the server keeps it apart all the same."""
        if not self._inline:
            return text, reasoning
        if reasoning and not one.is_thinking:
            one.is_thinking, reasoning = True, THINK + reasoning
        if text and one.is_thinking:
            one.is_thinking, text = False, END_OF_THINK + text
        return reasoning + text, ""

    def _take_usage(self, chunk: Chunk) -> None:
        if chunk.usage is not None:
            timings = chunk.timings or _Timings()
            details = chunk.usage.prompt_tokens_details
            self.usage = Usage(
                prompt_tokens=chunk.usage.prompt_tokens,
                completion_tokens=chunk.usage.completion_tokens or 0,
                cached_tokens=(details.cached_tokens if details else None) or timings.cache_n,
                drafted_tokens=timings.draft_n,
                accepted_tokens=timings.draft_n_accepted,
            )


def _take_call(calls: dict[int, _Call], new: _ToolCall) -> ToolCallDelta:
    """Add to the call that *new* goes on with, or begin one; servers that give no index send each call whole."""
    position = len(calls) if new.index is None else new.index
    given = new.function.arguments
    arguments = json.dumps(given) if isinstance(given, dict) else given or ""
    if position in calls:
        calls[position].arguments.append(arguments)
        return ToolCallDelta(position, arguments=arguments)
    call = _Call(new.id or f"call_{uuid.uuid4().hex[:24]}", new.function.name or "", [arguments])
    calls[position] = call
    return ToolCallDelta(position, call.call_id, call.name, arguments)
