"""The dense model in the form of the fastest backend, made once and kept under `<home>/rag/models/`.

The first call converts the model in a process of its own, tries every backend that is installed, and writes the choice
beside the converted model; later ones only read it, and need neither torch nor the published weights. Whatever is
damaged, or was made from other weights, on another processor or with other versions, is made anew.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rag import torch_model
from rag.conversion import NETWORKS, RESULT_FILE, TOKENIZER_FILE
from rag.conversions import CHOICE_FILE, conversion_folder, lock_file, try_lock
from rag.durable import disk_failures, remove_folder, write_folder
from rag.errors import EmbeddingUnavailableError
from rag.settings import RagSettings
from rag.text_model import Lanes, TokenModel, open_tokenizer
from rag.weights import find_local_weights, find_weights

# Raise when `conversion` makes something else: what an older version made is made anew.
CONVERSION_VERSION: Final = 1

# What each backend needs to be there, to convert for it and to run it.
PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "openvino": ("openvino", "sentence-transformers"),
    "onnx": ("onnxruntime", "onnx", "sentence-transformers"),
    "torch": ("sentence-transformers",),
}

# How often a conversion looks whether it is still wanted, s.
_LOOK_S: Final = 0.1

# Loading torch on a slow disk, two exports and three measurements: half a minute here, on two busy cores.
_CONVERSION_TIMEOUT_S: Final = 600
_MAX_ERROR_CHARS: Final = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """What was chosen for one model on this machine, and from what."""

    version: int
    model: str
    machine: str
    packages: dict[str, str]
    source: dict[str, list[int]]  # size and modification time in ns of the weights
    files: dict[str, str]  # sha256 of what lies beside
    result: dict[str, Any]  # of `conversion`

    @property
    def backend(self) -> str:
        """The backend that runs the model."""
        return str(self.result["backend"])


def open_converted(settings: RagSettings) -> tuple[str, Lanes]:
    """Open the model on the backend that the settings ask for or that is the fastest; returns its name, too.

    Raises:
        EmbeddingUnavailableError: there are no weights, or no backend that was asked for can run them.
    """
    choice, folder = _find(settings) or _make(settings)
    if choice.backend == "torch":
        return "torch", open_torch(settings)
    return choice.backend, _open_lanes(choice, folder, settings)


def prepare(settings: RagSettings, check: Callable[[], None], tell: Callable[[], None] = lambda: None) -> None:
    """Convert the model where that is not done: up to minutes. What `check` raises ends it and leaves nothing behind.

    `tell` is called first when there is something to do.

    Raises:
        EmbeddingUnavailableError: as `open_converted` does.
    """
    if _find(settings) is None:
        tell()
        _make(settings, check)


def is_converted(settings: RagSettings) -> bool:
    """Tell whether `open_converted` would only read; takes some 0.05 s, since it compares checksums.

    Raises:
        EmbeddingUnavailableError: no backend that was asked for is installed.
    """
    return _find(settings) is not None


def open_torch(settings: RagSettings) -> Lanes:
    """Open the model on torch, from its published files. Raises EmbeddingUnavailableError as `open_converted` does."""
    source = find_weights(settings.embedding_model, hub_timeout_s=settings.hub_timeout_s)
    try:
        return torch_model.open_lanes(
            source, threads=settings.n_embedding_threads, batch_size=settings.embedding_batch_size
        )
    except (OSError, ValueError, KeyError) as error:
        raise EmbeddingUnavailableError(
            f"the embedding model {settings.embedding_model} could not be loaded from {source}: {error}; remove that "
            "folder so that it is fetched again, or set CINQUE_RAG_EMBEDDING_MODEL to another model"
        ) from error


def installed_packages(backends: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of all that `backends` need, as far as it is installed; imports none of it."""
    found = {}
    for package in sorted({name for backend in backends for name in PACKAGES[backend]}):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _wanted(settings: RagSettings) -> tuple[str, ...]:
    """Return the backends that the settings allow and this installation has."""
    names = tuple(PACKAGES) if settings.embedding_backend == "auto" else (settings.embedding_backend,)
    installed = installed_packages(names)
    wanted = tuple(name for name in names if set(PACKAGES[name]) <= set(installed))
    if not wanted:
        lacking = ", ".join(sorted(set(PACKAGES[names[0]]) - set(installed)))
        raise EmbeddingUnavailableError(
            f"the embedding backend {names[0]} needs packages that are not installed ({lacking}); run `pip install "
            f"{lacking.replace(',', '')}`, or set CINQUE_RAG_EMBEDDING_BACKEND=auto"
        )
    return wanted


def _find(settings: RagSettings) -> tuple[Choice, Path] | None:
    """Read what an earlier call made; None where it is absent, damaged or out of date."""
    folder = conversion_folder(settings)
    try:
        choice = Choice(**json.loads((folder / CHOICE_FILE).read_text(encoding="utf-8")))
        is_whole = all(_sha256(folder / name) == digest for name, digest in choice.files.items())
        _ = choice.result["max_tokens"], choice.result["pad_token"], choice.backend
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("converted embedding model is made anew", extra={"model": str(folder), "error": str(error)})
        return None
    if not is_whole:
        log.warning("converted embedding model is made anew", extra={"model": str(folder), "error": "damaged files"})
        return None
    source = _source_now(settings)
    is_current = (choice.version, choice.machine, choice.packages) == (
        CONVERSION_VERSION,
        _machine(),
        installed_packages(_wanted(settings)),
    ) and (source is None or source == choice.source)
    return (choice, folder) if is_current else None


