"""The native samplers of one request, in llama.cpp's order.

Shaping changes logits: bias and banned ends, repetition penalty, frequency and presence penalties, DRY. Choosing cuts
and draws: top-n-sigma, top-k, typical-p, top-p, min-p, XTC, temperature, draw; or temperature and mirostat, which does
its own cutting. Temperature 0 takes the likeliest after shaping, whatever the cuts.

Repetition penalty and DRY look at a window of the text, and the prompt's end is part of it. Frequency and presence
penalties count what was generated, within the same window. (llama.cpp counts the prompt there too, and leaves all of
shaping but the bias out under mirostat.)
"""

import ctypes
from collections import OrderedDict
from collections.abc import Sequence as Items
from dataclasses import replace
from math import inf
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, finalize

from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary
from mcp_server.engine.types import SamplingParams
from mcp_server.errors import InvalidRequestError

MAX_BIAS = 100.0  # added to a logit; as large as forces or forbids a token
MAX_KEY_SHOWN = 20  # characters of a bad token id that a message quotes
MAX_WINDOW = 1 << 17  # tokens; each costs 4 to 8 bytes a sequence from the start
MIN_TEMPERATURE = 1e-4  # likelier by 0.01 in logits is then e^100 times as likely; below 1e-30 float32 overflows
MIN_SHARE = (
    1e-30  # of the likeliest: what is less likely has probability 0 in float32 soon, whose logarithm is no number
)
MIROSTAT_TOKENS = 100  # that version 1 estimates its distribution from, as in the paper and in llama.cpp
MAX_DRY_KEPT = 8  # prepared DRY samplers for each vocabulary; the breakers of a default take 0.1 s for 150,000 tokens


class Chain(NamedTuple):
    """The native samplers of one sequence; `close_chain` frees them."""

    all: Any  # shaping, then choosing
    shaping: Any  # None when it does nothing
    choosing: Any
    is_greedy: bool  # choosing takes the likeliest
    has_memory: bool  # it must be told which token was taken
    biases: dict[int, float]  # what shaping adds to the logits of these tokens, first of all


def make_chain(vocabulary: Vocabulary, sampling: SamplingParams, *, seed: int, prompt: Items[int]) -> Chain:
    """Build the samplers.

    Raises:
        InvalidRequestError: A bias names no token, or is too large.
    """
    biases = _biases(vocabulary, sampling)
    bias = _bias(vocabulary, biases)
    remembering = _penalties(vocabulary, sampling, prompt)
    is_greedy = sampling.temperature == 0
    shaping = _join([*bias, *remembering])
    choosing = _join([native.llama_sampler_init_greedy()] if is_greedy else _choosing(vocabulary, sampling, seed))
    everything = _join([choosing] if shaping is None else [shaping, choosing])
    return Chain(everything, shaping, choosing, is_greedy, bool(remembering), biases)


def within_context(sampling: SamplingParams, context_tokens: int) -> SamplingParams:
    """Bound the windows by the context, which no text exceeds: 64 completions would take 138 MB for them; so 10."""
    windows = {
        name: context_tokens if (asked := getattr(sampling, name)) < 0 else min(asked, context_tokens)
        for name in ("penalty_window", "dry_window")
    }
    return replace(sampling, **windows)


def close_chain(chain: Chain) -> None:
    """Free the samplers, once."""
    native.llama_sampler_free(chain.all)  # frees what was added to it


def _join(samplers: list[Any]) -> Any:
    if not samplers:
        return None
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
    for sampler in samplers:
        native.llama_sampler_chain_add(chain, sampler)
    return chain


def _biases(vocabulary: Vocabulary, sampling: SamplingParams) -> dict[int, float]:
    biases = {_token_id(vocabulary, key): value for key, value in sampling.logit_bias.items()}
    for token, value in biases.items():
        if not abs(value) <= MAX_BIAS:
            msg = f"`logit_bias` adds {value:g} to token {token}; use a number from -{MAX_BIAS:g} to {MAX_BIAS:g}."
            raise InvalidRequestError(msg, param="logit_bias")
    if sampling.ignore_eos:
        biases |= dict.fromkeys(vocabulary.end_tokens, -inf)
    return biases


def _bias(vocabulary: Vocabulary, biases: dict[int, float]) -> list[Any]:
    if not biases:
        return []
    array = (native.llama_logit_bias * len(biases))(*(native.llama_logit_bias(*item) for item in biases.items()))
    return [native.llama_sampler_init_logit_bias(vocabulary.n_tokens, len(biases), array)]


def _token_id(vocabulary: Vocabulary, key: str) -> int:
    """Read an id; its length is checked first, because `int` refuses thousands of digits."""
    n_tokens = vocabulary.n_tokens
    if key.isascii() and key.isdecimal() and len(key) <= len(str(n_tokens)) and int(key) < n_tokens:
        return int(key)
    shown = key if len(key) <= MAX_KEY_SHOWN else f"{key[:MAX_KEY_SHOWN]}..."
    msg = f"`logit_bias` names token {shown!r}; ids of this model are 0 to {n_tokens - 1}."
    raise InvalidRequestError(msg, param="logit_bias")


