"""OpenAI's legacy completions: `prompt` as text or tokens, `suffix`, `echo`, `best_of`, and their response and chunks.

Fields beyond OpenAI's own are those of llama.cpp's server. Pure functions; tests validate what they make against the
official schemas.
"""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from mcp_server.contract import (
    Completion,
    Delta,
    GenerationRequest,
    GenerationResult,
    Infill,
    OutputParams,
    SchedulingParams,
    TokenLogprob,
)
from shim.dialects.llama_prompts import Prompt, PromptField, prompts_of
from shim.dialects.llama_sampling import DEFAULTS, LARGEST, LlamaSampling, engine_sampling
from shim.dialects.llama_timings import LlamaTimings, Pace, PartialTimings, timings
from shim.dialects.openai_chat import CompletionUsage, PromptTokensDetails, StreamOptions

MAX_CHOICES = 16  # of one prompt; each is a sequence of the engine's batch
MAX_PROMPTS = 256  # of one request; they run some at a time
MAX_LOGPROBS = 20  # alternatives a token; OpenAI takes 5

CompletionFinish = Literal["stop", "length"]


class CompletionRequest(LlamaSampling):
    """A request for `/v1/completions`."""

    prompt: PromptField = Field(description="Text, token ids, or a list of either")
    suffix: str | None = Field(default=None, description="Text after the completion, for models that fill gaps")
    max_tokens: int | None = Field(
        default=None, ge=-2, le=LARGEST, description="Tokens to generate at most; absent or below 0: no limit (tokens)"
    )
    n_predict: int | None = Field(default=None, ge=-2, le=LARGEST, description="The same, when max_tokens is absent")
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES, description="Choices of a prompt (count)")
    best_of: int | None = Field(
        default=None, ge=1, le=MAX_CHOICES, description="Completions made, of which the n likeliest return (count)"
    )
    echo: bool | None = Field(default=None, description="Begin each text with its prompt")
    logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS, description="Alternatives a token (count)")
    stream_options: StreamOptions | None = None
    user: str | None = Field(default=None, description="Your name for the caller; nothing is done with it")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        prompts = self.prompts()
        if len(prompts) > MAX_PROMPTS:
            msg = f"prompt has {len(prompts)} prompts; the most is {MAX_PROMPTS}"
            raise ValueError(msg)
        if self.suffix and not all(isinstance(prompt, str) for prompt in prompts):
            msg = "suffix: the prompt before a gap must be text, not token ids"
            raise ValueError(msg)
        if self.suffix and self.echo:
            msg = "echo: a prompt with a suffix cannot be echoed; leave one of them out"
            raise ValueError(msg)
        if self.best_of is not None and self.best_of < (self.n or 1):
            msg = f"best_of is {self.best_of}, less than n; make it at least {self.n}"
            raise ValueError(msg)
        if self.stream and (self.best_of or 1) > (self.n or 1):
            msg = "best_of: the best is not known while a stream runs; leave out stream or best_of"
            raise ValueError(msg)
        return self

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the prompts."""
        return prompts_of(self.prompt)

    def limit(self) -> int | None:
        """Return the most tokens to generate, None for what fits."""
        given = self.n_predict if self.max_tokens is None else self.max_tokens
        return None if given is None or given < 0 else given

    @property
    def n_choices(self) -> int:
        """Choices of each prompt."""
        return self.n or 1

    @property
    def n_logprobs(self) -> int | None:
        """Alternatives a token, None for no log probabilities."""
        return self.logprobs if self.logprobs is not None else self.n_probs or None


def generation_request(body: CompletionRequest, logit_bias: dict[str, float]) -> GenerationRequest:
    """Translate everything of *body* but its prompt; *logit_bias* is by token ids."""
    limit, made = body.limit(), body.best_of or body.n_choices
    n_logprobs = body.n_logprobs
    if n_logprobs is None and (made > body.n_choices or limit == 0):
        n_logprobs = 0  # to know which are best, or what to leave out
    sampling = replace(
        DEFAULTS,
        **engine_sampling(body),
        max_tokens=1 if limit == 0 else limit,  # the least there is; what it brings is left out
        stop=body.stops(),
        logit_bias=logit_bias,
        n_logprobs=n_logprobs,
    )
    return GenerationRequest(
        model=body.model,
        n=made,
        sampling=sampling,
        scheduling=SchedulingParams(cache_prompt=body.cache_prompt is not False),
        output=OutputParams(echo=bool(body.echo), reasoning="inline"),
    )


def with_prompt(request: GenerationRequest, prompt: str, suffix: str | None) -> GenerationRequest:
    """Add a prompt of text to *request*; with a suffix, it is a gap to fill."""
    return replace(request, infill=Infill(prompt, suffix)) if suffix else replace(request, prompt=prompt)


class CompletionLogprobs(BaseModel):
    """Log probabilities of the tokens of a text, as parallel lists. The first token of a prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One completion, or new text of one."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: CompletionFinish | None


