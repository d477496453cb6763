"""Settings of indexing and retrieval, read from `CINQUE_RAG_*` and `CINQUE_HOME`.

Every field has a default that works offline on two cores. Constants that change what an index *means* (chunk sizes,
BM25's k1 and b) are not here: they stand at the head of their own module, because changing one needs a new index.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class RagSettings(BaseSettings):
    """What retrieval may use, and how much of it."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_RAG_", populate_by_name=True, extra="ignore", frozen=True)

    home: Path = Field(
        Path("~/.cinque"),
        validation_alias="CINQUE_HOME",
        description="Data folder of Cinque; retrieval keeps everything under its `rag` folder (path).",
    )

    database_url: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL database that keeps the collections, shared by all servers that name it, as in "
        "`postgresql://user:password@host:5432/name`; empty means a folder of this machine (URL).",
    )

    dense: bool = Field(
        default=True,
        description="Embed chunks and queries; off means lexical ranking only, which needs no weights (on or off).",
    )
    embedding_model: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        min_length=1,
        description="sentence-transformers model: an id on the Hugging Face hub or a local folder (name).",
    )
    embedding_backend: Literal["auto", "openvino", "onnx", "torch"] = Field(
        "auto",
        description="What runs the embedding model; auto measures all that are installed, once, and keeps to the "
        "fastest (name).",
    )
    embedding_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads that embedding may use; 0 means half of the processors, and for one query up to 4 of them "
        "(threads).",
    )
    embedding_batch_size: int = Field(16, ge=1, le=1024, description="Texts embedded in one forward pass (texts).")
    hub_timeout_s: float = Field(
        3.0, gt=0, le=60, description="Wait for the Hugging Face hub's first answer before going on without it (s)."
    )
    max_cached_embeddings: int = Field(
        500_000, ge=0, description="Embeddings kept across collections, oldest dropped first; 1.6 KB each (embeddings)."
    )

    max_files: int = Field(10_000, ge=1, description="Files that a collection of posted files may have (files).")
    max_lines: int = Field(500_000, ge=1, description="Lines that a collection of posted files may have (lines).")
    max_bytes: int = Field(
        100_000_000, ge=1, description="UTF-8 text that a collection of posted files may have (bytes)."
    )
    max_folder_files: int = Field(100_000, ge=1, description="Files that a local folder's collection may have (files).")
    max_folder_lines: int = Field(
        5_000_000, ge=1, description="Lines that a local folder's collection may have (lines)."
    )
    max_folder_bytes: int = Field(
        500_000_000, ge=1, description="UTF-8 text that a local folder's collection may have (bytes)."
    )
    max_file_bytes: int = Field(1_000_000, ge=1, description="Size from which a file is skipped as huge (bytes).")

    max_results: int = Field(100, ge=1, le=10_000, description="Hits that one query may ask for (hits).")
    dense_weight: float = Field(
        0.55, ge=0, le=1, description="Share of the dense score in the fused one; the rest is lexical (fraction)."
    )
    max_open_collections: int = Field(
        8, ge=1, description="Collections kept in memory, least recently used dropped first (collections)."
    )

    @property
    def n_embedding_threads(self) -> int:
        """Threads that embedding may use, with 0 replaced by half of the processors."""
        return self.embedding_threads or max(1, (os.cpu_count() or 1) // 2)

    @property
    def n_query_threads(self) -> int:
        """Threads that embedding one query may use: a person waits, and more than four would wait for each other."""
        return self.embedding_threads or min(4, os.cpu_count() or 1)

    @property
    def folder(self) -> Path:
        """Everything that retrieval stores, with `~` expanded."""
        return self.home.expanduser() / "rag"
