"""The ranges of what a request may ask of sampling, so that no number reaches native code that it cannot compute with.

NaN and infinities are outside every range. The bounds are far wider than any use; what they keep out are overflows in
float32 (a temperature of 1e-40, a penalty of 1e30) and work without end (10,000 breakers, each a walk over the
vocabulary). Knows nothing of models: what depends on one (token ids) is checked where the sampler is built.
"""

from mcp_server.engine.types import SamplingParams
from mcp_server.errors import InvalidRequestError

MAX_TOP_LOGPROBS = 128  # alternatives reported for one token
MAX_COUNT = 2**31 - 1  # native counts are 32-bit
MAX_STRENGTH = 100.0  # of penalties and of DRY; forces or forbids any token
MAX_TEMPERATURE = 1000.0  # far above it float32 tells no tokens apart
MAX_BREAKERS = 64  # each walks over the vocabulary once: 30 ms for 150,000 tokens
MAX_BREAKER_BYTES = 40  # llama.cpp cuts longer ones, within a character if need be
MAX_STOPS = 128  # each is searched for in every new text
MAX_STOP_CHARS = 4096

# Field, least, most.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0, MAX_TEMPERATURE),
    ("dynatemp_range", 0, MAX_TEMPERATURE),
    ("dynatemp_exponent", 0, 100),
    ("top_k", 0, MAX_COUNT),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("typical_p", 0, 1),
    ("xtc_probability", 0, 1),
    ("xtc_threshold", 0, 1),
    ("min_keep", 0, MAX_COUNT),
    ("repetition_penalty", 0.001, 1000),
    ("frequency_penalty", -MAX_STRENGTH, MAX_STRENGTH),
    ("presence_penalty", -MAX_STRENGTH, MAX_STRENGTH),
    ("penalty_window", -1, MAX_COUNT),
    ("dry_multiplier", 0, MAX_STRENGTH),
    ("dry_base", 1, MAX_STRENGTH),
    ("dry_allowed_length", 0, MAX_COUNT),
    ("dry_window", -1, MAX_COUNT),
    ("mirostat", 0, 2),
    ("mirostat_tau", 0, 100),
    ("mirostat_eta", 0, 10),
)
# As above, for fields that may be null.
_OPTIONAL_RANGES: tuple[tuple[str, float, float], ...] = (
    ("max_tokens", 0, MAX_COUNT),
    ("max_decode_ms", 0, float(MAX_COUNT)),
    ("top_n_sigma", 0.001, 1000),
    ("n_logprobs", 0, MAX_TOP_LOGPROBS),
)


def check_sampling(sampling: SamplingParams) -> None:
    """Refuse parameters outside their range.

    Raises:
        InvalidRequestError: The first field that cannot be used, named in `param`.
    """
    for param, least, most in _RANGES:
        _check_range(param, getattr(sampling, param), least, most)
    for param, least, most in _OPTIONAL_RANGES:
        if (value := getattr(sampling, param)) is not None:
            _check_range(param, value, least, most)
    _check_texts("dry_sequence_breakers", sampling.dry_sequence_breakers, MAX_BREAKERS)
    _check_texts("stop", sampling.stop, MAX_STOPS)
    for text in sampling.dry_sequence_breakers:
        _check_breaker(text)
    if (longest := max(map(len, sampling.stop), default=0)) > MAX_STOP_CHARS:
        msg = f"A text of `stop` has {longest} characters; at most {MAX_STOP_CHARS} can be looked for."
        raise InvalidRequestError(msg, param="stop")


def _check_range(param: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        msg = f"`{param}` is {_shown(value)}; it must be between {_shown(least)} and {_shown(most)}."
        raise InvalidRequestError(msg, param=param)


def _shown(value: float) -> str:
    """Write a number in at most 30 characters; a client may have sent thousands of digits."""
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value) if abs(value) < 10**20 else "too large an integer to print"


def _check_texts(param: str, texts: tuple[str, ...], limit: int) -> None:
    if len(texts) > limit:
        msg = f"`{param}` has {len(texts)} texts; at most {limit} can be used."
        raise InvalidRequestError(msg, param=param)


def _check_breaker(text: str) -> None:
    n_bytes = len(text.encode("utf-8", "replace"))
    if not 1 <= n_bytes <= MAX_BREAKER_BYTES or "\0" in text:
        msg = (
            f"A text of `dry_sequence_breakers` has {n_bytes} bytes; each must have 1 to {MAX_BREAKER_BYTES}, and no "
            "NUL among them."
        )
        raise InvalidRequestError(msg, param="dry_sequence_breakers")
