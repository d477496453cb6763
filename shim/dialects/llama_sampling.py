"""How llama.cpp's server names the ways of choosing tokens, and what they are to our engine.

`LlamaOptions` has the fields that it adds to every API, OpenAI's included; `LlamaSampling` those that its own API
shares with OpenAI's. A field that cannot be honoured is refused with what to do; unknown ones are ignored, as there.
The fields are those of https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, model_validator

from mcp_server.contract import SamplingParams

LEAST_TOP_P = 1e-6  # 0 is legal on the wire, and keeps the likeliest token alone
LARGEST = 2**31 - 1  # of a whole number, as there
MAX_STOPS = 64  # texts; each is looked for in every new piece of output
MAX_BIAS = 100.0  # as much as forces or forbids a token
RANDOM_SEED = 2**32 - 1  # means a fresh seed there, as -1 does
LEAST_DRY_BASE = 1.0  # a smaller one means the default, as there

DEFAULTS = SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, penalty_window=64, dry_window=64)
"""What a client of llama.cpp's server gets that says nothing."""

ENGINE_NAMES = {  # wire name -> field of SamplingParams, where the two differ or need no more than a copy
    "temperature": "temperature",
    "dynatemp_range": "dynatemp_range",
    "dynatemp_exponent": "dynatemp_exponent",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "top_n_sigma": "top_n_sigma",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "min_keep": "min_keep",
    "repeat_penalty": "repetition_penalty",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repeat_last_n": "penalty_window",
    "dry_multiplier": "dry_multiplier",
    "dry_base": "dry_base",
    "dry_allowed_length": "dry_allowed_length",
    "dry_penalty_last_n": "dry_window",
    "dry_sequence_breakers": "dry_sequence_breakers",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
    "seed": "seed",
    "ignore_eos": "ignore_eos",
    "t_max_predict_ms": "max_decode_ms",
    "grammar": "grammar",
    "json_schema": "json_schema",
    "post_sampling_probs": "post_sampling_logprobs",
}

SAMPLERS: dict[str, dict[str, Any]] = {  # in the order in which they are applied -> what switches each off
    "penalties": {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0},
    "dry": {"dry_multiplier": 0.0},
    "top_n_sigma": {"top_n_sigma": None},
    "top_k": {"top_k": 0},
    "typ_p": {"typical_p": 1.0},
    "top_p": {"top_p": 1.0},
    "min_p": {"min_p": 0.0},
    "xtc": {"xtc_probability": 0.0},
    "temperature": {"temperature": 1.0, "dynatemp_range": 0.0},
}

SAMPLER_ALIASES = {"typical_p": "typ_p", "top-k": "top_k", "top-p": "top_p", "min-p": "min_p", "typical": "typ_p"}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Window = Annotated[int, Field(ge=-1, le=LARGEST)]
Bias = StrictFloat | Literal[False]


class LoraScale(BaseModel):
    """How strongly one adapter works."""

    id: int
    scale: float


