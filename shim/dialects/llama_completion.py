"""Raw completion and infilling of llama.cpp's server: `/completion` and `/infill`, their fields and their results.

Pure functions. What a field asks of our engine is said in `llama_sampling`.
"""

import math
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from mcp_server.contract import (
    Completion,
    Delta,
    GenerationRequest,
    GenerationResult,
    Infill,
    InfillFile,
    OutputParams,
    SamplingParams,
    SchedulingParams,
    TokenLogprob,
)
from shim.dialects.llama_prompts import Prompt, PromptField, prompts_of
from shim.dialects.llama_sampling import (
    DEFAULTS,
    LARGEST,
    SAMPLERS,
    LlamaSampling,
    engine_sampling,
    sampler_names,
)
from shim.dialects.llama_timings import LlamaTimings, PartialTimings, timings

MAX_COMPLETIONS = 16  # of one prompt; each is a sequence of the engine's batch
MAX_PROMPTS = 256  # of one request; they run some at a time

StopType = Literal["none", "eos", "limit", "word"]


class GenerationFields(LlamaSampling):
    """What `/completion` and `/infill` share."""

    n_predict: int | None = Field(
        default=None, ge=-2, le=LARGEST, description="Tokens to generate at most; below 0 for no limit (tokens)"
    )
    max_tokens: int | None = Field(default=None, ge=-2, le=LARGEST, description="The same, when n_predict is absent")
    n_cmpl: int | None = Field(default=None, ge=1, le=MAX_COMPLETIONS, description="Completions of a prompt (count)")
    n: int | None = Field(default=None, ge=1, le=MAX_COMPLETIONS, description="The same, when n_cmpl is absent")
    response_fields: list[str] | None = Field(default=None, description="Members to return; `a/b` takes b out of a")

    def limit(self) -> int | None:
        """Return the most tokens to generate, None for what fits."""
        given = self.max_tokens if self.n_predict is None else self.n_predict
        return None if given is None or given < 0 else given