class TextCompletion(BaseModel):
    """A whole answer, or one server-sent event of it."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None
    timings: LlamaTimings | PartialTimings | None = None


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs:
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return CompletionLogprobs(
        tokens=[token.token for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[{top.token: top.logprob for top in token.top} for token in tokens],
        text_offset=offsets,
    )


def _finish(completion: Completion) -> CompletionFinish:
    return "stop" if completion.finish_reason == "stop" else "length"


def _likelihood(completion: Completion) -> float:
    """Return the mean log probability of a completion's tokens."""
    known = [token.logprob for token in completion.logprobs or () if token.logprob is not None]
    return sum(known) / len(known) if known else 0.0


def choices(body: CompletionRequest, results: Sequence[GenerationResult]) -> list[CompletionChoice]:
    """Encode the choices of all prompts, the likeliest first where more were made than asked for."""
    chosen: list[CompletionChoice] = []
    for result in results:
        best = list(result.completions)
        if len(best) > body.n_choices:
            best = sorted(best, key=_likelihood, reverse=True)[: body.n_choices]
        for completion in best:
            chosen.append(_choice(body, result, completion, len(chosen)))
    return chosen


def _choice(body: CompletionRequest, result: GenerationResult, completion: Completion, index: int) -> CompletionChoice:
    text, logprobs = completion.text, None
    tokens = list(completion.logprobs or ())
    if body.limit() == 0:  # only an echo is left
        text = text.removesuffix("".join(token.token for token in tokens)) if body.echo else ""
        tokens = []
    if body.echo:
        tokens = [*(result.prompt_logprobs or ()), *tokens]
    if body.n_logprobs is not None:
        logprobs = _logprobs(tokens, 0)
    finish: CompletionFinish = "length" if body.limit() == 0 else _finish(completion)
    return CompletionChoice(text=text, index=index, logprobs=logprobs, finish_reason=finish)


def completion(body: CompletionRequest, results: Sequence[GenerationResult]) -> TextCompletion:
    """Encode the whole answer."""
    encoder = CompletionEncoder(body, results[0].model)
    return encoder.whole(choices(body, results), results)


@dataclass
class _Begun:
    """What a stream has said of one choice."""

    n_chars: int = 0


class CompletionEncoder:
    """Encodes one answer; keeps what every chunk repeats, and how far each choice is."""

    def __init__(self, body: CompletionRequest, model: str) -> None:
        self._body = body
        self._model = model
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._begun: dict[int, _Begun] = {}
        self._pace = Pace()

    def deltas(self, position: int, deltas: tuple[Delta, ...]) -> list[TextCompletion]:
        """Return one chunk for each choice's new text; *position* is the prompt's."""
        chunks = []
        for delta in deltas:
            index = position * self._body.n_choices + delta.index
            begun = self._begun.setdefault(index, _Begun())
            logprobs = _logprobs(delta.logprobs, begun.n_chars) if delta.logprobs else None
            begun.n_chars += len(delta.text)
            choice = CompletionChoice(text=delta.text, index=index, logprobs=logprobs, finish_reason=None)
            chunks.append(self._part([choice]))
            spent = self._pace.note(index, delta.n_tokens)
            chunks[-1].timings = spent if self._body.timings_per_token else None
        return chunks

    def end(self, results: Sequence[GenerationResult]) -> list[TextCompletion]:
        """Return the closing chunks: a finish_reason for every choice, then usage when it was asked for."""
        self._model = results[0].model
        if self._body.limit() == 0:  # nothing was streamed: only an echo is left to tell
            chunks = [self._part([choice]) for choice in choices(self._body, results)]
        else:
            finished = [which for result in results for which in result.completions]
            chunks = [
                self._part([CompletionChoice(text="", index=index, logprobs=None, finish_reason=_finish(which))])
                for index, which in enumerate(finished)
            ]
        chunks[-1].timings = timings(results[-1]) if len(results) == 1 else None
        options = self._body.stream_options
        if options is not None and options.include_usage:
            chunks.append(self._part([]))
            chunks[-1].usage = usage(self._body, results)
        return chunks

    def whole(self, chosen: list[CompletionChoice], results: Sequence[GenerationResult]) -> TextCompletion:
        """Return everything at once."""
        answer = self._part(chosen)
        answer.usage = usage(self._body, results)
        answer.timings = timings(results[0]) if len(results) == 1 else None
        return answer

    def _part(self, chosen: list[CompletionChoice]) -> TextCompletion:
        return TextCompletion(id=self._id, created=self._created, model=self._model, choices=chosen)


def usage(body: CompletionRequest, results: Sequence[GenerationResult]) -> CompletionUsage:
    """Return the tokens spent on all prompts; what `max_tokens: 0` leaves out is not counted."""
    n_prompt = sum(result.usage.prompt_tokens for result in results)
    n_completion = 0 if body.limit() == 0 else sum(result.usage.completion_tokens for result in results)
    n_cached = sum(result.usage.cached_tokens for result in results)
    return CompletionUsage(
        prompt_tokens=n_prompt,
        completion_tokens=n_completion,
        total_tokens=n_prompt + n_completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=n_cached),
    )


def encode(part: TextCompletion) -> str:
    """Return *part* as JSON, without the members that it has not."""
    absent = {name for name in ("usage", "timings") if getattr(part, name) is None}
    data: dict[str, Any] = part.model_dump(exclude=absent)
    if part.timings is not None:
        data["timings"] = part.timings.model_dump(exclude_none=True)
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
