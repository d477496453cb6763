"""Settings of the shim process: doors, ports, limits and the key that guards them.

Every value comes from the environment; a malformed one stops the start with the variable's name, its value and what
was expected. `docs/settings.md` is generated from these fields.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mcp_server.admission import LOOPBACK, check_key


class ShimSettings(BaseSettings):
    """How the doors are reached and what they accept."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_", extra="ignore", populate_by_name=True)

    host: str = Field(default="127.0.0.1", description="Address all doors listen on (IP address)")
    api_key: str = Field(
        default="", description="Key that clients send as `Authorization: Bearer`; needed beyond loopback (text)"
    )
    api_keys: tuple[str, ...] = Field(
        default=(), description="Further keys that clients may send; each key has projects of its own (JSON list)"
    )
    ports: dict[str, Annotated[int, Field(ge=0, le=65535)]] = Field(
        default={}, description="Port of a door by its name, over the documented one; 0 picks a free one (JSON object)"
    )
    single_port: int | None = Field(
        default=None, ge=0, le=65535, description="Serve every door on this one port, under `/<door>` (port)"
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Host header names accepted besides loopback ones; `*` for any (JSON list)"
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Origins whose web pages may call the doors; `*` for any (JSON list)"
    )
    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, description="Largest request body (bytes)")
    max_sync_body_bytes: int = Field(
        default=160 * 1024 * 1024, ge=1024, description="Largest body of a project sync: 100 MB of text as JSON (bytes)"
    )
    max_large_bodies: int = Field(
        default=2,
        ge=1,
        description="Bodies beyond CINQUE_MAX_BODY_BYTES that are worked on at once; others wait their turn (count)",
    )
    project_ttl_s: float = Field(
        default=30 * 24 * 3600.0,
        ge=0,
        le=100 * 365 * 24 * 3600.0,
        description="Time after its last sync at which a synced project is deleted; 0: never (seconds)",
    )
    context_budget_tokens: int = Field(
        default=8000,
        ge=0,
        le=100_000,
        description="Code put before the question of a chat about a project, 4 characters each (tokens)",
    )
    context_results: int = Field(
        default=20, ge=1, le=100, description="Pieces of code that the search for such a chat may return (count)"
    )
    restart_wait_s: float = Field(
        default=15.0, ge=0, description="How long a call waits for the MCP server while it restarts (seconds)"
    )
    status_timeout_s: float = Field(
        default=5.0, gt=0, description="How long a health check waits for the MCP server's answer (seconds)"
    )
    ping_interval_s: float = Field(
        default=5.0, gt=0, description="How often the MCP server is asked whether it still answers (seconds)"
    )
    ping_timeout_s: float = Field(
        default=60.0, gt=0, description="Silence after which the MCP server is killed and started again (seconds)"
    )
    retry_after_s: int = Field(default=1, ge=1, description="Retry-After of a 429 or 503 (seconds)")
    log_level: str = Field(default="INFO", pattern="^(?i:debug|info|warning|error)$", description="Log level (name)")

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that is let in; without any, everybody is."""
        return tuple(key for key in (self.api_key, *self.api_keys) if key)

    @model_validator(mode="after")
    def _a_key_that_can_be_sent(self) -> Self:
        check_key(self.api_key)
        for key in self.api_keys:
            check_key(key, "CINQUE_API_KEYS")
        return self

    @model_validator(mode="after")
    def _a_key_beyond_loopback(self) -> Self:
        if self.host not in LOOPBACK and not self.keys:
            msg = f"CINQUE_HOST={self.host} is not loopback; set CINQUE_API_KEY, or anyone could run code here"
            raise ValueError(msg)
        return self