class RawCompletionRequest(GenerationFields):
    """A request for `/completion`."""

    prompt: PromptField = Field(description="Text, token ids, a mix of both, or a list of such prompts")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if len(self.prompts()) > MAX_PROMPTS:
            msg = f"prompt has {len(self.prompts())} prompts; the most is {MAX_PROMPTS}"
            raise ValueError(msg)
        return self

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the prompts."""
        return prompts_of(self.prompt)


class ExtraFile(BaseModel):
    """A file beside the one that is filled in."""

    filename: str | None = None
    text: str


class InfillRequest(GenerationFields):
    """A request for `/infill`."""

    input_prefix: str = Field(description="Code before the gap")
    input_suffix: str = Field(description="Code after the gap")
    input_extra: list[ExtraFile] | None = Field(default=None, description="Other files of the project")
    prompt: str | None = Field(default=None, description="How the filling begins; not returned")

    def gap(self) -> Infill:
        """Return what is to be filled in."""
        files = [InfillFile(extra.filename or "", extra.text) for extra in self.input_extra or []]
        return Infill(self.input_prefix, self.input_suffix, self.prompt or "", tuple(files))


def generation_request(body: GenerationFields, logit_bias: dict[str, float]) -> GenerationRequest:
    """Translate everything of *body* but its prompt; *logit_bias* is by token ids."""
    wants_probabilities = body.n_probs or None  # 0 means none there
    limit = body.limit()
    sampling: SamplingParams = replace(
        DEFAULTS,
        **engine_sampling(body),
        max_tokens=1 if limit == 0 else limit,  # the least that fills the cache; what it brings is left out
        stop=body.stops(),
        logit_bias=logit_bias,
        n_logprobs=wants_probabilities,
    )
    return GenerationRequest(
        model=body.model,
        n=body.n_cmpl or body.n or 1,
        sampling=sampling,
        scheduling=SchedulingParams(cache_prompt=body.cache_prompt is not False),
        output=OutputParams(return_token_ids=True, reasoning="inline"),
    )


class RawCompletion(BaseModel):
    """A finished completion; `completion_probabilities` is there when `n_probs` asked for it and nothing streamed."""

    index: int
    content: str
    tokens: list[int]
    id_slot: int = -1  # of the engine's slots none is kept for a request
    stop: Literal[True] = True
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    generation_settings: dict[str, Any]
    prompt: str
    has_new_line: bool
    truncated: bool  # the context was full before the answer ended; a prompt that does not fit is refused instead
    stop_type: StopType
    stopping_word: str
    tokens_cached: int
    timings: LlamaTimings
    completion_probabilities: list[dict[str, Any]] | None = None


class RawChunk(BaseModel):
    """One server-sent event of a streamed completion; the last one is a `RawCompletion` without its text."""

    index: int
    content: str
    tokens: list[int]
    stop: Literal[False] = False
    id_slot: int = -1
    tokens_predicted: int
    timings: PartialTimings | None = None
    completion_probabilities: list[dict[str, Any]] | None = None


class Settled:
    """What the results of one prompt repeat: the request as it was understood, the prompt, the settings."""

    def __init__(self, body: GenerationFields, request: GenerationRequest, prompt: str, n_ctx: int | None) -> None:
        self._body = body
        self._prompt = prompt
        self._n_ctx = n_ctx
        self._settings = generation_settings(request, is_streamed=bool(body.stream), n_predict=body.limit())
        self._settings |= {"timings_per_token": bool(body.timings_per_token), "n_keep": body.n_keep or 0}
        self._settings["samplers"] = sampler_names(body.samplers) or list(SAMPLERS)
        if n_ctx is not None:
            self._settings["n_ctx"] = n_ctx

    def completion(self, result: GenerationResult, which: Completion, index: int) -> dict[str, Any]:
        """Encode one completion of *result* as number *index* of the answer."""
        is_streamed, is_empty = bool(self._body.stream), self._body.limit() == 0
        tokens = [] if is_empty else list(which.token_ids or ())
        n_predicted = len(tokens) or (0 if is_empty else n_generated(result, which))
        body = RawCompletion(
            index=index,
            content="" if is_streamed or is_empty else which.text,
            tokens=tokens if self._body.return_tokens and not is_streamed else [],
            model=result.model,
            tokens_predicted=n_predicted,
            tokens_evaluated=result.usage.prompt_tokens,
            generation_settings=self._settings | {"model": result.model},
            prompt=self._prompt,
            has_new_line="\n" in which.text and not is_empty,
            truncated=self._is_truncated(which, result.usage.prompt_tokens, n_predicted),
            stop_type="limit" if is_empty else stop_type(which),
            stopping_word=which.stop_text or "",
            tokens_cached=result.usage.cached_tokens,
            timings=timings(result),
        )
        data = body.model_dump(exclude_none=True)
        if which.logprobs and not is_streamed and not is_empty:
            data["completion_probabilities"] = probabilities(which.logprobs, after_sampling=self._after_sampling)
        return data if self._body.response_fields is None else chosen_fields(data, self._body.response_fields)

    def _is_truncated(self, which: Completion, n_prompt: int, n_predicted: int) -> bool:
        """Say whether it was the context that ended a completion, and not the client's own limit."""
        limit = self._body.limit()
        is_full = self._n_ctx is not None and n_prompt + n_predicted >= self._n_ctx
        return is_full and which.finish_reason == "length" and (limit is None or n_predicted < limit)

    def chunk(self, delta: Delta, index: int, spent: PartialTimings) -> dict[str, Any]:
        """Encode new text of completion number *index*; *spent* is how far it is."""
        data = RawChunk(
            index=index,
            content=delta.text,
            tokens=list(delta.token_ids),
            tokens_predicted=spent.predicted_n,
            timings=spent if self._body.timings_per_token else None,
        ).model_dump(exclude_none=True)
        if delta.logprobs:
            data["completion_probabilities"] = probabilities(delta.logprobs, after_sampling=self._after_sampling)
        return data

    @property
    def _after_sampling(self) -> bool:
        return bool(self._body.post_sampling_probs)


