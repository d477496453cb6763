"""Settings of the MCP server process: its transports and where it keeps things.

Each leaf has settings of its own beside its code; `docs/settings.md` lists them all. Every value comes from the
environment; a malformed one stops the start with the variable's name, its value and what was expected.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mcp_server.admission import check_key


class McpSettings(BaseSettings):
    """How the MCP server is reached."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_MCP_", extra="ignore", populate_by_name=True)

    home: Path = Field(
        default=Path("~/.cinque"),
        validation_alias="CINQUE_HOME",
        description="Folder for models, indexes and run files (path)",
    )
    host: str = Field(default="127.0.0.1", description="Address the HTTP transports listen on (IP address)")
    port: int = Field(default=8800, ge=0, le=65535, description="Port of the HTTP transports; 0: a free one (port)")
    api_key: str = Field(
        default="",
        validation_alias="CINQUE_API_KEY",
        description="Key that HTTP clients send as `Authorization: Bearer`; needed to listen beyond loopback (text)",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Hosts, and origins of pages there, let in besides loopback ones: `name`, `name:port` (JSON list)",
    )
    max_body_bytes: int = Field(
        default=256 * 1024 * 1024, ge=64 * 1024 * 1024, description="Largest HTTP request body (bytes)"
    )
    preload: bool = Field(default=True, description="Load the default model when the HTTP transport starts (bool)")
    log_level: str = Field(
        default="INFO",
        pattern="^(?i:debug|info|warning|error)$",
        validation_alias="CINQUE_LOG_LEVEL",
        description="Log level of both processes (name)",
    )
    page_size: int = Field(default=100, ge=1, le=1000, description="Items a list tool returns at most (count)")

    @model_validator(mode="after")
    def _a_key_that_can_be_sent(self) -> Self:
        check_key(self.api_key)
        return self

    @property
    def run_folder(self) -> Path:
        """Folder of the socket by which a second stdio server joins this one."""
        return self.home.expanduser() / "run"
