"""Settings of the generation engine: which model, how much of it at once, and on which cores.

Every field can be set in the environment as `CINQUE_ENGINE_<NAME>`; the data folder is `CINQUE_HOME`. Nothing here
touches the disk or the model.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_CPU_TOPOLOGY = Path("/sys/devices/system/cpu")


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
    n_slots: int = Field(default=8, ge=1, le=64, description="Sequences generated at once (sequences)")
    prefill_chunk_tokens: int = Field(
        default=256,
        ge=1,
        le=4096,
        description="Prompt tokens computed in one step; more is faster prefill, longer stalls of streams (tokens)",
    )
    max_waiting: int = Field(
        default=64, ge=0, description="Requests that may wait for a slot before new ones are refused (requests)"
    )
    max_context_tokens: int = Field(
        default=8192, ge=64, description="Upper bound of one sequence; a model trained for less has less (tokens)"
    )
    kv_cache_tokens: int = Field(
        default=32768,
        ge=64,
        description="Cells shared by all sequences, at most n_slots contexts; more costs memory (tokens)",
    )
    prefix_cache_tokens: int = Field(
        default=2048,
        ge=0,
        description="Cells of finished sequences kept for prompts that begin alike; 0: none; none either where walking "
        "over them would cost more than a quarter of the model's own work (tokens)",
    )
    max_stream_interval_ms: float = Field(
        default=50.0,
        ge=0,
        le=10_000,
        description="Longest time for which tokens of a stream are gathered into one message; 4 ms for every stream "
        "that runs, up to this (ms)",
    )
    embedding_tokens: int = Field(
        default=2048, ge=16, description="Longest text to embed; a model trained for less has less (tokens)"
    )
    max_tokenize_bytes: int = Field(
        default=1 << 20,
        ge=1024,
        description="Longest text to tokenize for a caller; streams wait meanwhile, some 0.5 s a MiB (bytes of UTF-8)",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=512,
        description="Threads of inference; 0: the physical cores at hand, or 1 for models under 64 MiB (threads)",
    )
    flash_attention: Literal["auto", "on", "off"] = Field(
        default="auto", description="Flash attention; auto: off on a CPU, where it costs speed, on with a GPU"
    )
    gpu_layers: int = Field(
        default=-1, ge=-1, description="Layers computed on a GPU where the build has one; -1: all (layers)"
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
    def models_path(self) -> Path:
        """The folder of downloaded models; it may not exist yet."""
        return self.home.expanduser() / "models"


def count_physical_cores() -> int:
    """Count cores, not hyperthreads: two threads on one core slow each other down (1 where nothing is known)."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = set()
    for cpu in cpus:
        siblings = _CPU_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(siblings.read_text(encoding="ascii").strip() if siblings.is_file() else str(cpu))
    return max(1, len(cores))
