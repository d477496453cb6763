"""OpenAI's chat with what llama.cpp's server adds: its ways of choosing tokens in the request, `timings` in the answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcp_server.contract import GenerationRequest, GenerationResult, SamplingParams
from shim.dialects import openai_chat
from shim.dialects.llama_sampling import DEFAULTS, LlamaOptions, engine_sampling
from shim.dialects.llama_timings import LlamaTimings, timings
from shim.dialects.openai_chat import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest


class LlamaChatRequest(LlamaOptions, ChatCompletionRequest):
    """A chat completion request with llama.cpp's options."""


class LlamaChatCompletion(ChatCompletion):
    """A whole answer."""

    timings: LlamaTimings


class LlamaChatChunk(ChatCompletionChunk):
    """A chunk; the last one of an answer has its timings."""

    timings: LlamaTimings | None = None


def generation_request(body: LlamaChatRequest, defaults: SamplingParams = DEFAULTS) -> GenerationRequest:
    """Translate *body*; what the client left out is taken from *defaults*."""
    request = openai_chat.generation_request(body)
    of_openai = {name: getattr(request.sampling, name) for name in ("max_tokens", "stop", "n_logprobs", "json_mode")}
    of_openai["json_schema"] = request.sampling.json_schema
    of_openai["logit_bias"] = request.sampling.logit_bias
    if of_openai["n_logprobs"] is None and body.n_probs:
        of_openai["n_logprobs"] = body.n_probs
    sampling = replace(defaults, **(of_openai | engine_sampling(body)))
    scheduling = replace(request.scheduling, cache_prompt=body.cache_prompt is not False)
    return replace(request, sampling=sampling, scheduling=scheduling)


def completion(result: GenerationResult) -> dict[str, Any]:
    """Encode a whole answer."""
    encoder = openai_chat.ChunkEncoder(result.model)
    answer = LlamaChatCompletion(
        id=encoder.completion_id,
        created=encoder.created,
        model=result.model,
        choices=openai_chat.choices(result),
        usage=openai_chat.completion_usage(result),
        timings=timings(result),
    )
    return answer.model_dump(exclude={"timings"}) | {"timings": encoded_timings(result)}


def encoded_timings(result: GenerationResult) -> dict[str, Any]:
    """Encode the timings of *result*."""
    return timings(result).model_dump(exclude_none=True)


def closing_chunks(
    chunks: Sequence[ChatCompletionChunk], result: GenerationResult
) -> list[tuple[ChatCompletionChunk, dict[str, Any]]]:
    """Pair each of the closing chunks with what is added to it: timings to the last one."""
    return [(chunk, {"timings": encoded_timings(result)} if chunk is chunks[-1] else {}) for chunk in chunks]