class LlamaOptions(BaseModel):
    """Options that llama.cpp's server adds to every API of its own and of OpenAI."""

    model_config = ConfigDict(allow_inf_nan=False)

    dynatemp_range: float | None = Field(default=None, ge=0, description="Temperature moves by as much with entropy")
    dynatemp_exponent: float | None = Field(default=None, ge=0, description="How entropy maps to that temperature")
    typical_p: Share | None = Field(default=None, description="Locally typical sampling; 1 is off")
    top_n_sigma: float | None = Field(default=None, description="Deviations below the likeliest kept; 0 or less is off")
    xtc_probability: Share | None = Field(default=None, description="Chance to drop likely tokens; 0 is off")
    xtc_threshold: Share | None = Field(default=None, description="What counts as likely there; above 0.5 is off")
    min_keep: Count | None = Field(default=None, description="Tokens that cutting leaves at least (count)")
    repeat_last_n: Window | None = Field(default=None, description="Tokens that penalties look at; -1 is all (tokens)")
    dry_multiplier: float | None = Field(default=None, ge=0, description="Strength of DRY; 0 is off")
    dry_base: float | None = Field(default=None, description="Base of its growth; below 1 is the default")
    dry_allowed_length: Count | None = Field(default=None, description="Runs that are free (tokens)")
    dry_penalty_last_n: Window | None = Field(default=None, description="Tokens that DRY looks at; -1 is all (tokens)")
    dry_sequence_breakers: list[str] | None = Field(default=None, description="Texts across which no run is counted")
    mirostat: Literal[0, 1, 2] | None = Field(default=None, description="Mirostat's version; 0 is off")
    mirostat_tau: float | None = Field(default=None, ge=0, description="Its target surprise (bits)")
    mirostat_eta: Share | None = Field(default=None, description="Its learning rate")
    json_schema: dict[str, Any] | None = Field(default=None, description="Only JSON of this schema")
    ignore_eos: bool | None = Field(default=None, description="Go on after the model's own end")
    n_probs: int | None = Field(default=None, ge=0, le=128, description="Alternatives returned a token (count)")
    post_sampling_probs: bool | None = Field(default=None, description="Probabilities after the samplers")
    t_max_predict_ms: float | None = Field(
        default=None, ge=-1, le=LARGEST, description="Time from the first token to the last (ms)"
    )
    cache_prompt: bool | None = Field(default=None, description="Reuse what is computed of the prompt already")
    id_slot: int | None = Field(default=None, ge=-1, le=LARGEST, description="A slot of this server; it has no effect")
    samplers: list[str] | str | None = Field(default=None, description="Samplers used, in the order they are applied")
    timings_per_token: bool | None = Field(default=None, description="Timings in each event of a stream of 8080")
    return_tokens: bool | None = Field(default=None, description="Return the ids of the generated tokens")
    lora: list[LoraScale] | None = Field(default=None, description="Adapters; there are none, so must be empty")
    n_keep: int | None = Field(default=None, ge=-1, le=LARGEST, description="Always met: no token is ever discarded")
    n_discard: Count | None = Field(default=None, description="No effect: no token is ever discarded")
    n_indent: int | None = Field(default=None, ge=0, le=LARGEST, description="Must be 0")
    n_cache_reuse: Count | None = Field(default=None, description="Must be 0: prefixes are reused without it")
    return_progress: bool | None = Field(default=None, description="Must be false")
    sse_ping_interval: int | None = Field(default=None, ge=-1, le=LARGEST, description="Must be -1: no pings are sent")

    @model_validator(mode="after")
    def _honoured(self) -> Self:
        if self.lora:
            msg = "lora: no adapter is loaded here; leave it out"
            raise ValueError(msg)
        if self.n_indent:
            msg = "n_indent cannot be enforced here; leave it out, or use a grammar"
            raise ValueError(msg)
        if self.n_cache_reuse:
            msg = "n_cache_reuse has no counterpart here: equal prefixes are reused without it; leave it out"
            raise ValueError(msg)
        if self.return_progress:
            msg = "return_progress: progress of a prompt is not reported here; leave it out"
            raise ValueError(msg)
        if (self.sse_ping_interval or -1) > 0:
            msg = "sse_ping_interval: streams here carry no pings; leave it out or send -1"
            raise ValueError(msg)
        sampler_names(self.samplers)
        return self


