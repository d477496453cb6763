"""Go on from any token of a completion, finished or still running, in as many ways as wanted.

A fork is an ordinary request whose prompt is the token ids so far. The prefix cache holds them, in the slot of the
first request or in a saved state, so all but one of its tokens are reused and a fork costs one token of prefill.
The ids come from `OutputParams.return_token_ids`: `GenerationResult.prompt_token_ids` with `Completion.token_ids`, or
while the request runs, `Delta.token_ids` as they arrive. A pure function; knows nothing of the engine.
"""

from collections.abc import Sequence as Items
from dataclasses import replace

from mcp_server.engine.types import GenerationRequest, SamplingParams, TemplateParams, ToolUse
from mcp_server.errors import InvalidRequestError


def fork_request(
    request: GenerationRequest,
    prompt_token_ids: Items[int],
    token_ids: Items[int],
    *,
    n: int = 1,
    sampling: SamplingParams | None = None,
) -> GenerationRequest:
    """Make the request that goes on after `prompt_token_ids` and `token_ids`; slice `token_ids` to fork earlier.

    Its text is what comes after the fork, unparsed: tools and reasoning blocks are not looked for, because a fork may
    begin inside one. Penalties count from the fork. Without a `sampling` of its own it keeps the request's, with what
    is left of its `max_tokens`.

    Raises:
        InvalidRequestError: There is nothing to go on from, nothing is left of `max_tokens`, or the request has a
            grammar, which cannot be entered in its middle.
    """
    kept = sampling or request.sampling
    if token_ids and (kept.grammar is not None or kept.json_schema is not None or kept.json_mode):
        msg = "A completion under a grammar cannot be forked after its beginning; fork at 0 tokens, or without it."
        raise InvalidRequestError(msg, param="grammar")
    if sampling is None and kept.max_tokens is not None:
        if kept.max_tokens <= len(token_ids):
            msg = f"The fork begins after {len(token_ids)} tokens, and `max_tokens` is {kept.max_tokens}; raise it."
            raise InvalidRequestError(msg, param="max_tokens")
        kept = replace(kept, max_tokens=kept.max_tokens - len(token_ids))
    tokens = (*prompt_token_ids, *token_ids)
    if not tokens:
        msg = "There is no token to go on from; give the token ids of the prompt."
        raise InvalidRequestError(msg, param="prompt_token_ids")
    return replace(
        request,
        messages=(),
        prompt=None,
        infill=None,
        prompt_token_ids=tokens,
        n=n,
        sampling=kept,
        tool_use=ToolUse(),
        template=TemplateParams(),
        output=replace(request.output, reasoning="inline", echo=False),
    )
