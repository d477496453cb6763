"""Logits to the next token of one sequence.

Order, as in llama.cpp: logit bias, penalties (over the sequence's own output), top-k, top-p, min-p, temperature, draw;
temperature 0 takes the likeliest. A grammar is asked last about the one chosen token and only when it objects about
all of them, because walking a whole vocabulary is slow. Log-probabilities are of the raw logits. One sampler belongs
to one sequence and holds native memory until `close`.
"""

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mcp_server.engine import llama
from mcp_server.engine.llama import native
from mcp_server.engine.types import SamplingParams, TokenLogprob, TopLogprob
from mcp_server.engine.vocabulary import Vocabulary
from mcp_server.errors import InvalidRequestError

Logits = npt.NDArray[np.float32]  # (n_vocab,)

SEED_RANGE = 0xFFFFFFFF  # the largest 32-bit seed means "draw one" to llama.cpp, so it is left out
MIN_KEEP = 1  # candidates that top-p and min-p leave, at least
MAX_TOP_LOGPROBS = 128  # alternatives reported for one token
PENALTY_WINDOW = 8192  # latest tokens of the output that penalties look at; 0 or less would switch them off
MAX_KEY_SHOWN = 20  # characters of a bad token id that a message quotes
MAX_BIAS = 100.0  # added to a logit; as large as forces or forbids a token

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Candidates:
    """The working array that samplers reorder and cut; one serves all sequences, one after the other."""

    def __init__(self, n_vocab: int) -> None:
        self._rows = np.zeros(n_vocab, _CANDIDATE)  # (n_vocab,)
        self._ids = np.arange(n_vocab, dtype=np.int32)  # (n_vocab,)
        self._array: Any = native.llama_token_data_array()

    def fill(self, logits: Logits) -> None:
        """Start again from all tokens."""
        self._rows["id"] = self._ids
        self._rows["logit"] = logits
        self._point(len(self._rows))

    def fill_one(self, token: int) -> None:
        """Start with a single token, to ask a grammar about it."""
        self._rows[0] = (token, 0.0, 0.0)
        self._point(1)

    def apply(self, sampler: Any) -> None:
        """Let one native sampler work on the candidates."""
        native.llama_sampler_apply(sampler, ctypes.byref(self._array))

    @property
    def has_any(self) -> bool:
        """Tell whether a token is left that is possible at all."""
        return bool(np.isfinite(self._rows["logit"][: self._array.size]).any())

    @property
    def selected(self) -> int:
        """The token that the last sampler chose."""
        return int(self._rows["id"][self._array.selected])

    def _point(self, size: int) -> None:
        self._array.data = self._rows.ctypes.data_as(native.llama_token_data_p)
        self._array.size, self._array.selected, self._array.sorted = size, -1, False


class TokenSampler:
    """Chooses the tokens of one sequence."""

    def __init__(self, vocabulary: Vocabulary, sampling: SamplingParams, *, seed: int, grammar: str | None) -> None:
        """Build the native chain.

        Raises:
            InvalidRequestError: The grammar does not parse, or a bias names no token.
        """
        biases = _biases(vocabulary, sampling)
        self._grammar = None if grammar is None else _grammar_sampler(vocabulary, grammar, sampling)
        self._chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        for sampler in (*_shaping(vocabulary, sampling, biases), *_choosing(sampling, seed % SEED_RANGE)):
            native.llama_sampler_chain_add(self._chain, sampler)

    def sample(self, candidates: Candidates, logits: Logits) -> int | None:
        """Choose the next token and remember it; None when the grammar allows no token at all, not even an end."""
        candidates.fill(logits)
        candidates.apply(self._chain)
        token = candidates.selected
        if self._grammar is not None:
            candidates.fill_one(token)
            candidates.apply(self._grammar)
            if not candidates.has_any:
                candidates.fill(logits)
                candidates.apply(self._grammar)
                if not candidates.has_any:
                    return None
                candidates.apply(self._chain)
                token = candidates.selected
            native.llama_sampler_accept(self._grammar, token)
        native.llama_sampler_accept(self._chain, token)
        return token

    def close(self) -> None:
        """Free the native chain and grammar; idempotent."""
        for sampler in (self._chain, self._grammar):
            if sampler is not None:
                native.llama_sampler_free(sampler)
        self._chain = self._grammar = None