def n_generated(result: GenerationResult, which: Completion) -> int:
    """Count the tokens of one completion; its share of all, where there are no ids, as of most remote models."""
    if which.token_ids:
        return len(which.token_ids)
    return result.usage.completion_tokens // max(1, len(result.completions))


def stop_type(completion: Completion) -> StopType:
    """Say what ended *completion*."""
    if completion.finish_reason != "stop":
        return "limit"
    return "eos" if completion.stop_text is None else "word"


def probabilities(logprobs: tuple[TokenLogprob, ...], *, after_sampling: bool) -> list[dict[str, Any]]:
    """Encode the probabilities of generated tokens: logarithms, or shares of 1 after the samplers."""
    name, tops = ("prob", "top_probs") if after_sampling else ("logprob", "top_logprobs")

    def entry(token: Any) -> dict[str, Any]:
        logprob = token.logprob if token.logprob is not None else 0.0
        value = math.exp(logprob) if after_sampling else logprob
        spelled = list(token.bytes_ or token.token.encode())
        return {"id": token.token_id, "token": token.token, "bytes": spelled, name: value}

    return [entry(token) | {tops: [entry(top) for top in token.top]} for token in logprobs]


def generation_settings(
    request: GenerationRequest, *, is_streamed: bool = False, n_predict: int | None = None
) -> dict[str, Any]:
    """Encode how a request was understood, as `generation_settings` and as the `params` of slots."""
    s = request.sampling
    limit = -1 if n_predict is None else n_predict
    return sampling_settings(s) | {
        "n_predict": limit,
        "max_tokens": limit,
        "stream": is_streamed,
        "n_cmpl": request.n,
        "cache_prompt": request.scheduling.cache_prompt,
    }


def sampling_settings(s: SamplingParams) -> dict[str, Any]:
    """Encode how tokens are chosen, by the names of llama.cpp's server."""
    return {
        "seed": 2**32 - 1 if s.seed is None else s.seed,
        "temperature": s.temperature,
        "dynatemp_range": s.dynatemp_range,
        "dynatemp_exponent": s.dynatemp_exponent,
        "top_k": s.top_k,
        "top_p": s.top_p,
        "min_p": s.min_p,
        "top_n_sigma": -1.0 if s.top_n_sigma is None else s.top_n_sigma,
        "xtc_probability": s.xtc_probability,
        "xtc_threshold": s.xtc_threshold,
        "typical_p": s.typical_p,
        "repeat_last_n": s.penalty_window,
        "repeat_penalty": s.repetition_penalty,
        "presence_penalty": s.presence_penalty,
        "frequency_penalty": s.frequency_penalty,
        "dry_multiplier": s.dry_multiplier,
        "dry_base": s.dry_base,
        "dry_allowed_length": s.dry_allowed_length,
        "dry_penalty_last_n": s.dry_window,
        "dry_sequence_breakers": list(s.dry_sequence_breakers),
        "mirostat": s.mirostat,
        "mirostat_tau": s.mirostat_tau,
        "mirostat_eta": s.mirostat_eta,
        "stop": list(s.stop),
        "n_predict": -1 if s.max_tokens is None else s.max_tokens,
        "max_tokens": -1 if s.max_tokens is None else s.max_tokens,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": s.ignore_eos,
        "logit_bias": [{"token": int(token), "bias": bias} for token, bias in s.logit_bias.items()],
        "n_probs": s.n_logprobs or 0,
        "min_keep": s.min_keep,
        "grammar": s.grammar or "",
        "samplers": list(SAMPLERS),
        "post_sampling_probs": s.post_sampling_logprobs,
        "lora": [],
    }


def chosen_fields(data: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """Return only *fields* of *data*; `a/b` is b of a, under that name, and what is not there is left out."""
    chosen: dict[str, Any] = {}
    for field in fields:
        *path, name = field.split("/")
        inside: Any = data
        for part in path:
            inside = inside.get(part) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and name in inside:
            chosen[field] = inside[name]
    return chosen