def _make(settings: RagSettings, check: Callable[[], None] = lambda: None) -> tuple[Choice, Path]:
    """Convert, measure and choose; waits for another process that does just that."""
    folder = conversion_folder(settings)
    with disk_failures(folder), _exclusive(lock_file(settings), check):
        found = _find(settings)
        if found is None:
            remove_folder(folder)
            write_folder(folder, lambda unfinished: _fill(unfinished, settings, check))
            found = _find(settings)
        if found is None:
            raise EmbeddingUnavailableError(
                f"the converted embedding model in {folder} changed while it was read; try again, and see that "
                "nothing else writes there"
            )
        return found


def _fill(folder: Path, settings: RagSettings, check: Callable[[], None]) -> None:
    source = find_weights(settings.embedding_model, hub_timeout_s=settings.hub_timeout_s)
    wanted = _wanted(settings)
    log.info("embedding model is converted, once", extra={"model": settings.embedding_model, "backends": wanted})
    result = _run_conversion(
        {
            "source": str(source),
            "folder": str(folder),
            "backends": wanted,
            "threads": settings.n_embedding_threads,
            "batch_size": settings.embedding_batch_size,
        },
        check,
    )
    if not result["backend"]:
        raise EmbeddingUnavailableError(
            f"the embedding backend {wanted[0]} cannot run {settings.embedding_model} "
            f"({result['failures'].get(wanted[0], 'no reason known')}); set CINQUE_RAG_EMBEDDING_BACKEND=auto"
        )
    log.info("embedding backend chosen", extra={"model": settings.embedding_model, **result})
    choice = Choice(
        version=CONVERSION_VERSION,
        model=settings.embedding_model,
        machine=_machine(),
        packages=installed_packages(wanted),
        source=_stamp(source),
        files={file.name: _sha256(file) for file in sorted(folder.iterdir()) if file.name != RESULT_FILE},
        result=result,
    )
    (folder / CHOICE_FILE).write_text(json.dumps(asdict(choice), indent=1), encoding="utf-8")


def _run_conversion(request: dict[str, Any], check: Callable[[], None]) -> dict[str, Any]:
    """Run `rag.conversion` with this installation's modules and nothing of the working folder."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        _held_open() as held,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "rag.conversion", json.dumps(request)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"},
            stdin=held,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        told = _wait(process, check).decode("utf-8", "replace").strip()[-_MAX_ERROR_CHARS:]
    if process.returncode:
        raise EmbeddingUnavailableError(
            f"the embedding model could not be loaded from {request['source']}: {told}; remove that folder so that it "
            "is fetched again, or set CINQUE_RAG_EMBEDDING_MODEL to another model"
        )
    result: dict[str, Any] = json.loads((Path(request["folder"]) / RESULT_FILE).read_text(encoding="utf-8"))
    return result


@contextmanager
def _held_open() -> Iterator[int]:
    """Lend the reading end of a pipe that says nothing, and ends with this block or with this process."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _wait(process: subprocess.Popen[bytes], check: Callable[[], None]) -> bytes:
    """Return what a process wrote to stderr, once it has ended; kill it when `check` raises or it takes too long."""
    until_s = time.monotonic() + _CONVERSION_TIMEOUT_S
    try:
        while True:
            check()
            try:
                return process.communicate(timeout=_LOOK_S)[1]
            except subprocess.TimeoutExpired:
                if time.monotonic() > until_s:
                    raise
    except BaseException:
        process.kill()
        raise


def _open_lanes(choice: Choice, folder: Path, settings: RagSettings) -> Lanes:
    network = NETWORKS[choice.backend](folder)

    def open_lane(threads: int) -> TokenModel:
        return TokenModel(
            open_tokenizer(folder / TOKENIZER_FILE, choice.result["max_tokens"]),
            network.runtime(threads),
            pad_token=choice.result["pad_token"],
            batch_size=settings.embedding_batch_size,
        )

    return Lanes(open_lane(settings.n_query_threads), lambda: open_lane(settings.n_embedding_threads))


def _source_now(settings: RagSettings) -> dict[str, list[int]] | None:
    """Describe the published weights as they are now; None where they are no longer on this machine."""
    source = find_local_weights(settings.embedding_model)
    return None if source is None else _stamp(source)


def _stamp(source: Path) -> dict[str, list[int]]:
    """Describe the weights of a model, to notice other ones without reading them."""
    found = {}
    for file in sorted((*source.glob("*.safetensors"), *source.glob("*.bin"), source / "modules.json")):
        status = file.stat()
        found[file.name] = [status.st_size, status.st_mtime_ns]
    return found


def _machine() -> str:
    """Name what decides which backend is the fastest, as far as it can be told at once."""
    return f"{platform.system()} {platform.machine()} {os.cpu_count()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _exclusive(path: Path, check: Callable[[], None]) -> Iterator[None]:
    """Hold the only right to make this model, among threads and processes; released even by a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not try_lock(descriptor):
            check()
            time.sleep(_LOOK_S)
        yield
    finally:
        os.close(descriptor)
