"""What a model thinks of a prompt it is given: the logprobs of `OutputParams.echo`.

A prompt whose every token is asked about is computed in pieces as small as the rows of logits that one batch may have,
and without the prefix cache, which keeps no logits. Knows nothing of queues.
"""

from collections.abc import Callable

from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.sampling.candidates import Logits
from mcp_server.engine.sampling.logprobs import token_logprob
from mcp_server.engine.sequence import Sequence
from mcp_server.engine.types import GenerationRequest, TokenLogprob


def begin_prompt_logprobs(request: GenerationRequest, vocabulary: Vocabulary, token: int) -> list[TokenLogprob] | None:
    """Give the list that the prompt's logprobs go to, its first token in it, or None when nobody asked."""
    if not request.output.echo or request.sampling.n_logprobs is None:
        return None
    data = vocabulary.piece(token, with_special=True)
    return [TokenLogprob(data.decode("utf-8", "replace"), token, None, tuple(data))]


def note_prompt_logprobs(
    sequence: Sequence, start: int, rows: range, vocabulary: Vocabulary, logits: Callable[[int], Logits]
) -> None:
    """Note what the rows of tokens from `start` on say of the tokens after them, once each also after a preemption."""
    logprobs = sequence.prompt_logprobs
    assert logprobs is not None, "only a sequence that wants them has rows for them"  # noqa: S101  # an invariant
    for position, row in enumerate(rows, start + 1):
        if position == len(logprobs) < sequence.n_prompt:
            token, n_top = sequence.tokens[position], sequence.n_logprobs or 0
            logprobs.append(token_logprob(vocabulary, logits(row), token, n_top))