class LlamaSampling(LlamaOptions):
    """Options that llama.cpp's own API shares with OpenAI's, as wide as it takes them."""

    model: str | None = Field(default=None, description="Model id; the default one answers for a name that is not here")
    temperature: float | None = Field(default=None, le=1000, description="Randomness; 0 or less is greedy")
    top_k: int | None = Field(default=None, ge=-1, le=LARGEST, description="Likeliest tokens kept; 0 for all (tokens)")
    top_p: Share | None = Field(default=None, description="Nucleus")
    min_p: Share | None = Field(default=None, description="Least probability beside the likeliest")
    repeat_penalty: float | None = Field(
        default=None, ge=0.001, le=1000, description="Penalty of repeated tokens; 1 is off"
    )
    frequency_penalty: float | None = Field(default=None, ge=-100, le=100, description="Penalty by count")
    presence_penalty: float | None = Field(default=None, ge=-100, le=100, description="Penalty by presence")
    seed: int | None = Field(
        default=None, ge=-1, le=2**63 - 1, description="Same seed, same answer; -1 for a fresh one"
    )
    stop: str | list[str] | None = Field(default=None, description="Generation ends before the first of these")
    stream: bool | None = Field(default=None, description="Answer with server-sent events")
    logit_bias: list[tuple[int | str, Bias]] | dict[str, Bias] | None = Field(
        default=None, description="Added to logits: pairs of a token id or text and a number, or an object of them"
    )
    grammar: str | None = Field(default=None, description="GBNF grammar of the answer")

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.grammar and self.json_schema is not None:
            msg = "json_schema: send either it or grammar, not both"
            raise ValueError(msg)
        if len(self.stops()) > MAX_STOPS:
            msg = f"stop has {len(self.stops())} entries; the most is {MAX_STOPS}"
            raise ValueError(msg)
        return self

    def stops(self) -> tuple[str, ...]:
        """Return the stop texts; the empty one stops nothing and is left out."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in given if stop)

    def biases(self) -> list[tuple[int | str, float]]:
        """Return what is added to the logit of each token; a text stands for all its tokens."""
        given = self.logit_bias or []
        pairs = list(given.items()) if isinstance(given, dict) else given
        return [(token, _bias(value)) for token, value in pairs]


def sampler_names(given: list[str] | str | None) -> list[str] | None:
    """Return the samplers to use by the names of `SAMPLERS`; None for all.

    Raises:
        ValueError: for one that is unknown, repeated, or out of the order that is fixed here.
    """
    if given is None:
        return None
    order = list(SAMPLERS)
    letters = dict(zip("edskypmxt", order, strict=True))
    names = [letters.get(name, name) for name in given] if isinstance(given, str) else given
    names = [SAMPLER_ALIASES.get(name, name) for name in names]
    unknown = [name for name in names if name not in SAMPLERS]
    if unknown:
        msg = f"samplers: {unknown[0][:20]!r} is unknown; there are {', '.join(order)}"
        raise ValueError(msg)
    if names != sorted(set(names), key=order.index):
        msg = f"samplers: they are applied once each and in this order: {', '.join(order)}; list those to use in it"
        raise ValueError(msg)
    return names


def engine_sampling(body: LlamaOptions) -> dict[str, Any]:
    """Return the fields of `SamplingParams` that *body* names; those that it leaves out are not there."""
    wire = {name: getattr(body, name, None) for name in ENGINE_NAMES}
    given = {ENGINE_NAMES[name]: value for name, value in wire.items() if value is not None}
    if "temperature" in given:
        given["temperature"] = max(0.0, given["temperature"])
    if "top_p" in given:
        given["top_p"] = max(LEAST_TOP_P, given["top_p"])
    if "top_k" in given:
        given["top_k"] = max(0, given["top_k"])
    if "min_keep" in given:
        given["min_keep"] = max(1, given["min_keep"])
    if "dry_sequence_breakers" in given:
        given["dry_sequence_breakers"] = tuple(given["dry_sequence_breakers"])
    _drop(given, "seed", lambda seed: seed < 0 or seed == RANDOM_SEED)
    _drop(given, "max_decode_ms", lambda limit: limit <= 0)
    _drop(given, "top_n_sigma", lambda n: n <= 0)
    _drop(given, "dry_base", lambda base: base < LEAST_DRY_BASE)
    _drop(given, "grammar", lambda grammar: not grammar)
    used = sampler_names(body.samplers)
    for name, off in SAMPLERS.items():
        if used is not None and name not in used:
            given |= off
    return given


def _drop(given: dict[str, Any], name: str, is_default: Any) -> None:
    """Leave *name* out where its value means the default."""
    if name in given and is_default(given[name]):
        del given[name]


def _bias(value: Bias) -> float:
    """Return a bias within the engine's range; `false` forbids the token."""
    return -MAX_BIAS if value is False else max(-MAX_BIAS, min(MAX_BIAS, float(value)))
