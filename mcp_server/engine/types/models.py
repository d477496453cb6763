"""The nouns of models: where they are, what they can do, what the engine counts about them.

Frozen dataclasses without behaviour; they cross the MCP seam unchanged.
"""

from dataclasses import dataclass, field
from typing import Literal

from mcp_server.engine.types.sampling import SamplingParams

ModelSource = Literal["embedded", "local", "remote"]
SlotState = Literal["idle", "prefill", "decode"]


@dataclass(frozen=True)
class Model:
    """One model that can be used here."""

    model_id: str  # the file's name without .gguf, or the name in models.toml
    path: str  # of the file; the URL of a remote one's API
    source: ModelSource
    size_bytes: int  # 0 for a remote one
    created_at: int  # Unix seconds: the file's time of change
    is_default: bool
    is_loaded: bool
    context_tokens: int | None = None  # known once loaded, or from models.toml
    aliases: tuple[str, ...] = ()


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
    memory_bytes: int = 0  # weights, KV cache and buffers, as estimated before loading
    expires_in_s: float | None = None  # unloaded after as long without a request; None: stays until memory is needed


@dataclass(frozen=True)
class Unloaded:
    """What became of a wish to unload a model."""

    was_loaded: bool


@dataclass(frozen=True)
class LoadFailure:
    """Why the default model could not be loaded when a request last needed it."""

    model: Model  # as its file was then
    message: str


@dataclass(frozen=True)
class ModelProperties:
    """What a loaded model is and can do, read from the model and never guessed from its name."""

    model_id: str
    path: str
    architecture: str
    quantization: str  # such as Q4_0; "" when the file does not say
    n_parameters: int
    size_bytes: int
    n_vocab: int
    n_embedding: int  # length of an embedding
    n_layers: int
    context_tokens: int  # of one sequence here
    trained_context_tokens: int
    n_slots: int
    n_threads: int
    gpu_layers: int
    kv_layout: str  # split | unified
    flash_attention: bool
    chat_template: str  # Jinja source; ChatML's when the file has none
    bos_token: str
    eos_token: str
    can_generate: bool
    can_infill: bool  # it has fill-in-the-middle tokens
    can_rerank: bool
    can_share_prefixes: bool  # its memory can be cut at any token
    has_native_tools: bool  # its template knows tools
    has_reasoning: bool  # its template knows reasoning blocks
    memory_bytes: int = 0
    draft_model: str | None = None


@dataclass(frozen=True)
class SlotStatistics:
    """One slot, now."""

    slot_id: int
    state: SlotState = "idle"
    request_id: int | None = None
    n_prompt_tokens: int = 0
    n_computed_tokens: int = 0  # of prompt and output
    n_output_tokens: int = 0
    n_cached_tokens: int = 0  # of the prompt, reused
    n_retained_tokens: int = 0  # held for reuse while idle
    sampling: SamplingParams | None = None


@dataclass(frozen=True)
class ModelStatistics:
    """What one loaded model did since it was loaded, and does now. Its seconds are of busy time."""

    model_id: str
    n_running: int = 0
    n_waiting: int = 0
    n_requests: int = 0
    n_prompt_tokens: int = 0  # of finished and running requests, reused ones included
    n_cached_tokens: int = 0  # of them, reused from the prefix cache
    n_completion_tokens: int = 0
    n_steps: int = 0
    n_batched_tokens: int = 0  # computed in those steps; over n_steps it is the mean batch size
    n_preempted: int = 0
    n_drafted_tokens: int = 0
    n_accepted_tokens: int = 0  # of the drafted
    n_drafts: int = 0  # times that guesses were checked
    n_tokens_max: int = 0  # of the longest sequence so far, prompt and output
    prefill_s: float = 0.0  # busy with steps that had a prompt in them
    decode_s: float = 0.0  # busy with other steps
    first_token_s: float = 0.0  # sum over requests, from submission to first token
    n_first_tokens: int = 0  # requests in that sum
    n_prefix_hits: int = 0  # requests that reused something
    n_prefix_evictions: int = 0
    n_cells: int = 0  # of the KV cache
    n_cells_used: int = 0
    n_retained_tokens: int = 0  # kept by finished sequences
    slots: tuple[SlotStatistics, ...] = ()


@dataclass(frozen=True)
class UpstreamStatistics:
    """One remote model."""

    model_id: str
    url: str
    is_healthy: bool
    n_in_flight: int = 0
    n_requests: int = 0
    n_failed: int = 0
    opens_again_in_s: float | None = None  # while its circuit breaker refuses requests


@dataclass(frozen=True)
class EngineStatistics:
    """What the engine did since it started, and does now, over all models."""

    n_running: int = 0  # sequences in the batch
    n_waiting: int = 0  # requests in the queue
    n_requests: int = 0
    n_aborted: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    n_steps: int = 0
    loaded_models: tuple[LoadedModel, ...] = ()
    load_failure: LoadFailure | None = None  # of the default model; None once it was loaded
    models: tuple[ModelStatistics, ...] = field(default=())
    upstreams: tuple[UpstreamStatistics, ...] = ()
