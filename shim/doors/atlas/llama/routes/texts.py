"""Handlers that do something else with texts: embeddings, tokens, templates, ranking."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mcp_server.contract import (
    EmbeddingRequest,
    EmbeddingResult,
    Pooling,
    RerankRequest,
    RerankResult,
    TokenizeRequest,
    TokenizeResult,
)
from shim.dialects import llama_chat, openai_embeddings
from shim.dialects.llama_chat import LlamaChatRequest
from shim.dialects.llama_prompts import Prompt
from shim.dialects.openai_embeddings import (
    EmbeddingsRequest,
    EmbeddingsResponse,
    RawEmbeddingRequest,
    RawEmbeddings,
)
from shim.doors.atlas.llama import wire
from shim.doors.atlas.llama.prompts import token_ids
from shim.doors.atlas.llama.running import side_by_side
from shim.doors.door import Call, Endpoint
from shim.model_names import or_default

MAX_TEXTS = 128  # of one call of the tool, which takes 256; several calls share the engine with other requests


async def embeddings(call: Call[EmbeddingsRequest]) -> EmbeddingsResponse:
    """Embed texts, in OpenAI's form.

    Vectors have length 1. With `dimensions` they are cut and scaled to length 1 again; unless the model was made for
    it, that costs quality.
    """
    results = await _embed(call, call.body.inputs(), normalize=True)
    openai_embeddings.check_dimensions(call.body, results[0].dimensions)
    return openai_embeddings.response(call.body, results)


async def raw_embeddings(call: Call[RawEmbeddingRequest]) -> RawEmbeddings:
    """Embed texts, in llama.cpp's own form, scaled by the norm that `embd_normalize` names."""
    results = await _embed(call, call.body.inputs(), normalize=False, pooling=call.body.pooling)
    return openai_embeddings.raw_response(call.body, results)


async def _embed(
    call: Call[Any], inputs: Sequence[Prompt], *, normalize: bool, pooling: Pooling | None = None
) -> list[EmbeddingResult]:
    """Embed *inputs* in order, some a call."""
    base = EmbeddingRequest(model=call.body.model, normalize=normalize, pooling=pooling)
    parts = [inputs[start : start + MAX_TEXTS] for start in range(0, len(inputs), MAX_TEXTS)]

    async def embed(_: int, part: Sequence[Prompt]) -> EmbeddingResult:
        request = await _with_inputs(call, base, part)
        return await or_default(base.model, lambda model: call.gateway.embed(replace(request, model=model)))

    return await side_by_side(parts, embed)


async def _with_inputs(call: Call[Any], base: EmbeddingRequest, part: Sequence[Prompt]) -> EmbeddingRequest:
    """Add texts to *base*; where one is given as tokens, all are."""
    texts = [one for one in part if isinstance(one, str)]
    if len(texts) == len(part):
        return replace(base, input=tuple(texts))
    pieces = [(one,) if isinstance(one, str) else one for one in part]
    return replace(base, token_ids=tuple([await token_ids(call, one, base.model) for one in pieces]))


async def tokenize(call: Call[wire.TokenizeBody]) -> wire.Tokens:
    """Split a text into the model's tokens."""
    body = call.body

    async def ask(model: str | None) -> TokenizeResult:
        request = TokenizeRequest(body.content, model, body.add_special, body.parse_special, body.with_pieces)
        return await call.gateway.tokenize(request)

    return wire.tokens(await or_default(body.model, ask))


async def detokenize(call: Call[wire.DetokenizeBody]) -> wire.Detokenized:
    """Make text of token ids."""
    ids = tuple(call.body.tokens)
    result = await or_default(call.body.model, lambda model: call.gateway.detokenize(ids, model))
    return wire.Detokenized(content=result.text)


async def apply_template(call: Call[LlamaChatRequest]) -> wire.AppliedTemplate:
    """Show the prompt that the model's chat template makes of a conversation."""
    request = llama_chat.generation_request(call.body)
    rendered = await or_default(request.model, lambda name: call.gateway.render_prompt(replace(request, model=name)))
    return wire.AppliedTemplate(prompt=rendered.prompt)


async def input_tokens(call: Call[LlamaChatRequest]) -> wire.InputTokens:
    """Count the tokens of a conversation without answering it."""
    request = llama_chat.generation_request(call.body)
    rendered = await or_default(request.model, lambda name: call.gateway.render_prompt(replace(request, model=name)))
    return wire.InputTokens(input_tokens=rendered.n_tokens)


async def rerank(call: Call[wire.RerankBody]) -> wire.Ranking | wire.RankedTexts:
    """Rank documents by how well they answer a query, with a model that has a ranking head.

    Other models answer 501. `texts` in the place of `documents` asks for the form of text-embeddings-inference.
    """
    body = call.body

    async def ask(model: str | None) -> RerankResult:
        return await call.gateway.rerank(RerankRequest(body.query, tuple(body.documents), model))

    return wire.ranking(body, await or_default(body.model, ask))


ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/embeddings",
        embeddings,
        "Embeddings, OpenAI's form",
        body=EmbeddingsRequest,
        response=EmbeddingsResponse,
    ),
    Endpoint(
        "POST",
        "/embedding",
        raw_embeddings,
        "Embeddings, llama.cpp's form",
        body=RawEmbeddingRequest,
        response=RawEmbeddings,
        aliases=("/embeddings",),
    ),
    Endpoint("POST", "/tokenize", tokenize, "Tokenize", body=wire.TokenizeBody, response=wire.Tokens),
    Endpoint("POST", "/detokenize", detokenize, "Detokenize", body=wire.DetokenizeBody, response=wire.Detokenized),
    Endpoint(
        "POST",
        "/apply-template",
        apply_template,
        "Apply the chat template",
        body=LlamaChatRequest,
        response=wire.AppliedTemplate,
    ),
    Endpoint(
        "POST",
        "/v1/chat/completions/input_tokens",
        input_tokens,
        "Count the tokens of a conversation",
        body=LlamaChatRequest,
        response=wire.InputTokens,
        aliases=("/chat/completions/input_tokens",),
    ),
    Endpoint(
        "POST",
        "/rerank",
        rerank,
        "Rank documents",
        body=wire.RerankBody,
        response=wire.Ranking,
        aliases=("/reranking", "/v1/rerank", "/v1/reranking"),
    ),
)