def check_sampling(sampling: SamplingParams) -> None:
    """Refuse parameters outside their range.

    Raises:
        InvalidRequestError: The first field that cannot be used, named in `param`.
    """
    rules = (
        ("max_tokens", sampling.max_tokens is None or sampling.max_tokens >= 1, "at least 1"),
        ("temperature", 0 <= sampling.temperature < math.inf, "0 or more"),
        ("top_k", sampling.top_k >= 0, "0 (off) or more"),
        ("top_p", 0 < sampling.top_p <= 1, "above 0 and at most 1"),
        ("min_p", 0 <= sampling.min_p <= 1, "between 0 and 1"),
        ("repetition_penalty", 0 < sampling.repetition_penalty < math.inf, "above 0"),
        ("frequency_penalty", math.isfinite(sampling.frequency_penalty), "a finite number"),
        ("presence_penalty", math.isfinite(sampling.presence_penalty), "a finite number"),
        ("n_logprobs", sampling.n_logprobs is None or 0 <= sampling.n_logprobs <= MAX_TOP_LOGPROBS, "0 to 128"),
    )
    for param, is_good, wanted in rules:
        if not is_good:
            msg = f"`{param}` is {getattr(sampling, param)}; it must be {wanted}."
            raise InvalidRequestError(msg, param=param)


def token_logprob(vocabulary: Vocabulary, logits: Logits, token: int, n_top: int) -> TokenLogprob:
    """Report the log-probability of `token` and of the `n_top` likeliest under the softmax of the raw logits."""
    shifted = logits.astype(np.float64) - float(logits.max())  # (n_vocab,)
    logprobs = shifted - np.log(np.exp(shifted).sum())
    best = np.argsort(-logprobs, kind="stable")[:n_top] if n_top else ()
    top = tuple(TopLogprob(_shown(vocabulary, int(i)), int(i), float(logprobs[i])) for i in best)
    data = vocabulary.piece(token, with_special=True)
    return TokenLogprob(data.decode("utf-8", "replace"), token, float(logprobs[token]), tuple(data), top)


def _shown(vocabulary: Vocabulary, token: int) -> str:
    return vocabulary.piece(token, with_special=True).decode("utf-8", "replace")


def _grammar_sampler(vocabulary: Vocabulary, grammar: str, sampling: SamplingParams) -> Any:
    llama.forget_log()
    with llama.silenced():
        sampler = native.llama_sampler_init_grammar(vocabulary.handle, grammar.encode("utf-8", "replace"), b"root")
    if not sampler:
        param = "grammar" if sampling.grammar is not None else "json_schema"
        msg = f"The grammar cannot be used: {llama.last_errors() or 'it does not parse'}. Correct its GBNF rules."
        raise InvalidRequestError(msg, param=param)
    return sampler


def _shaping(vocabulary: Vocabulary, sampling: SamplingParams, biases: list[Any]) -> list[Any]:
    """Build the samplers that change logits before any are cut."""
    samplers = []
    if biases:
        array = (native.llama_logit_bias * len(biases))(*biases)
        samplers.append(native.llama_sampler_init_logit_bias(vocabulary.n_tokens, len(biases), array))
    penalties = (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if penalties != (1.0, 0.0, 0.0):
        samplers.append(native.llama_sampler_init_penalties(vocabulary.n_tokens, PENALTY_WINDOW, *penalties))
    return samplers


def _choosing(sampling: SamplingParams, seed: int) -> list[Any]:
    """Build the samplers that cut the candidates and pick one."""
    if sampling.temperature == 0:
        return [native.llama_sampler_init_greedy()]
    samplers = []
    if sampling.top_k:
        samplers.append(native.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        samplers.append(native.llama_sampler_init_top_p(sampling.top_p, MIN_KEEP))
    if sampling.min_p:
        samplers.append(native.llama_sampler_init_min_p(sampling.min_p, MIN_KEEP))
    samplers.append(native.llama_sampler_init_temp(sampling.temperature))
    samplers.append(native.llama_sampler_init_dist(seed))
    return samplers


def _biases(vocabulary: Vocabulary, sampling: SamplingParams) -> list[Any]:
    biases = []
    for key, value in sampling.logit_bias.items():
        if not _is_token_id(key, vocabulary.n_tokens):
            shown = key if len(key) <= MAX_KEY_SHOWN else f"{key[:MAX_KEY_SHOWN]}..."
            msg = f"`logit_bias` names token {shown!r}; ids of this model are 0 to {vocabulary.n_tokens - 1}."
            raise InvalidRequestError(msg, param="logit_bias")
        if not abs(value) <= MAX_BIAS:
            msg = f"`logit_bias` adds {value} to token {key}; use a number from -{MAX_BIAS:g} to {MAX_BIAS:g}."
            raise InvalidRequestError(msg, param="logit_bias")
        biases.append(native.llama_logit_bias(int(key), value))
    return biases


def _is_token_id(key: str, n_tokens: int) -> bool:
    """Tell whether `key` is an id; its length is checked first, because `int` refuses thousands of digits."""
    return key.isascii() and key.isdecimal() and len(key) <= len(str(n_tokens)) and int(key) < n_tokens
