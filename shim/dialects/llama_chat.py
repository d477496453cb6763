"""OpenAI's chat with what llama.cpp's server adds: ways of choosing tokens in the request, `timings` in the answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from mcp_server.contract import GenerationRequest, GenerationResult, SamplingParams
from shim.dialects import openai_chat
from shim.dialects.llama_sampling import DEFAULTS, ENGINE_NAMES, LlamaOptions, engine_sampling
from shim.dialects.llama_timings import LlamaTimings, PartialTimings, timings
from shim.dialects.openai_chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    JsonSchemaFormat,
    ResponseFormat,
)

FROM_FORMAT = {"json_schema", "grammar"}  # fields that `response_format` may have set


class LlamaResponseFormat(ResponseFormat):
    """The form of the answer; llama.cpp's server also takes a schema without the wrapper around it."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: dict[str, Any] | None = Field(default=None, alias="schema", description="The schema, for either JSON type")

    @model_validator(mode="after")
    def _schema_is_there(self) -> Self:
        if self.schema_ is not None and self.json_schema is None and self.type != "text":
            self.type, self.json_schema = "json_schema", JsonSchemaFormat(schema_=self.schema_)
        if self.type == "json_schema" and self.json_schema is None:
            msg = "response_format of type json_schema needs json_schema"
            raise ValueError(msg)
        return self


class LlamaChatRequest(LlamaOptions, ChatCompletionRequest):
    """A chat completion request with llama.cpp's options."""

    response_format: LlamaResponseFormat | None = None
    generation_prompt: str | None = Field(default=None, description="Must be empty: the template makes it")
    parse_tool_calls: bool | None = Field(default=None, description="Must be true: calls are always parsed")
    reasoning_control: bool | None = Field(default=None, description="Must be false: reasoning runs to its own end")

    @model_validator(mode="after")
    def _taken(self) -> Self:
        if self.generation_prompt:
            msg = "generation_prompt: the model's own template makes it; leave it out, or use continue_final_message"
            raise ValueError(msg)
        if self.parse_tool_calls is False:
            msg = "parse_tool_calls: calls are always parsed here; leave it out, or leave out tools"
            raise ValueError(msg)
        if self.reasoning_control:
            msg = "reasoning_control: reasoning cannot be ended from outside here; leave it out"
            raise ValueError(msg)
        return self


class LlamaChatCompletion(ChatCompletion):
    """A whole answer."""

    timings: LlamaTimings


class LlamaChatChunk(ChatCompletionChunk):
    """A chunk; the last one of an answer has its timings."""

    timings: LlamaTimings | PartialTimings | None = None


def generation_request(body: LlamaChatRequest, defaults: SamplingParams = DEFAULTS) -> GenerationRequest:
    """Translate *body*; what the client left out is taken from *defaults*."""
    request = openai_chat.generation_request(body)
    given = engine_sampling(body)
    left_out = set(ENGINE_NAMES.values()) - FROM_FORMAT - set(given)
    changes = {name: getattr(defaults, name) for name in left_out} | given
    if body.n_probs and request.sampling.n_logprobs is None:
        changes["n_logprobs"] = body.n_probs
    sampling = replace(request.sampling, **changes)
    scheduling = replace(request.scheduling, cache_prompt=body.cache_prompt is not False)
    return replace(request, sampling=sampling, scheduling=scheduling)


def completion(result: GenerationResult) -> dict[str, Any]:
    """Encode a whole answer."""
    answer = openai_chat.whole_answer(result, LlamaChatCompletion, timings=timings(result))
    return answer.model_dump(exclude={"timings"}) | {"timings": encoded_timings(result)}


def encoded_timings(result: GenerationResult) -> dict[str, Any]:
    """Encode the timings of *result*."""
    return timings(result).model_dump(exclude_none=True)


def closing_chunks(
    chunks: Sequence[ChatCompletionChunk], result: GenerationResult
) -> list[tuple[ChatCompletionChunk, dict[str, Any]]]:
    """Pair each of the closing chunks with what is added to it: timings to the last one."""
    return [(chunk, {"timings": encoded_timings(result)} if chunk is chunks[-1] else {}) for chunk in chunks]
