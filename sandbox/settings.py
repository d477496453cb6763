"""What an operator may set about the sandbox: `CINQUE_SANDBOX_*` in the environment.

Units stand in the names and the descriptions. Nothing here is read at import; `SandboxSettings()` reads the
environment once.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sandbox.types import Limits

MIB = 1024 * 1024


class SandboxSettings(BaseSettings):
    """Settings of the sandbox. Every field may be given as `CINQUE_SANDBOX_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="CINQUE_SANDBOX_", frozen=True, populate_by_name=True)

    isolation: Literal["auto", "namespaces", "bwrap", "landlock", "none"] = Field(
        "auto",
        description="What separates programs from the host: auto (the first of namespaces, bwrap and landlock that "
        "passes its self-test, never none), one of these, or none (no protection at all; only for programs you trust).",
    )
    bwrap_ready: int = Field(
        2,
        ge=0,
        le=32,
        description="Sandboxes that the bwrap tier keeps started for each kind of job, so that none waits (count).",
    )
    landlock_first_uid: int = Field(
        60706,
        ge=1000,
        description="First of the 478 user ids that the landlock tier uses when it is started by root; they must be "
        "nobody's (user id).",
    )
    home: Path = Field(
        Path("~/.cinque"),
        validation_alias="CINQUE_HOME",
        description="Data folder; requirement sets, compiled programs and toolchains lie in its sandbox folder (path).",
    )
    cache: Path = Field(
        Path("~/.cache/cinque"),
        validation_alias="CINQUE_CACHE",
        description="Where make setup installs what all checkouts share; TypeScript's tools are in its node (path).",
    )
    default_timeout_s: float = Field(30.0, gt=0, description="Time limit of a request that names none (seconds).")
    max_timeout_s: float = Field(60.0, gt=0, description="Longest time limit a request can have (seconds).")
    memory_bytes: int = Field(
        512 * MIB, ge=64 * MIB, description="Memory of one program and all its children together (bytes)."
    )
    cpus: float = Field(
        0.0,
        ge=0,
        le=1024,
        description="Processors that one program and all its children together may keep busy, where control groups can "
        "be made; 0 for all there are (count).",
    )
    output_bytes: int = Field(
        16 * MIB, ge=64 * 1024, description="Standard output and error of one program together (bytes)."
    )
    workspace_bytes: int = Field(64 * MIB, ge=MIB, description="Size of a program's files, /tmp included (bytes).")
    n_files: int = Field(4096, ge=64, description="Files and folders that a program may create (count).")
    n_processes: int = Field(64, ge=4, description="Processes and threads of one program (count).")
    n_open_files: int = Field(256, ge=32, description="Open files of one process (count).")
    compile_timeout_s: float = Field(30.0, gt=0, description="Time that compiling one program may take (seconds).")
    compile_memory_bytes: int = Field(
        1024 * MIB, ge=64 * MIB, description="Memory of one compilation, all its processes together (bytes)."
    )
    compile_workspace_bytes: int = Field(
        256 * MIB, ge=MIB, description="Size of what one compilation writes, temporary files included (bytes)."
    )
    compile_processes: int = Field(256, ge=4, description="Processes and threads of one compilation (count).")
    build_cache_bytes: int = Field(
        512 * MIB,
        ge=0,
        description="Size of all compiled programs that are kept for the next time; 0 keeps none (bytes).",
    )
    max_source_bytes: int = Field(
        16 * MIB, ge=1024, description="Code, tests, files and standard input of one request together (bytes)."
    )
    max_running: int = Field(0, ge=0, le=256, description="Programs at once; 0: 2 more than processors (count).")
    max_waiting: int = Field(
        64, ge=0, le=1024, description="Requests that may wait for a place; more are refused (count)."
    )
    lint: bool = Field(default=True, description="Whether results carry pylint's score (true or false).")
    lint_timeout_s: float = Field(15.0, gt=0, description="Time that rating one program may take (seconds).")
    syntax_timeout_s: float = Field(10.0, gt=0, description="Time that parsing one program may take (seconds).")
    twin_timeout_s: float = Field(
        5.0,
        ge=0,
        description="Time that the second run of Python tests in one process with their program may take, in which "
        "random values replace what they expect; never more than the request has left; 0 for no such run (seconds).",
    )
    requirements_allowed: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Packages that requests may install, separated by commas; empty allows any (names)."
    )
    requirements_cutoff: str = Field(
        "",
        pattern=r"^(\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z)?)?$",
        description="Packages uploaded from then on are not installed, as in 2026-01-31; empty for no cutoff (date). "
        "The index must tell upload times.",
    )
    requirements_timeout_s: float = Field(
        120.0, gt=0, description="Time that installing one requirement set may take (seconds)."
    )
    requirements_bytes: int = Field(
        1024 * MIB, ge=MIB, description="Size that one installed requirement set may have (bytes)."
    )
    requirements_files: int = Field(
        100_000, ge=100, description="Files that one installed requirement set may have, pip's own included (count)."
    )
    requirements_cache_bytes: int = Field(
        8192 * MIB,
        ge=0,
        description="Size of all installed requirement sets together; the least recently used go first (bytes).",
    )

    @field_validator("requirements_allowed", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @property
    def requirements_folder(self) -> Path:
        """Where installed requirement sets are kept."""
        return self.home.expanduser().resolve() / "sandbox" / "requirements"

    @property
    def cache_folder(self) -> Path:
        """Where make setup installs what is shared by every checkout."""
        return self.cache.expanduser().resolve()

    @property
    def builds_folder(self) -> Path:
        """Where compiled programs are kept."""
        return self.home.expanduser().resolve() / "sandbox" / "builds"

    @property
    def toolchains_folder(self) -> Path:
        """Where toolchains of our own are installed, their commands in its `bin`."""
        return self.home.expanduser().resolve() / "sandbox" / "toolchains"

    def compile_limits(self) -> Limits:
        """Return the limits of one compilation."""
        return Limits(
            time_s=self.compile_timeout_s,
            memory_bytes=self.compile_memory_bytes,
            output_bytes=self.output_bytes,
            workspace_bytes=self.compile_workspace_bytes,
            n_files=self.n_files,
            n_processes=self.compile_processes,
            n_open_files=self.n_open_files,
        )

    def limits(self, timeout_s: float | None) -> Limits:
        """Return the limits of one request; a time limit above the maximum is lowered to it."""
        wanted = self.default_timeout_s if timeout_s is None else timeout_s
        return Limits(
            time_s=min(wanted, self.max_timeout_s),
            memory_bytes=self.memory_bytes,
            output_bytes=self.output_bytes,
            workspace_bytes=self.workspace_bytes,
            n_files=self.n_files,
            n_processes=self.n_processes,
            n_open_files=self.n_open_files,
        )
