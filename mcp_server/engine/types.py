"""The nouns of generation: messages in, deltas and completions out.

Frozen dataclasses without behaviour; they cross the MCP seam unchanged. Nothing here knows llama.cpp, HTTP or MCP.
The words are the field's: prompt, completion, token, logprobs, finish_reason, sequence, seed. What a caller fills in is
described in the metadata of its fields, which the schemas of the tools repeat.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "abort"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role = field(metadata={"description": "Who speaks"})
    content: str = field(metadata={"description": "What is said"})


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are chosen. Defaults suit code: moderate temperature, nothing penalised."""

    max_tokens: int | None = field(
        default=None, metadata={"description": "Length of a completion at most; null: what fits the context (tokens)"}
    )
    temperature: float = field(
        default=0.7, metadata={"description": "Randomness; 0 always takes the likeliest token (0 or more)"}
    )
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
    repetition_penalty: float = field(
        default=1.0, metadata={"description": "Divides the logits of tokens already generated; 1: off (above 0)"}
    )
    frequency_penalty: float = field(
        default=0.0, metadata={"description": "Taken from a token's logit each time it was generated; 0: off"}
    )
    presence_penalty: float = field(
        default=0.0, metadata={"description": "Taken from a token's logit once it was generated; 0: off"}
    )
    seed: int | None = field(
        default=None, metadata={"description": "Equal seeds draw equal texts; null: a fresh one each time"}
    )
    stop: tuple[str, ...] = field(
        default=(), metadata={"description": "Generation ends before the first of these texts; it is not returned"}
    )
    n_logprobs: int | None = field(
        default=None,
        metadata={"description": "null: no logprobs; 0: of the chosen token; k: of the k likeliest too (0-128)"},
    )
    logit_bias: dict[str, float] = field(
        default_factory=dict, metadata={"description": "Token id as text: what is added to its logit (-100 to 100)"}
    )
    json_mode: bool = field(default=False, metadata={"description": "Allow only a JSON object"})
    json_schema: dict[str, Any] | None = field(default=None, metadata={"description": "Allow only JSON of this schema"})
    grammar: str | None = field(
        default=None, metadata={"description": "Allow only what this GBNF grammar with a rule `root` allows"}
    )


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate: exactly one of `messages` (through the chat template) and `prompt` (raw text)."""

    messages: tuple[Message, ...] = ()
    prompt: str | None = None
    model: str | None = None  # None: the default model
    n: int = 1  # completions of the one prompt; the i-th uses seed + i
    sampling: SamplingParams = field(default_factory=SamplingParams)


@dataclass(frozen=True)
class TopLogprob:
    """One alternative at one position."""

    token: str
    token_id: int
    logprob: float


@dataclass(frozen=True)
class TokenLogprob:
    """The chosen token at one position, and the likeliest ones there, best first."""

    token: str
    token_id: int
    logprob: float
    bytes_: tuple[int, ...] = ()  # the token's own bytes: `token` may be part of a character
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True)
class Delta:
    """New text of one completion. Several tokens that arrived together travel as one."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    n_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """One finished completion."""

    index: int
    text: str
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True)
class Usage:
    """Tokens spent on one request, all completions together."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0  # of the prompt, reused from an earlier request


@dataclass(frozen=True)
class Timings:
    """Where the time of one request went."""

    queue_ms: float  # from submission to the first batch it was part of
    prefill_ms: float  # from there to its first token
    decode_ms: float  # from the first token to the last


@dataclass(frozen=True)
class GenerationResult:
    """A finished request."""

    model: str
    completions: tuple[Completion, ...]
    usage: Usage
    timings: Timings


@dataclass(frozen=True)
class EmbeddingRequest:
    """Texts to embed with the generator's own hidden states."""

    input: tuple[str, ...]
    model: str | None = None
    normalize: bool = True


@dataclass(frozen=True)
class EmbeddingResult:
    """One vector a text, in order, all of `dimensions` numbers; L2-normalised when asked."""

    model: str
    embeddings: tuple[tuple[float, ...], ...]
    dimensions: int
    usage: Usage


@dataclass(frozen=True)
class TokenizeResult:
    """The token ids of one text."""

    model: str
    tokens: tuple[int, ...]
    n_tokens: int


@dataclass(frozen=True)
class Model:
    """One model that can be used here."""

    model_id: str  # the file's name without .gguf
    path: str
    source: Literal["embedded", "local"]
    size_bytes: int
    created_at: int  # Unix seconds: the file's time of change
    is_default: bool
    is_loaded: bool
    context_tokens: int | None = None  # known once loaded


@dataclass(frozen=True)
class ModelList:
    """One page of models, the default first. `next_cursor` is None on the last page."""

    models: tuple[Model, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class PullProgress:
    """Progress of one download."""

    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    model_id: str
    context_tokens: int  # of one sequence, prompt and completion together


@dataclass(frozen=True)
class LoadFailure:
    """Why the default model could not be loaded when a request last needed it."""

    model: Model  # as its file was then
    message: str


@dataclass(frozen=True)
class EngineStatistics:
    """What the engine did since it started, and does now."""

    n_running: int = 0  # sequences in the batch
    n_waiting: int = 0  # requests in the queue
    n_requests: int = 0
    n_aborted: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    n_steps: int = 0
    loaded_models: tuple[LoadedModel, ...] = ()
    load_failure: LoadFailure | None = None  # of the default model; None once it was loaded


DeltaSink = Callable[[tuple[Delta, ...]], Awaitable[None]]
"""Receives whatever arrived since its last call; awaiting it is the back-pressure."""


class Engine(Protocol):
    """What generates. The real one batches on a worker thread; the fake one plays a script. Both pass one suite."""

    async def generate(self, request: GenerationRequest, on_delta: DeltaSink | None = None) -> GenerationResult:
        """Generate; stops within one step when cancelled."""
        ...

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResult:
        """Embed texts."""
        ...

    async def tokenize(self, text: str, model: str | None = None) -> TokenizeResult:
        """Tokenize text as the model sees it, special tokens parsed."""
        ...

    async def preload(self, model: str | None = None) -> LoadedModel:
        """Load a model, so that the first request need not wait for it."""
        ...

    def statistics(self) -> EngineStatistics:
        """Count work done and waiting, and tell what is loaded."""
        ...

    async def aclose(self) -> None:
        """Abort what runs, free the model; idempotent."""
        ...
