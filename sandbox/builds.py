"""Compile a recipe behind the wall, once: what it made is kept and handed out again for the same input.

The key is a hash of everything that shapes the result: files, steps, environment, versions of the tools, machine. Only
this side writes the cache, after a compilation in a job of its own; jobs get copies. What a cached file says is checked
against its own digest, so a torn or damaged one is a miss. Thread-safe; several processes may share the folder.
"""

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.isolation import Isolation
from sandbox.jobs import Job, Outcome
from sandbox.recipes import Recipe
from sandbox.settings import SandboxSettings
from sandbox.toolchains import Toolchains
from sandbox.types import Limits

FLAVOUR = "tools"
SUFFIX = ".build"
DIGEST_BYTES = 32
NOT_BUILT = Outcome("exit", 0, None, b"", b"", [], 0.0, None)  # nothing had to be compiled


@dataclass(frozen=True)
class Build:
    """What became of a recipe. When it failed, `outcome` holds what the compiler said and how it ended."""

    is_ok: bool
    outcome: Outcome
    artefacts: bytes | None  # what a `command` job unpacks; None when it failed
    was_cached: bool

    def said(self) -> str:
        """Return the beginning of what the steps said, some 32 KiB."""
        return "".join(str(record["text"]) for record in self.outcome.records if record["event"] == "said")


class Builder:
    """Builds recipes and makes the jobs that run them."""

    def __init__(self, settings: SandboxSettings, isolation: Isolation, toolchains: Toolchains) -> None:
        self._isolation = isolation
        self._toolchains = toolchains
        self._limits = settings.compile_limits()
        self._check_limits = replace(self._limits, time_s=settings.syntax_timeout_s)
        self._cache = _Cache(settings.builds_folder, settings.build_cache_bytes)

    @property
    def limits(self) -> Limits:
        """The limits of a compilation, from the settings."""
        return self._limits

    @property
    def check_limits(self) -> Limits:
        """The limits of a syntax check, from the settings."""
        return self._check_limits

    def build(
        self,
        recipe: Recipe,
        limits: Limits | None = None,
        cancelled: threading.Event | None = None,
        *,
        keep: bool = True,
    ) -> Build:
        """Run the steps of a recipe in a job of their own, or find what they made before.

        Args:
            recipe: what to build; without steps there is nothing to do, and the build is ok.
            limits: of the job; None takes the settings'.
            cancelled: kills the compiler when set.
            keep: False neither reads nor writes the cache, for steps that make nothing.

        Raises:
            ToolchainMissingError: a tool is not installed.
            ExecutionCancelledError: the caller gave up.
            SandboxError: our own machinery failed.
        """
        tools = self._toolchains.require(recipe.toolchain)
        if not recipe.steps:
            return Build(is_ok=True, outcome=NOT_BUILT, artefacts=b"", was_cached=False)
        if keep and any(tool.name == "go" for tool in tools):  # who makes nothing needs no compiled library
            self._toolchains.warm_go(cancelled)
        environment = self._environment(recipe)
        key = _key(recipe, environment, [tool.version for tool in tools])
        found = self._cache.read(key) if keep else None
        if found is not None:
            return Build(is_ok=True, outcome=NOT_BUILT, artefacts=found, was_cached=True)
        arguments = {
            "files": dict(recipe.files),
            "steps": [list(step.argv) for step in recipe.steps],
            "artefacts": list(recipe.artefacts),
            "environment": environment,
        }
        job = Job("build", FLAVOUR, arguments, limits or self._limits, artefact=b"")
        outcome = self._isolation.run(job, cancelled)
        if outcome.ended_by != "exit" or outcome.exit_code != 0 or outcome.find("built") is None:
            return Build(is_ok=False, outcome=outcome, artefacts=None, was_cached=False)
        if keep:
            self._cache.write(key, outcome.artefact)
        return Build(is_ok=True, outcome=outcome, artefacts=outcome.artefact, was_cached=False)

    def command(
        self, recipe: Recipe, build: Build, limits: Limits, *, stdin: bytes = b"", has_events: bool = False
    ) -> Job:
        """Return the job that runs what was built. Its descriptor 3 is the channel for events if it `has_events`."""
        if build.artefacts is None:
            raise ValueError("a failed build cannot be run")
        arguments = {
            "files": dict(recipe.files),
            "argv": list(recipe.run),
            "environment": self._environment(recipe),
        }
        artefact = build.artefacts or None
        return Job("command", FLAVOUR, arguments, limits, stdin=stdin, artefact=artefact, has_events=has_events)

    def run(self, job: Job, cancelled: threading.Event | None = None) -> Outcome:
        """Run a job of `command` to its end."""
        return self._isolation.run(job, cancelled)

    def _environment(self, recipe: Recipe) -> dict[str, str]:
        return {**self._toolchains.environment(recipe.toolchain), **recipe.environment}


def _key(recipe: Recipe, environment: Mapping[str, str], versions: list[str]) -> str:
    identity = [
        sorted(recipe.files.items()),
        [step.argv for step in recipe.steps],
        recipe.artefacts,
        sorted(environment.items()),
        versions,
        platform.machine(),
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


class _Cache:
    """Files named by key in one folder, each a digest and its content; the least recently used go first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._n_bytes: int | None = None  # what the folder holds, as far as we know; others may write too

    def read(self, key: str) -> bytes | None:
        """Return what was kept, None when there is nothing or it was damaged."""
        path = self._folder / (key + SUFFIX)
        try:
            raw = path.read_bytes()
            content = raw[DIGEST_BYTES:]
            if hashlib.sha256(content).digest() != raw[:DIGEST_BYTES]:
                path.unlink(missing_ok=True)
                return None
            os.utime(path)  # used just now
        except OSError:
            return None  # never kept, or removed by another process while we looked
        return content

    def write(self, key: str, content: bytes) -> None:
        """Keep the content, in one step, and make room for it. What is larger than a quarter of all is not kept."""
        if len(content) > self._max_bytes // 4:
            return
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            fd, name = tempfile.mkstemp(dir=self._folder, prefix="new-")
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                Path(name).replace(self._folder / (key + SUFFIX))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            if self._n_bytes is None:
                self._n_bytes = sum(size for _, size, _ in self._entries())
            else:
                self._n_bytes += len(content) + DIGEST_BYTES
            if self._n_bytes > self._max_bytes:
                self._make_room()

    def _make_room(self) -> None:
        entries = self._entries()
        self._n_bytes = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if self._n_bytes <= self._max_bytes:
                break
            path.unlink(missing_ok=True)
            self._n_bytes -= size

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Return (time of last use, size, path) of everything that is kept."""
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another process made room
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        return found
