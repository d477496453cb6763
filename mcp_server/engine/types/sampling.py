"""How tokens are chosen: every knob of one request, with its meaning for people and for the schemas of the tools.

Names are the field's; ranges are checked by `sampling_checks.check_sampling`. Nothing here computes.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen. Defaults suit code: moderate temperature, nothing penalised."""

    max_tokens: int | None = field(
        default=None,
        metadata={
            "description": "Length of a completion at most; 0: only the prompt is computed; null: what fits the "
            "context (tokens)"
        },
    )
    max_decode_ms: float | None = field(
        default=None,
        metadata={"description": "A completion ends as `length` this long after its first token; null: never (ms)"},
    )
    temperature: float = field(
        default=0.7, metadata={"description": "Randomness; 0 takes the likeliest token whatever is cut (0-1000)"}
    )
    dynatemp_range: float = field(
        default=0.0,
        metadata={"description": "Temperature moves by as much with the entropy of the distribution; 0: fixed"},
    )
    dynatemp_exponent: float = field(default=1.0, metadata={"description": "How entropy maps to that temperature"})
    top_k: int = field(
        default=40, metadata={"description": "Draw from the k likeliest tokens only; 0: from all (count)"}
    )
    top_p: float = field(
        default=0.95,
        metadata={"description": "Draw from the likeliest tokens that sum to this probability; 1: from all (0-1)"},
    )
    min_p: float = field(
        default=0.0, metadata={"description": "Drop tokens less likely than this share of the likeliest; 0: none (0-1)"}
    )
    typical_p: float = field(
        default=1.0, metadata={"description": "Keep tokens of typical information up to this probability; 1: off (0-1)"}
    )
    top_n_sigma: float | None = field(
        default=None, metadata={"description": "Drop tokens more standard deviations below the likeliest; null: off"}
    )
    xtc_probability: float = field(
        default=0.0, metadata={"description": "Chance to drop all but the least of the likely tokens; 0: off (0-1)"}
    )
    xtc_threshold: float = field(
        default=0.1, metadata={"description": "What counts as likely there; above 0.5 none can (0-1)"}
    )
    min_keep: int = field(
        default=1, metadata={"description": "Tokens that cutting leaves at least, but for top_n_sigma (count)"}
    )
    repetition_penalty: float = field(
        default=1.0,
        metadata={"description": "Divides the logits of tokens in the window, prompt included; 1: off"},
    )
    frequency_penalty: float = field(
        default=0.0,
        metadata={"description": "Taken from a token's logit each time it was generated; 0: off"},
    )
    presence_penalty: float = field(
        default=0.0,
        metadata={"description": "Taken from a token's logit once it was generated; 0: off"},
    )
    penalty_window: int = field(
        default=-1, metadata={"description": "Latest tokens that penalties look at; -1: all of them, 0: none (tokens)"}
    )
    dry_multiplier: float = field(
        default=0.0, metadata={"description": "Strength of the DRY penalty on repeated runs of tokens; 0: off"}
    )
    dry_base: float = field(default=1.75, metadata={"description": "Base of its growth with the length of the run"})
    dry_allowed_length: int = field(default=2, metadata={"description": "Runs up to this length are free (tokens)"})
    dry_window: int = field(
        default=-1, metadata={"description": "Latest tokens that DRY looks at; -1: the context, 0: none (tokens)"}
    )
    dry_sequence_breakers: tuple[str, ...] = field(
        default=("\n", ":", '"', "*"), metadata={"description": "Texts across which no run is counted"}
    )
    mirostat: Literal[0, 1, 2] = field(
        default=0, metadata={"description": "Mirostat instead of all cutting: version 1 or 2; 0: off"}
    )
    mirostat_tau: float = field(default=5.0, metadata={"description": "Its target surprise (bits)"})
    mirostat_eta: float = field(default=0.1, metadata={"description": "Its learning rate"})
    seed: int | None = field(
        default=None,
        metadata={
            "description": "Equal seeds draw equal texts, but for near ties that another batch rounds; null: a new one"
        },
    )
    stop: tuple[str, ...] = field(
        default=(), metadata={"description": "Generation ends before the first of these texts; it is not returned"}
    )
    ignore_eos: bool = field(default=False, metadata={"description": "Go on after the model's own end"})
    n_logprobs: int | None = field(
        default=None,
        metadata={"description": "null: no logprobs; 0: of the chosen token; k: of the k likeliest too (0-128)"},
    )
    post_sampling_logprobs: bool = field(
        default=False, metadata={"description": "Logprobs after cutting and temperature instead of the model's own"}
    )
    logit_bias: dict[str, float] = field(
        default_factory=dict, metadata={"description": "Token id as text: what is added to its logit (-100 to 100)"}
    )
    json_mode: bool = field(default=False, metadata={"description": "Allow only a JSON object"})
    json_schema: dict[str, Any] | None = field(default=None, metadata={"description": "Allow only JSON of this schema"})
    grammar: str | None = field(
        default=None, metadata={"description": "Allow only what this GBNF grammar with a rule `root` allows"}
    )
