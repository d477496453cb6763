"""Log-probabilities of sampled tokens, of the model's own distribution or of what cutting and temperature left of it.

Pure arithmetic on a row of logits or of candidates. Sums are in float64: over 150,000 tokens float32 loses digits.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.sampling.candidates import Logits
from mcp_server.engine.types import TokenLogprob, TopLogprob

BLOCK = 256  # values of which only the highest is looked at, to find out which are worth a look
LEAST = -9999.0  # the logarithm of nothing: JSON has no infinity, and OpenAI's API writes this number


def token_logprob(vocabulary: Vocabulary, logits: Logits, token: int, n_top: int) -> TokenLogprob:
    """Report the log-probability of `token` and of the `n_top` likeliest under the softmax of the raw logits."""
    highest = float(logits.max())
    total = math.log(np.exp(logits - highest).sum(dtype=np.float64)) + highest
    best = _likeliest(logits, n_top)
    tops = tuple(_top(vocabulary, i, float(logits[i]) - total) for i in best)
    return _reported(vocabulary, token, float(logits[token]) - total, tops)


def post_sampling_logprob(vocabulary: Vocabulary, candidates: npt.NDArray[Any], token: int, n_top: int) -> TokenLogprob:
    """Report them under the distribution that `token` was drawn from: rows of `id` and `p` (n,).

    Only what cutting left has a probability, so there may be fewer than `n_top`.
    """
    share = candidates["p"] / candidates["p"].sum(dtype=np.float64)
    best = [i for i in _likeliest(share, n_top) if share[i] > 0]
    tops = tuple(_top(vocabulary, int(candidates["id"][i]), math.log(share[i])) for i in best)
    own = float(share[candidates["id"] == token].sum())
    return _reported(vocabulary, token, math.log(own) if own > 0 else LEAST, tops)


def _likeliest(values: npt.NDArray[Any], n: int) -> list[int]:
    """Give the indices of the `n` highest, best first, the smaller index first where they are equal."""
    if n <= 0:
        return []
    # The n-th highest of the maxima of blocks is a bound from below: ten times as fast as to partition all.
    n_blocks = len(values) // BLOCK
    maxima = values[: n_blocks * BLOCK].reshape(n_blocks, BLOCK).max(axis=1) if n_blocks else values[:0]
    if n <= n_blocks:
        best = np.flatnonzero(values >= np.partition(maxima, n_blocks - n)[n_blocks - n])
    else:
        best = np.arange(len(values))
    return [int(i) for i in best[np.argsort(-values[best], kind="stable")][:n]]


def _top(vocabulary: Vocabulary, token: int, logprob: float) -> TopLogprob:
    data = vocabulary.pieces[token]
    return TopLogprob(data.decode("utf-8", "replace"), token, max(logprob, LEAST), tuple(data))


def _reported(vocabulary: Vocabulary, token: int, logprob: float, tops: tuple[TopLogprob, ...]) -> TokenLogprob:
    data = vocabulary.pieces[token]
    return TokenLogprob(data.decode("utf-8", "replace"), token, max(logprob, LEAST), tuple(data), tops)
