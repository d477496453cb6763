"""What a request of the llama-server door needs the tokenizer for before it can be sent: mixed prompts, biased texts.

Also the two numbers of a prompt that does not fit, which llama.cpp's errors have and ours say in words.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from mcp_server.contract import ErrorCode, GenerationRequest, TokenizeRequest
from shim.dialects.llama_prompts import Prompt
from shim.dialects.llama_sampling import LlamaSampling
from shim.doors.door import Call
from shim.errors import ApiError
from shim.model_names import or_default

T = TypeVar("T")
SIZE = re.compile(r"prompt has (\d+) tokens")
MAX_BIASED_TEXTS = 64  # each is one call of the tokenizer


async def tokenized(call: Call[Any], text: str, model: str | None, *, add_special: bool = False) -> tuple[int, ...]:
    """Return the token ids of *text*."""

    async def ask(name: str | None) -> tuple[int, ...]:
        request = TokenizeRequest(text, name, add_special=add_special)
        return (await call.gateway.tokenize(request)).tokens

    return await or_default(model, ask)


async def token_ids(call: Call[Any], prompt: Sequence[int | str], model: str | None) -> tuple[int, ...]:
    """Return the token ids of a prompt of ids and texts; it begins with BOS where it begins with a text."""
    ids: list[int] = []
    for position, piece in enumerate(prompt):
        if isinstance(piece, str):
            ids += await tokenized(call, piece, model, add_special=position == 0)
        else:
            ids.append(piece)
    if not ids:
        msg = "the prompt is empty; give at least one token"
        raise ApiError(ErrorCode.INVALID_REQUEST, msg, param="prompt")
    return tuple(ids)


async def with_prompt(call: Call[Any], request: GenerationRequest, prompt: Prompt) -> GenerationRequest:
    """Add a prompt of any form to *request*."""
    if isinstance(prompt, str):
        return replace(request, prompt=prompt)
    return replace(request, prompt_token_ids=await token_ids(call, prompt, request.model))


async def biases_by_id(call: Call[Any], body: LlamaSampling) -> dict[str, float]:
    """Return what is added to each token's logit; a text that is no token id stands for each of its tokens.

    Raises:
        ApiError: invalid_request for more texts than `MAX_BIASED_TEXTS`.
    """
    by_id: dict[str, float] = {}
    pairs = body.biases()
    texts = [token for token, _ in pairs if not _is_id(token)]
    if len(texts) > MAX_BIASED_TEXTS:
        msg = f"logit_bias has {len(texts)} texts; the most is {MAX_BIASED_TEXTS}: give token ids instead"
        raise ApiError(ErrorCode.INVALID_REQUEST, msg, param="logit_bias")
    for token, bias in pairs:
        ids = (int(token),) if _is_id(token) else await tokenized(call, str(token), body.model)
        by_id |= {str(token_id): bias for token_id in ids}
    return by_id


def _is_id(token: int | str) -> bool:
    return isinstance(token, int) or (token.isascii() and token.isdigit())


async def check_slot(call: Call[Any], id_slot: int | None, model: str | None) -> None:
    """Refuse a slot that is not there; one that is, is as good as any: all share what is computed of prompts.

    Raises:
        ApiError: invalid_request.
    """
    if id_slot is None or id_slot < 0:
        return
    n_slots = (await call.services.names.properties(call.gateway, model)).n_slots
    if id_slot >= n_slots:
        msg = f"id_slot is {id_slot}; there are slots 0 to {n_slots - 1}, and -1 means any"
        raise ApiError(ErrorCode.INVALID_REQUEST, msg, param="id_slot")


async def counted(call: Call[Any], request: GenerationRequest, ask: Callable[[], Awaitable[T]]) -> T:
    """Return what *ask* answers; the error of a prompt that does not fit gets its two numbers.

    Raises:
        ApiError: what *ask* raises.
    """
    try:
        return await ask()
    except ApiError as error:
        if error.code != ErrorCode.CONTEXT_LENGTH_EXCEEDED:
            raise
        details = _said(error.message) | await _sizes(call, request)
        raise ApiError(error.code, error.message, param=error.param, details=details) from error


def _said(message: str) -> dict[str, int]:
    """Return the size of the prompt where the message says it, for prompts that are too large to be counted again."""
    found = SIZE.search(message)
    return {"n_prompt_tokens": int(found[1])} if found else {}


async def _sizes(call: Call[Any], request: GenerationRequest) -> dict[str, int]:
    """Count the tokens of the prompt and of the context; a number that cannot be had is left out."""
    sizes: dict[str, int] = {}
    try:
        sizes["n_ctx"] = (await call.services.names.properties(call.gateway, request.model)).context_tokens
        sizes["n_prompt_tokens"] = await _n_tokens(call, request)
    except ApiError:  # the refusal itself is what the client needs to read
        return sizes
    return sizes


async def _n_tokens(call: Call[Any], request: GenerationRequest) -> int:
    if request.prompt_token_ids:
        return len(request.prompt_token_ids)
    if request.prompt is not None:
        return len(await tokenized(call, request.prompt, request.model, add_special=True))

    async def render(model: str | None) -> int:
        return (await call.gateway.render_prompt(replace(request, model=model))).n_tokens

    return await or_default(request.model, render)