def _penalties(vocabulary: Vocabulary, sampling: SamplingParams, prompt: Items[int]) -> list[Any]:
    window, n_tokens = _window(sampling.penalty_window), vocabulary.n_tokens
    samplers = []
    if window and sampling.repetition_penalty != 1:
        repetition = native.llama_sampler_init_penalties(n_tokens, window, sampling.repetition_penalty, 0.0, 0.0)
        samplers.append(_told(repetition, prompt, window))
    if window and (sampling.frequency_penalty or sampling.presence_penalty):
        counts = (sampling.frequency_penalty, sampling.presence_penalty)
        samplers.append(native.llama_sampler_init_penalties(n_tokens, window, 1.0, *counts))
    if sampling.dry_multiplier and (dry_window := _window(sampling.dry_window)):
        samplers.append(_told(_dry(vocabulary, sampling), prompt, dry_window))
    return samplers


def _window(asked: int) -> int:
    return MAX_WINDOW if asked < 0 else min(asked, MAX_WINDOW)


def _told(sampler: Any, prompt: Items[int], window: int) -> Any:
    for token in prompt[-window:]:
        native.llama_sampler_accept(sampler, token)
    return sampler


def _choosing(vocabulary: Vocabulary, sampling: SamplingParams, seed: int) -> list[Any]:
    keep = sampling.min_keep
    samplers = [] if sampling.mirostat else _cutting(sampling, seed)
    samplers.append(_temperature(sampling))
    if not sampling.mirostat:
        return [*samplers, native.llama_sampler_init_dist(seed)]
    samplers.append(native.llama_sampler_init_min_p(MIN_SHARE, keep))
    tau, eta = sampling.mirostat_tau, sampling.mirostat_eta
    if sampling.mirostat == 1:
        n_tokens = vocabulary.n_tokens
        return [*samplers, native.llama_sampler_init_mirostat(n_tokens, seed, tau, eta, MIROSTAT_TOKENS)]
    return [*samplers, native.llama_sampler_init_mirostat_v2(seed, tau, eta)]


def _cutting(sampling: SamplingParams, seed: int) -> list[Any]:
    keep = sampling.min_keep
    samplers = []
    if sampling.top_n_sigma is not None:
        samplers.append(native.llama_sampler_init_top_n_sigma(sampling.top_n_sigma))
    if sampling.top_k:
        samplers.append(native.llama_sampler_init_top_k(max(sampling.top_k, keep)))
    if sampling.typical_p < 1:
        samplers.append(native.llama_sampler_init_min_p(MIN_SHARE, keep))
        samplers.append(native.llama_sampler_init_typical(sampling.typical_p, keep))
    if sampling.top_p < 1:
        samplers.append(native.llama_sampler_init_top_p(sampling.top_p, keep))
    if sampling.min_p:
        samplers.append(native.llama_sampler_init_min_p(sampling.min_p, keep))
    if sampling.xtc_probability:
        threshold = sampling.xtc_threshold
        samplers.append(native.llama_sampler_init_xtc(sampling.xtc_probability, threshold, keep, seed))
    return samplers


def _temperature(sampling: SamplingParams) -> Any:
    """Build temperature; the least that the entropy can lead to is kept where float32 can divide by it."""
    fixed, reach = max(sampling.temperature, MIN_TEMPERATURE), sampling.dynatemp_range
    if not reach:
        return native.llama_sampler_init_temp(fixed)
    least, most = max(fixed - reach, MIN_TEMPERATURE), fixed + reach
    middle, half = (least + most) / 2, (most - least) / 2
    return native.llama_sampler_init_temp_ext(middle, half, sampling.dynatemp_exponent)


class _DryKept:
    """Prepared DRY samplers of one vocabulary, the latest used; to be cloned."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def clone(self, vocabulary: Vocabulary, sampling: SamplingParams) -> Any:
        """Give a new sampler that remembers nothing yet."""
        key = (
            sampling.dry_multiplier,
            sampling.dry_base,
            min(sampling.dry_allowed_length, MAX_WINDOW),
            _window(sampling.dry_window),
            sampling.dry_sequence_breakers,
        )
        if key not in self._kept:
            self._kept[key] = _prepared_dry(vocabulary, *key)
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_DRY_KEPT:
            native.llama_sampler_free(self._kept.popitem(last=False)[1])
        return native.llama_sampler_clone(self._kept[key])

    def close(self) -> None:
        """Free all."""
        for sampler in self._kept.values():
            native.llama_sampler_free(sampler)
        self._kept.clear()


_dry_kept: WeakKeyDictionary[Vocabulary, _DryKept] = WeakKeyDictionary()


def _dry(vocabulary: Vocabulary, sampling: SamplingParams) -> Any:
    if vocabulary not in _dry_kept:
        kept = _dry_kept[vocabulary] = _DryKept()
        finalize(vocabulary, kept.close)
    return _dry_kept[vocabulary].clone(vocabulary, sampling)


def _prepared_dry(vocabulary: Vocabulary, *key: Any) -> Any:
    *numbers, breakers = key
    texts = (ctypes.c_char_p * len(breakers))(*(text.encode("utf-8", "replace") for text in breakers))
    return native.llama_sampler_init_dry(vocabulary.handle, *numbers, texts, len(breakers))
