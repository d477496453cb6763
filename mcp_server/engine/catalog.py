"""The models on this machine: the embedded one, the downloaded ones, and which of them is the default.

The folder is read anew for every question, so a file that was copied there by hand is found. Downloads are `pull`'s
work. Loading is the engine's: here `is_loaded` is always False and `context_tokens` None.
"""

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from mcp_server.engine.gguf_file import SPLIT_NAME, read_header, split_parts
from mcp_server.engine.pull import pull_file
from mcp_server.engine.remote_settings import RemoteModel
from mcp_server.engine.settings import EngineSettings
from mcp_server.engine.types import Model, PullProgress
from mcp_server.errors import InvalidRequestError, ModelNotFoundError

EMBEDDED_PATH = Path(__file__).parent / "embedded"
SUFFIX = ".gguf"
CHECKS_KEPT = 16  # models found sound, remembered
DEFAULT_NAMES = ("", "default")


class ModelCatalog:
    """Models by name."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings

    def list(self) -> tuple[Model, ...]:
        """List every model once, the default first, then the newest; a default that is missing is left out."""
        models = {model.model_id: model for model in (*_scan(EMBEDDED_PATH, "embedded"), *self._local())}
        with contextlib.suppress(ModelNotFoundError):
            default = self._default()
            models[default.model_id] = default
        newest_first = sorted(models.values(), key=lambda model: (-model.created_at, model.model_id))
        return tuple(sorted(newest_first, key=lambda model: not model.is_default))

    def resolve(self, name: str | None) -> Model:
        """Find a model by its name; None, "", "default" and the aliases mean the default model.

        Raises:
            ModelNotFoundError: There is none of this name; the message lists those there are.
        """
        if name is None or name in DEFAULT_NAMES or name in self._settings.model_aliases:
            return self._default()
        wanted = name.removesuffix(SUFFIX)
        models = self.list()
        for model in models:
            if model.model_id == wanted:
                return model
        available = ", ".join(model.model_id for model in models)
        msg = f"There is no model {name!r} here; available: {available or 'none'}. Pull it, or name one of these."
        raise ModelNotFoundError(msg, param="model")

    def remotes(self) -> tuple[RemoteModel, ...]:
        """Give the models of other servers; no file names any yet."""
        return ()

    def problems(self) -> tuple[str, ...]:
        """Tell what is wrong with what people wrote about models."""
        return ()

    def check(self, model: Model) -> None:
        """Read the headers of the model's files; once they are found sound, not again until they change.

        Raises:
            ModelLoadError: A file is missing, damaged or truncated.
        """
        _check_files(model.path, model.size_bytes, model.created_at)

    def pull(
        self,
        repo_id: str,
        filename: str,
        on_progress: Callable[[PullProgress], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Model:
        """Download a GGUF file of a hub repository into the models folder, all parts of it when it is split.

        Blocks for as long as that takes; a download that was cut off goes on where it stopped.

        Args:
            repo_id: such as `owner/name`.
            filename: the .gguf inside it; of a split one, any part.
            on_progress: called in this thread, at most a few times a second.
            cancelled: set it to stop; what has come stays for the next try.

        Raises:
            InvalidRequestError: The names cannot be a repository and a file.
            ModelPullError: Offline, not found, no space, cancelled, or the checksum does not match.
        """
        first = pull_file(self._settings, repo_id, filename, on_progress or _ignore, cancelled or threading.Event())
        return self.resolve(_model_id(first))

    def remove(self, name: str) -> None:
        """Delete a downloaded model's files.

        Raises:
            ModelNotFoundError: There is none of this name.
            InvalidRequestError: It is not in the models folder, so it is not ours to delete.
        """
        model = self.resolve(name)
        path = Path(model.path)
        if model.source == "embedded" or path.parent != self._settings.models_path:
            msg = (
                f"{model.model_id} is not a downloaded model, so it cannot be removed; choose another default instead."
            )
            raise InvalidRequestError(msg, param="model")
        for part in split_parts(path):
            part.unlink(missing_ok=True)

    def _local(self) -> tuple[Model, ...]:
        return _scan(self._settings.models_path, "local")

    def _default(self) -> Model:
        """Choose: the setting, else the newest downloaded, else the embedded."""
        if self._settings.model:
            return _as_default(self._named_by_setting(self._settings.model))
        candidates = self._local() or _scan(EMBEDDED_PATH, "embedded")
        if not candidates:
            msg = "There is no model here, not even the embedded one; reinstall, or pull one."
            raise ModelNotFoundError(msg, param="model")
        return _as_default(max(candidates, key=lambda model: (model.created_at, model.model_id)))

    def _named_by_setting(self, name: str) -> Model:
        path = Path(name).expanduser()
        if name.endswith(SUFFIX) and path.is_file():
            return _describe(path, "local")
        for model in (*self._local(), *_scan(EMBEDDED_PATH, "embedded")):
            if model.model_id == name.removesuffix(SUFFIX):
                return model
        msg = f"CINQUE_ENGINE_MODEL is {name!r}, which is neither a .gguf file nor a model here; correct or unset it."
        raise ModelNotFoundError(msg, param="model")


def _scan(folder: Path, source: Literal["embedded", "local"]) -> tuple[Model, ...]:
    """List the complete models of a folder; the parts of a split one count once."""
    paths = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
    return tuple(_describe(path, source) for path in sorted(paths) if _is_whole(path))


@lru_cache(maxsize=CHECKS_KEPT)
def _check_files(path: str, _size_bytes: int, _created_at: int) -> None:
    """Check the files; whoever raises is not cached, so a damaged file is looked at anew."""
    for part in split_parts(Path(path)):
        read_header(part)


def _is_whole(path: Path) -> bool:
    parts = split_parts(path)
    return path == parts[0] and all(part.is_file() for part in parts)


def _describe(path: Path, source: Literal["embedded", "local"]) -> Model:
    states = [part.stat() for part in split_parts(path)]
    return Model(
        model_id=_model_id(path),
        path=str(path),
        source=source,
        size_bytes=sum(state.st_size for state in states),
        created_at=int(states[0].st_mtime),
        is_default=False,
        is_loaded=False,
    )


def _model_id(path: Path) -> str:
    match = SPLIT_NAME.fullmatch(path.name)
    return match["stem"] if match else path.stem


def _as_default(model: Model) -> Model:
    return replace(model, is_default=True)


def _ignore(_progress: PullProgress) -> None:
    """Report to nobody."""
