"""Settings of the generation engine: which model, how much of it at once, and on which cores.

Every field can be set in the environment as `CINQUE_ENGINE_<NAME>`; the data folder is `CINQUE_HOME`. Nothing here
touches the disk or the model.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]


class EngineSettings(BaseSettings):
    """How the engine runs."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_ENGINE_", populate_by_name=True, extra="ignore")

    home: Path = Field(
        default=Path("~/.cinque"),
        validation_alias="CINQUE_HOME",
        description="Data folder; models are in its `models` (path)",
    )
    model: str = Field(
        default="",
        description="Default model: a path to a .gguf or the name of one here; empty: the newest, else the embedded",
    )
    model_aliases: tuple[str, ...] = Field(
        default=("cinque",), description="Names that mean the default model, beside `default` (JSON list)"
    )
    models_file: Path | None = Field(
        default=None,
        description="Names and settings of models here and elsewhere; unset: `models.toml` in CINQUE_HOME (path)",
    )
    memory_budget_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory that loaded models may take, estimated before loading; idle ones make room for others; "
        "0: three quarters of what this machine or its container has (bytes)",
    )
    max_loaded_models: int = Field(
        default=3, ge=1, le=64, description="Models in memory at once, however small they are (models)"
    )
    # Who started this server wants its default model at hand, as llama-server keeps its one for good: the first request
    # of the day must not wait. Other models were asked for by name, once perhaps, and a laptop needs its memory back:
    # they leave after the five minutes that users of Ollama know.
    keep_alive_s: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="How long a model stays loaded without a request; negative: until memory is needed; "
        "unset: that for the default model, 300 for others (s)",
    )
    n_slots: int = Field(default=8, ge=1, le=64, description="Sequences generated at once (sequences)")
    prefill_chunk_tokens: int = Field(
        default=256,
        ge=1,
        le=4096,
        description="Prompt tokens computed in one step beside streams; more is faster prefill, longer stalls (tokens)",
    )
    idle_prefill_tokens: int = Field(
        default=512,
        ge=1,
        le=8192,
        description="Prompt tokens computed in one step while nothing streams; an abort waits for a step (tokens)",
    )
    draft_model: str = Field(
        default="",
        description="Guesses tokens that the model then checks, many at once: the name or path of a smaller model of "
        "the same vocabulary, or `prompt-lookup`, which quotes the context; empty: none",
    )
    draft_tokens: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Tokens guessed in one step, all sequences together: with more sequences each has fewer (tokens)",
    )
    draft_min_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="A draft model guesses on while it gives its own guess at least this probability (0-1)",
    )
    ubatch_tokens: int = Field(
        default=0,
        ge=0,
        le=8192,
        description="Tokens in one native pass; more costs memory for activations; 0: 256 on a CPU, where prompts are "
        "computed a tenth faster than with 512, and 512 with a GPU (tokens)",
    )
    max_waiting: int = Field(
        default=64, ge=0, description="Requests that may wait for a slot before new ones are refused (requests)"
    )
    max_context_tokens: int = Field(
        default=8192, ge=64, description="Upper bound of one sequence; a model trained for less has less (tokens)"
    )
    kv_layout: Literal["auto", "split", "unified"] = Field(
        default="auto",
        description="Cells of the KV cache: split (own ones for each sequence, up to 5 times faster on a CPU), unified "
        "(shared by all, less memory), or auto: split where it fits kv_cache_bytes",
    )
    kv_cache_bytes: int = Field(
        default=0,
        ge=0,
        description="Memory that a split KV cache may take under auto; 0: an eighth of this machine's (bytes)",
    )
    kv_cache_tokens: int = Field(
        default=32768,
        ge=64,
        description="Cells of a unified KV cache, one context at least, n_slots of them at most (tokens)",
    )
    cache_type_k: CacheType = Field(
        default="f16", description="Number format of keys; q8_0 halves their memory (f32, f16, bf16, q8_0, q4_0, ...)"
    )
    cache_type_v: CacheType = Field(
        default="f16", description="Number format of values; quantised ones turn flash attention on (as cache_type_k)"
    )
    prefix_cache_tokens: int = Field(
        default=2048,
        ge=0,
        description="Cells of finished sequences kept for prompts that begin alike; 0: none, in host memory neither. "
        "A split cache keeps all of them; a unified one as many, or none where walking over them would cost more than "
        "a quarter of the model's own work (tokens)",
    )
    prefix_cache_bytes: int = Field(
        default=512 << 20,
        ge=0,
        description="Host memory for the states of sequences whose slots went to others; 0: none (bytes)",
    )
    max_stream_interval_ms: float = Field(
        default=100.0,
        ge=0,
        le=10_000,
        description="Longest time for which tokens of a stream are gathered into one message; 30 ms, or 8 ms for every "
        "stream that runs, up to this (ms)",
    )
    embedding_tokens: int = Field(
        default=2048, ge=16, description="Longest text to embed; a model trained for less has less (tokens)"
    )
    max_tokenize_bytes: int = Field(
        default=1 << 20,
        ge=1024,
        description="Longest text to tokenize for a caller; some 0.5 s a MiB, beside running streams (bytes of UTF-8)",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=512,
        description="Threads of inference; 0: the physical cores at hand, or 1 for models under 64 MiB (threads)",
    )
    threads_batch: int = Field(
        default=0, ge=0, le=512, description="Threads for batches of more than one token; 0: as `threads` (threads)"
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        default="auto", description="Flash attention; auto: off on a CPU, where it costs speed, on with a GPU"
    )
    mmap: bool = Field(default=True, description="Map the weights into memory instead of reading them (true or false)")
    mlock: bool = Field(
        default=False, description="Keep the weights in memory, never swapped; needs the right to lock (true or false)"
    )
    numa: Literal["off", "distribute", "isolate", "numactl"] = Field(
        default="off", description="How threads spread over NUMA nodes; the first model's load decides for the process"
    )
    gpu_layers: int = Field(
        default=-1, ge=-1, description="Layers computed on a GPU where the build has one; -1: all (layers)"
    )
    main_gpu: int = Field(default=0, ge=0, description="The GPU that computes what is not split (its number)")
    split_mode: Literal["none", "layer", "row"] = Field(
        default="layer", description="How a model is split over several GPUs: not at all, by layers, or by rows too"
    )
    tensor_split: tuple[float, ...] = Field(
        default=(), description="Share of each GPU in the model, such as [3, 1]; empty: by free memory (JSON list)"
    )
    hub_endpoint: str = Field(
        default="https://huggingface.co",
        validation_alias=AliasChoices("CINQUE_ENGINE_HUB_ENDPOINT", "HF_ENDPOINT"),
        description="Where models are pulled from; a mirror must speak the Hugging Face hub's API (URL)",
    )
    pull_timeout_s: float = Field(
        default=10.0, gt=0, le=600, description="Longest silence of the model hub before a download fails (s)"
    )

    @property
    def models_file_path(self) -> Path:
        """The file of models' names and settings; it may not exist."""
        return (self.models_file or self.home / "models.toml").expanduser()

    @property
    def models_path(self) -> Path:
        """The folder of downloaded models; it may not exist yet."""
        return self.home.expanduser() / "models"
