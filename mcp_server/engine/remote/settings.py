"""Remote models: what is said about one in models.toml, and how their servers are talked to.

`RemoteModel` is one entry, read and checked by the catalogue and used by the remote engine. `RemoteSettings` holds for
all of them; every field can be set in the environment as `CINQUE_REMOTE_<NAME>`. Nothing here touches the network.
"""

from dataclasses import dataclass

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


@dataclass(frozen=True)
class RemoteModel:
    """One model of one or several OpenAI-compatible servers."""

    model_id: str  # its name here
    urls: tuple[str, ...]  # of its servers, as good as each other; with or without the /v1 at the end; at least one
    upstream_model: str = ""  # its name there; "": as here
    api_key_env: str | None = None  # the environment variable that holds the key; None: no key is sent
    aliases: tuple[str, ...] = ()
    context_tokens: int | None = None  # None: asked of the server where it tells
    is_default: bool = False


class RemoteSettings(BaseSettings):
    """How the servers of remote models are talked to."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_REMOTE_", extra="ignore")

    connect_timeout_s: float = Field(
        default=5.0, gt=0, le=120, description="Longest wait for a connection to a remote model's server (s)"
    )
    read_timeout_s: float = Field(
        default=300.0, gt=0, le=3600, description="Longest silence of a remote model's server within an answer (s)"
    )
    write_timeout_s: float = Field(
        default=30.0, gt=0, le=600, description="Longest stall of sending a request to a remote model's server (s)"
    )
    probe_timeout_s: float = Field(
        default=3.0, gt=0, le=60, description="Longest wait for a remote server to tell its health and its models (s)"
    )
    max_connections: int = Field(
        default=64, ge=1, le=4096, description="Requests to one remote model at once; more wait (requests)"
    )
    max_waiting: int = Field(
        default=256, ge=0, description="Requests that may wait for one remote model before new ones fail (requests)"
    )
    keepalive_s: float = Field(
        default=4.0,
        ge=0,
        le=3600,
        description="How long an unused connection is kept; many servers close theirs after 5 (s)",
    )
    connect_retries: int = Field(
        default=2, ge=0, le=10, description="Further tries when a server cannot be connected to (tries)"
    )
    breaker_failures: int = Field(
        default=3, ge=1, le=100, description="Failures in a row after which a server is not asked for a while (count)"
    )
    breaker_open_s: float = Field(
        default=2.0, gt=0, le=600, description="How long it is not asked first; doubles with each failed probe (s)"
    )
    breaker_max_open_s: float = Field(default=60.0, gt=0, le=3600, description="How long it is not asked at most (s)")
